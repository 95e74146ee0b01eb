"""Koopman training: apply the linear operator that best maps each snapshot to the next (Dogra & Redman 2020).

Notation (arXiv:2006.02361 and the authors' ``NodeKoopmanTraining.m``):

| symbol   | code         | meaning                                                            | shape  |
|----------|--------------|--------------------------------------------------------------------|--------|
| F, F'    | lagged, led  | a group's snapshots but the last, but the first                    | (k, p) |
| F=PΣQᵀ   | u, sigma, vh | thin singular value decomposition                                  |        |
| K = F'F⁺ |              | the operator; ŵ = Kˢ w_m                                           | (n, n) |
| A        | operator     | Pᵀ F' Q Σ⁻¹, K on the span of F: Kˢ w_m = F' Q Σ⁻¹ Aˢ⁻¹ Pᵀ w_m     | (q, q) |

F and F' come in two forms. The first has snapshots in an orthonormal basis of their span, as every rule sees them; then
p = m - 1. The second is for groups with far fewer weights than snapshots: pairs of successive snapshots, compressed
into a few columns with the same F Fᵀ and F' Fᵀ (see `pair_windows`), so that a window of thousands need not be kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from accel._fields import Bounds, normalize, require
from accel._linalg import eigvals, powers, split_finite, svd, where_finite
from accel._rules._rule import BatchableRule, Combination


@dataclass(frozen=True)
class Koopman(BatchableRule):
    """Koopman operator per group, as Dogra & Redman fit it: no truncation, no eigendecomposition.

    Their node, split node, layer and single weight operators are the groups of `Accelerator`. If t1 and t2 are the
    first and last iteration used, and T the number predicted, then ``start`` = t1 - 1, ``m`` = t2 - t1 + 1, ``s`` = T.

    Args:
        tolerance: Keep singular value k of F iff Σ_k / Σ_0 > tolerance; in [0, 1). The authors use 0, which leaves out
            only rounding, max(n, m - 1) · 2.2e-16, as MATLAB's ``pinv`` does.

    Raises:
        ValueError: The tolerance is outside its range.
    """

    tolerance: Annotated[float, Bounds(at_least=0, below=1)] = 0.0

    def __post_init__(self) -> None:
        normalize(self)
        require(self)

    @staticmethod
    def together(rules: Sequence["Koopman"], window: Tensor, s: Sequence[int]) -> Combination:
        """Extrapolate each window by its own rule and its own s; see `BatchableRule.together`.

        Args:
            rules: one per window.
            window: (B, k, m) float64.
            s: steps to leap, one per window.
        """
        combined = Koopman.of_pairs(rules, window[:, :, :-1], window[:, :, 1:], window[:, :, -1], s, window.shape[-1])
        return combined._replace(coefficients=nn.functional.pad(combined.coefficients, (1, 0)))

    @staticmethod
    def of_pairs(
        rules: Sequence["Koopman"], lagged: Tensor, led: Tensor, newest: Tensor, s: Sequence[int], m: int
    ) -> Combination:
        """Extrapolate each group by its own rule and its own s, given pairs of successive snapshots.

        Args:
            rules: one per group.
            lagged: (B, k, p) float64; F, or with ``led`` any two matrices that have the same F Fᵀ and F' Fᵀ.
            led: (B, k, p) float64; F'.
            newest: (B, k) float64; w_m.
            s: steps to leap, one per group.
            m: number of snapshots that the pairs come from.

        Returns:
            Coefficients that combine the columns of ``led``, (B, p).
        """
        rows = lagged.shape[1]
        columns, finite = split_finite(torch.cat([lagged, led, newest[:, :, None]], dim=2))
        lagged, led, newest = torch.split(columns, [lagged.shape[2], led.shape[2], 1], dim=2)
        u, sigma, vh = svd(lagged)
        rounding = max(rows, m - 1) * torch.finfo(lagged.dtype).eps
        floors = torch.tensor([max(rule.tolerance, rounding) for rule in rules], dtype=lagged.dtype)
        keep = sigma > floors[:, None] * sigma[:, :1]
        lift = vh.mT * (1 / sigma).masked_fill_(~keep, 0.0)[:, None, :]
        u = u * keep[:, None, :]
        operator = u.mT @ led @ lift
        coefficients = lift @ (powers(operator, [each - 1 for each in s]) @ (u.mT @ newest))
        return Combination(
            where_finite(finite, coefficients[:, :, 0], math.nan),
            keep.sum(-1),
            where_finite(finite, eigvals(operator).abs().amax(-1), math.nan),
        )
