"""Reduced-rank extrapolation and Anderson acceleration: find the point of the window's span where steps would end.

Training is read as a fixed-point iteration w_{i+1} = g(w_i), with residuals f_i = w_{i+1} - w_i. Both methods combine
snapshots with coefficients α, Σα = 1, that make the combined residual as short as can be (Sidi, Ford & Smith 1986;
Walker & Ni 2011; for training Scieur, d'Aspremont & Bach 2016, arXiv:1606.04133):

    ŵ = Σ α_i (w_i + β f_i),   α = argmin ‖Σ α_i f_i‖;   β = 0 is reduced-rank extrapolation, β = 1 Anderson's.

| symbol | code      | meaning                                                        | shape    |
|--------|-----------|----------------------------------------------------------------|----------|
| F      | residuals | f_i, the steps between the snapshots, oldest first             | (k, m-1) |
| ΔF     | changes   | differences of neighbouring residuals                          | (k, m-2) |
| γ      | mixture   | argmin ‖f_{m-2} - ΔF γ‖, the same problem without a constraint | (m-2,)   |

Lengths in the window's orthonormal basis are those of the n weights, so the least-squares problem needs only R.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from accel._fields import Bounds, normalize, require
from accel._linalg import split_finite, svd, where_finite
from accel._rules._rule import BatchableRule, Combination


@dataclass(frozen=True)
class Anderson(BatchableRule):
    """Anderson acceleration of the window's steps. It leaps to where steps would end, so it does not use the horizon s.

    Args:
        tolerance: Truncation of the least-squares problem: singular value k of ΔF is kept iff σ_k / σ_0 > tolerance; in
            [0, 1). Singular values at the rounding level of float64 (m · 2.2e-16) are never kept. Noisy steps need a
            larger tolerance.
        mixing: β: 1 combines the snapshots after each step, 0 those before (reduced-rank extrapolation); in [0, 1].

    Raises:
        ValueError: An option is outside its range; the message lists all such mistakes.
    """

    tolerance: Annotated[float, Bounds(at_least=0, below=1)] = 1e-10
    mixing: Annotated[float, Bounds(at_least=0, at_most=1)] = 1.0
    uses_horizon: ClassVar[bool] = False

    def __post_init__(self) -> None:
        normalize(self)
        require(self)

    @staticmethod
    def together(rules: Sequence["Anderson"], window: Tensor, s: Sequence[int]) -> Combination:
        """Extrapolate each window by its own rule; see `BatchableRule.together`.

        Args:
            rules: one per window.
            window: (B, k, m) float64.
            s: not used.
        """
        del s
        m, count = window.shape[-1], len(window)
        window, finite = split_finite(window)
        tolerances, mixing = (
            torch.tensor([getattr(rule, name) for rule in rules], dtype=torch.float64)[:, None]
            for name in ("tolerance", "mixing")
        )
        residuals = window[:, :, 1:] - window[:, :, :-1]
        mixture = torch.zeros(count, 0, dtype=torch.float64)
        rank = torch.zeros(count, dtype=torch.int64)
        if m > 2:  # two snapshots have only one residual
            u, sigma, vh = svd(residuals[:, :, 1:] - residuals[:, :, :-1])
            floor = tolerances.clamp(min=m * torch.finfo(window.dtype).eps)
            keep = sigma > floor * sigma[:, :1]
            inverse = (1 / sigma).masked_fill_(~keep, 0.0)
            mixture = (vh.mT @ (inverse[:, :, None] * (u.mT @ residuals[:, :, -1:])))[:, :, 0]
            rank = keep.sum(-1)
        # α from γ: f_{m-2} - ΔF γ = Σ α_i f_i
        padded = nn.functional.pad(mixture, (1, 1))
        alpha = padded[:, 1:] - padded[:, :-1]
        alpha[:, -1] += 1
        before, after = nn.functional.pad(alpha, (0, 1)), nn.functional.pad(alpha, (1, 0))
        return Combination(
            where_finite(finite, (1 - mixing) * before + mixing * after, math.nan),
            rank,
            where_finite(finite, torch.ones(count, dtype=torch.float64), math.nan),
        )
