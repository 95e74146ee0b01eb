"""Average of the latest snapshots: LAWA (Kaddour 2022, arXiv:2209.14981).

As published, the average is evaluated and training goes on without it. Here a jump puts it into the training, unless
jumps are only proposed (a study's probes) or taken back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from accel._fields import Bounds, normalize, require
from accel._linalg import split_finite, where_finite
from accel._rules._rule import BatchableRule, Combination


@dataclass(frozen=True)
class Average(BatchableRule):
    """Average of the window's m snapshots. It does not leap ahead, so it does not use the horizon s.

    Args:
        decay: Weight of a snapshot relative to the next newer one, in (0, 1]. 1 gives all the same weight, as LAWA
            does; less gives an exponential moving average, cut to the window.

    Raises:
        ValueError: ``decay`` is outside its range.
    """

    decay: Annotated[float, Bounds(above=0, at_most=1)] = 1.0
    uses_horizon: ClassVar[bool] = False

    def __post_init__(self) -> None:
        normalize(self)
        require(self)

    @staticmethod
    def together(rules: Sequence["Average"], window: Tensor, s: Sequence[int]) -> Combination:
        """Extrapolate each window by its own rule; see `BatchableRule.together`.

        Args:
            rules: one per window.
            window: (B, k, m) float64.
            s: not used.
        """
        del s
        _, finite = split_finite(window)
        ages = torch.arange(window.shape[-1] - 1, -1, -1, dtype=torch.float64)
        weights = torch.tensor([rule.decay for rule in rules], dtype=torch.float64)[:, None] ** ages
        return Combination(
            where_finite(finite, weights / weights.sum(1, keepdim=True), math.nan),
            where_finite(finite, torch.ones(len(window), dtype=torch.int64), 0),
            where_finite(finite, torch.ones(len(window), dtype=torch.float64), math.nan),
        )
