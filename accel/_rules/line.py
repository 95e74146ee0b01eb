"""A straight line through the history of every weight, continued: the oldest extrapolator.

Fitting a function to each weight's past and jumping along it goes back to Dewan & Sontag 1990 (IJCNN); Kamarthi &
Pittner 1999 (Neural Networks 12:1285) fit lines by linear regression, a few times in a training. All weights are seen
at the same m times, so one set of coefficients serves all of them, and the grouping changes nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from accel._fields import require
from accel._linalg import split_finite, where_finite
from accel._rules._rule import BatchableRule, Combination

Anchor = Literal["line", "newest"]


@dataclass(frozen=True)
class Line(BatchableRule):
    """Least-squares straight line through every weight's m snapshots, evaluated ``s`` steps after the newest.

    Args:
        anchor: Start of the prediction. ``"line"`` is the line's value, which averages noise away but lags behind a
            bent history. ``"newest"`` adds s times the slope to the newest snapshot.

    Raises:
        ValueError: The anchor is not among its values.
    """

    anchor: Anchor = "line"

    def __post_init__(self) -> None:
        require(self)

    @staticmethod
    def together(rules: Sequence["Line"], window: Tensor, s: Sequence[int]) -> Combination:
        """Extrapolate each window by its own rule and its own s; see `BatchableRule.together`.

        Args:
            rules: one per window.
            window: (B, k, m) float64.
            s: steps to leap, one per window.
        """
        m = window.shape[-1]
        _, finite = split_finite(window)
        times = torch.arange(m, dtype=torch.float64) - (m - 1) / 2
        slope = times / times.square().sum()  # coefficients of the line's slope per step
        ahead = torch.tensor(s, dtype=torch.float64)[:, None]
        on_line = torch.tensor([rule.anchor == "line" for rule in rules], dtype=torch.bool)[:, None]
        value = torch.full((m,), 1 / m, dtype=torch.float64) + times[-1] * slope  # of the line at the newest snapshot
        newest = torch.eye(m, dtype=torch.float64)[-1]
        coefficients = torch.where(on_line, value, newest) + ahead * slope
        return Combination(
            where_finite(finite, coefficients, math.nan),
            where_finite(finite, torch.ones(len(window), dtype=torch.int64), 0),
            where_finite(finite, torch.ones(len(window), dtype=torch.float64), math.nan),
        )
