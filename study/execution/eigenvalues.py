"""Eigenvalues of a cell's jumps. The record does not hold them, so the cell is trained again and observed.

A record keeps the largest magnitude for each jump and group. All eigenvalues of the paper's grid would take some
hundred kilobytes per replicate, as much as everything else that is kept, for a figure of one cell.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from accel import DMD, Combination, Rule
from study.errors import UserError
from study.planning.cells import replicates
from study.planning.tasks import make_tasks
from study.replicates.replicate import Jumps, Products, Value
from study.specification import load_spec
from study.training.matrix_products import has_onednn
from study.training.packs import train

_WATCHED = "watched dmd"


def watch_eigenvalues(
    spec: Mapping[str, Any], cell: Mapping[str, Value], seed: int, products: Products | None = None
) -> pd.DataFrame:
    """Train one replicate of a spec again and keep the eigenvalues of every jump's operators.

    Args:
        spec: plain data, as a record holds it. Nothing that it names by import path is imported.
        cell: axis key -> value.
        seed: seed of the replicate in the cell.
        products: library that made the study's matrix products; torch's own where it is not available.

    Returns:
        One row per jump, group and eigenvalue: ``epoch``, ``real``, ``imag``. If the replicate was recorded in a pack
        of several, or with products that are not available here, the digits differ slightly from those of its own
        training, because the rounding does.

    Raises:
        UserError: the method is not DMD, or no jumps are taken, or the problem is the user's own.
    """
    method, problem = spec["method"], spec["problem"]
    if ":" in str(problem.get("name")) or method.get("name", "dmd") != "dmd" or method.get("mode") == "probe":
        raise UserError(
            "eigenvalues need the method dmd in mode train and a problem that comes with the package, because the cell "
            f"is trained again; got {method.get('name')} in mode {method.get('mode')} on {problem.get('name')}"
        )
    loaded = load_spec(spec)
    matching = (r for r in replicates(loaded) if r.seed == seed and dict(r.parameters) == dict(cell))
    if (replicate := next(matching, None)) is None or not isinstance(replicate.method, Jumps):
        raise UserError(f"the spec has no replicate of {dict(cell)} with seed {seed}")
    collected: list[Tensor] = []

    def make_watched(**options: Any) -> Rule:
        return _WatchedDMD(DMD(**options), collected)

    watched = replace(replicate, method=replace(replicate.method, rule=_WATCHED))
    watched = watched.settled(products or "torch")
    if watched.recipe.products == "onednn" and not has_onednn():
        watched = replace(watched, recipe=replace(watched.recipe, products="torch"))
    outcome = train(watched, make_tasks(loaded, [watched])[watched.task], {_WATCHED: make_watched}, torch.device("cpu"))
    per_jump = len(collected) // max(len(outcome.jumps.epoch), 1)  # groups with few weights are fitted separately
    rows = [
        pd.DataFrame({"epoch": int(epoch), "real": values.real.numpy(), "imag": values.imag.numpy()})
        for k, epoch in enumerate(outcome.jumps.epoch)
        for values in collected[k * per_jump : (k + 1) * per_jump]
    ]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["epoch", "real", "imag"])


@dataclass(frozen=True)
class _WatchedDMD:
    """DMD that collects the eigenvalues of the operators it fits; several horizons of one window count once."""

    rule: DMD
    collected: list[Tensor]
    seen: set[bytes] = field(default_factory=set)

    def __call__(self, window: Tensor, s: int) -> Combination:
        combination = self.rule(window, s)
        assert combination.eigenvalues is not None
        if (name := hashlib.blake2b(window.numpy().tobytes()).digest()) not in self.seen:
            self.seen.add(name)
            pairs = zip(combination.eigenvalues, combination.rank.tolist(), strict=True)
            self.collected.append(torch.cat([kept_eigenvalues(values, rank) for values, rank in pairs]))
        return combination


def kept_eigenvalues(values: Tensor, rank: int) -> Tensor:
    """Return the eigenvalues of the kept modes, (rank,); ``values`` holds zeros for the others."""
    return values[values.abs().argsort(descending=True)[:rank]]
