"""From full windows to a proposal: the rule, batch by batch of groups, and what each group reports."""

import torch

from accel._diagnostics import diagnose, show_no_direction
from accel._reports import GroupReports, Proposal
from accel._rules import Rule
from accel._shapes import relax
from accel._windows import Windows


def extrapolate(windows: Windows, rule: Rule, s: int, relaxation: float) -> Proposal:
    """Extrapolate every group's full window by s; groups that show no direction stay at their newest snapshot.

    Raises:
        ValueError: The rule returns another number of coefficients than there are snapshots.
    """
    count = windows.layout.groups
    coefficients = torch.empty(count, windows.m, dtype=torch.float64)
    columns: dict[str, torch.Tensor] = {}
    for batch in windows.batches():
        factors = batch.factors
        combination = rule(factors, s)
        shape = (len(factors), windows.m)
        if combination.coefficients.shape != shape:
            raise ValueError(
                f"a rule must return coefficients of shape {shape}, one per snapshot of each group, "
                f"got {tuple(combination.coefficients.shape)} from {rule!r}"
            )
        # a layer's factor has m rows however few its weights, so single weights are told by their size
        deficient = torch.logical_and(show_no_direction(factors), batch.several | (factors.shape[1] == 1))
        newest = torch.zeros_like(combination.coefficients)
        newest[:, -1] = 1
        found = torch.where(deficient[:, None], newest, relax(combination.coefficients, relaxation))
        diagnosis = diagnose(factors, found, combination.rank, batch.eps, batch.gram_eps, batch.move_eps)
        values = {
            "rank": combination.rank,
            "spectral_radius": combination.spectral_radius,
            "deficient": deficient,
            **diagnosis._asdict(),
        }
        coefficients[batch.groups] = found
        for name, value in values.items():
            columns.setdefault(name, torch.empty(count, dtype=value.dtype))[batch.groups] = value
    return Proposal(s, GroupReports(windows.layout.families, columns), coefficients)
