"""Eigenvalues of a cell's jumps, which the record does not hold: the cell is trained once more and watched.

A record keeps the largest magnitude of each jump and group. All eigenvalues of the paper's grid would be some hundred
kilobytes a replicate, as much as all else that is kept, for a figure that looks at one cell.
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
from study.replicates.replicate import Jumps, Value
from study.specification import load_spec
from study.training.packs import train

_WATCHED = "watched dmd"


def watch_eigenvalues(spec: Mapping[str, Any], cell: Mapping[str, Value], seed: int) -> pd.DataFrame:
    """Train one replicate of a spec again and keep the eigenvalues of every jump's operators.

    Args:
        spec: plain data, as a record holds it. What it names by import path is not imported.
        cell: axis key -> value.
        seed: which replicate of the cell.

    Returns:
        One row per jump, group and eigenvalue: ``epoch``, ``real``, ``imag``. Of a replicate that was recorded in a
        pack of several the rounding differs, and with it the digits.

    Raises:
        UserError: the method is not DMD, or jumps are not taken, or the problem is the user's own.
    """
    method, problem = spec["method"], spec["problem"]
    if ":" in str(problem.get("name")) or method.get("name", "dmd") != "dmd" or method.get("mode") == "probe":
        raise UserError(
            "eigenvalues are those of dmd in mode train, on a problem that comes with the package, since they take a "
            f"training; got {method.get('name')} in mode {method.get('mode')} on {problem.get('name')}"
        )
    loaded = load_spec(spec)
    matching = (r for r in replicates(loaded) if r.seed == seed and dict(r.parameters) == dict(cell))
    if (found := next(matching, None)) is None or not isinstance(found.method, Jumps):
        raise UserError(f"the spec has no replicate of {dict(cell)} with seed {seed}")
    watched: list[Tensor] = []

    def make(**options: Any) -> Rule:
        return _Watched(DMD(**options), watched)

    once = replace(found, method=replace(found.method, rule=_WATCHED))
    outcome = train(once, make_tasks(loaded, [once])[once.task], {_WATCHED: make}, torch.device("cpu"))
    per_jump = len(watched) // max(len(outcome.jumps.epoch), 1)  # groups of few weights are proposed for apart
    rows = [
        pd.DataFrame({"epoch": int(epoch), "real": values.real.numpy(), "imag": values.imag.numpy()})
        for k, epoch in enumerate(outcome.jumps.epoch)
        for values in watched[k * per_jump : (k + 1) * per_jump]
    ]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["epoch", "real", "imag"])


@dataclass(frozen=True)
class _Watched:
    """DMD that notes the eigenvalues of the operators it fits; several horizons of one window count once."""

    rule: DMD
    watched: list[Tensor]
    seen: set[bytes] = field(default_factory=set)

    def __call__(self, window: Tensor, s: int) -> Combination:
        combination = self.rule(window, s)
        assert combination.eigenvalues is not None
        if (name := hashlib.blake2b(window.numpy().tobytes()).digest()) not in self.seen:
            self.seen.add(name)
            pairs = zip(combination.eigenvalues, combination.rank.tolist(), strict=True)
            self.watched.append(torch.cat([kept_eigenvalues(values, rank) for values, rank in pairs]))
        return combination


def kept_eigenvalues(values: Tensor, rank: int) -> Tensor:
    """Return the eigenvalues of the kept modes, (rank,); ``values`` holds zeros for the others."""
    return values[values.abs().argsort(descending=True)[:rank]]
