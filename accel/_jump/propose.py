"""From full windows to proposals: the rules, batch by batch of groups, and what each group reports."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from accel._jump.reports import GroupReports, Proposal
from accel._rules import Combination, Rule
from accel._window.group_windows import Batch, Windows
from accel._window.pair_windows import PairBatch, PairWindows
from accel._window.reshaping import Shape, relax, scale_last_step


def extrapolate(
    windows: Windows | PairWindows,
    rules: Sequence[Rule],
    s: Sequence[int],
    relaxation: Sequence[float],
    shapes: Sequence[Shape],
) -> list[Proposal]:
    """Extrapolate every group's full window; groups that show no direction stay at their newest snapshot.

    Args:
        windows: Of K replicates.
        rules: One per replicate.
        s: Steps to leap, one per replicate.
        relaxation: α, one per replicate.
        shapes: one per replicate; those that take a pass over the weights are left to who writes them.

    Raises:
        ValueError: A rule returns another number of coefficients than there are snapshots.
    """
    own = windows.layout.groups
    coefficients = torch.empty(windows.groups, windows.width, dtype=torch.float64)
    columns: dict[str, Tensor] = {}
    found: list[tuple[Batch | PairBatch, Combination, Tensor]] = []
    for batch in windows.batches():
        replicate = (batch.groups // own).tolist()
        combination = batch.combine([rules[k] for k in replicate], [s[k] for k in replicate])
        deficient = batch.show_no_direction()
        taken = relax(combination.coefficients, [relaxation[k] for k in replicate])
        controls = torch.tensor([shapes[k] == "last_step" for k in replicate])
        if controls.any():
            taken = torch.where(controls[:, None], scale_last_step(taken, batch.factors), taken)
        if deficient.any():
            newest = torch.eye(windows.width, dtype=torch.float64)[-1]
            taken = torch.where(deficient[:, None], newest, taken)
        coefficients[batch.groups] = taken
        values = {
            "rank": combination.rank,
            "spectral_radius": combination.spectral_radius,
            "deficient": deficient,
        }
        _put(columns, windows.groups, batch.groups, values)
        found.append((batch, combination, taken))
    parts = [slice(k * own, (k + 1) * own) for k in range(windows.replicates)]
    return [
        Proposal(
            s[k],
            GroupReports(
                windows.layout.families,
                {name: column[part] for name, column in columns.items()},
                partial(_diagnosed, found, k, own),
            ),
            coefficients[part],
        )
        for k, part in enumerate(parts)
    ]


def _diagnosed(
    found: Sequence[tuple[Batch | PairBatch, Combination, Tensor]], replicate: int, own: int
) -> dict[str, Tensor]:
    """The columns that only who asks for them pays for, of one replicate."""
    columns: dict[str, Tensor] = {}
    for batch, combination, taken in found:
        mine = batch.groups // own == replicate
        diagnosis = batch.diagnose(mine, taken, combination.rank)
        _put(columns, own, batch.groups[mine] - replicate * own, diagnosis._asdict())
    return columns


def _put(columns: dict[str, Tensor], count: int, groups: Tensor, values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        columns.setdefault(name, torch.empty(count, dtype=value.dtype))[groups] = value
