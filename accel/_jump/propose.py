"""Extrapolation of full windows into proposals: the rules, batch by batch of groups, and the groups' reports."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from accel._jump.options import JumpOptions
from accel._jump.reports import GroupReports, Proposal
from accel._rules import Combination
from accel._window.group_windows import Batch, Windows
from accel._window.pair_windows import PairBatch, PairWindows
from accel._window.reshaping import limit_move, relax, scale_last_step
from accel._window.sampling import streams


def extrapolate(
    windows: Windows | PairWindows, options: Sequence[JumpOptions], s: Sequence[int], jump: int
) -> list[Proposal]:
    """Extrapolate every group's full window; groups that show no direction stay at their newest snapshot.

    Shapes that take a pass over the weights, and noise, are left to the caller that writes the weights.

    Args:
        windows: Full windows of K replicates.
        options: One per replicate.
        s: Steps to leap, one per replicate.
        jump: Number of the window's jump.

    Raises:
        ValueError: A rule returns another number of coefficients than there are snapshots.
    """
    groups = windows.layout.groups
    coefficients: Tensor | None = None
    columns: dict[str, Tensor] = {}
    diagnosed: list[tuple[Batch | PairBatch, Combination, Tensor]] = []
    seeds = [] if options[0].sample == "all" else [each.seed for each in options]
    for batch in windows.batches(streams(seeds, jump)):
        replicate = (batch.groups // groups).tolist() if len(options) > 1 else [0] * len(batch.groups)
        chosen = [options[k] for k in replicate]
        rules: list[Any] = [each.rule for each in chosen]  # Koopman rules if the windows hold pairs
        combination = batch.combine(rules, [s[k] for k in replicate])
        deficient = batch.show_no_direction()
        taken = relax(combination.coefficients, [each.relaxation for each in chosen])
        if any(each.shape == "last_step" for each in options):
            controls = torch.tensor([each.shape == "last_step" for each in chosen])
            taken = torch.where(controls[:, None], scale_last_step(taken, batch.factors), taken)
        if any(each.max_move is not None for each in options):
            taken = limit_move(taken, batch.factors, [each.max_move for each in chosen])
        if deficient.any():
            newest = torch.eye(windows.width, dtype=torch.float64)[-1]
            taken = torch.where(deficient[:, None], newest, taken)
        values = {
            "rank": combination.rank,
            "spectral_radius": combination.spectral_radius,
            "deficient": deficient,
        }
        if batch.holds_all:
            coefficients, columns = taken, values
        else:
            if coefficients is None:
                coefficients = torch.empty(windows.groups, windows.width, dtype=torch.float64)
            coefficients[batch.groups] = taken
            _scatter(columns, windows.groups, batch.groups, values)
        diagnosed.append((batch, combination, taken))
    assert coefficients is not None
    parts = [slice(k * groups, (k + 1) * groups) for k in range(windows.replicates)]
    held = sum(batch.factors.nbytes + taken.nbytes for batch, _, taken in diagnosed)
    return [
        Proposal(
            s[k],
            GroupReports(
                windows.layout.families,
                {name: column[part] for name, column in columns.items()},
                partial(_diagnose, diagnosed, k, groups),
                held,
            ),
            coefficients[part],
        )
        for k, part in enumerate(parts)
    ]


def _diagnose(
    batches: Sequence[tuple[Batch | PairBatch, Combination, Tensor]], replicate: int, groups: int
) -> dict[str, Tensor]:
    """Make the columns that only a reader pays for, for one replicate of so many groups."""
    columns: dict[str, Tensor] = {}
    for batch, combination, taken in batches:
        belongs = batch.groups // groups == replicate
        diagnosis = batch.diagnose(belongs, taken, combination.rank)
        _scatter(columns, groups, batch.groups[belongs] - replicate * groups, diagnosis._asdict())
    return columns


def _scatter(columns: dict[str, Tensor], count: int, groups: Tensor, values: dict[str, Tensor]) -> None:
    """Write the values of these groups into columns of ``count`` groups."""
    for name, value in values.items():
        columns.setdefault(name, torch.empty(count, dtype=value.dtype))[groups] = value
