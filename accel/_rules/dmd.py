"""Dynamic mode decomposition of a window of weights: fit one linear operator to its steps, apply it s more times.

Notation (Tano, Portwood & Ragusa 2020, equations 1 to 5, arXiv:2006.14371):

| symbol      | code           | meaning                                                        | shape      |
|-------------|----------------|----------------------------------------------------------------|------------|
| W           | window         | snapshots in an orthonormal basis of their span, oldest first  | (k, m)     |
| W-, W+      | lagged, led    | first, last m-1 columns of W                                   | (k, m-1)   |
| U Σ Vᵀ = W- | u, sigma, vh   | thin SVD; mode j is kept iff Σ_j / Σ_0 > tolerance, or j < rank | (k, q)     |
| V Σ⁻¹       | lift           | modes as combinations of snapshots: U = W- V Σ⁻¹               | (m-1, q)   |
| A           | operator       | Uᵀ W+ V Σ⁻¹ = Y Λ Y⁻¹                                          | (q, q)     |
| p           | start          | the newest snapshot w_m in the modes' coordinates              | (q,)       |
| ŵ           |                | predicted weights, s steps after w_m                           |            |

R has k = m rows, or fewer if a group has fewer weights than snapshots; q = min(k, m-1).
Modes that are not kept are masked (zero columns of U and of V Σ⁻¹), so groups of different rank share a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accel._fields import Bounds, normalize, require
from accel._linalg import eig, eigvals, powers, split_finite, svd, where_finite
from accel._rules._rule import BatchableRule, Combination

Form = Literal["state", "displacement"]
Amplitudes = Literal["least_squares", "literal"]
Modes = Literal["projected", "exact"]
Growth = Literal["keep", "clip", "drop"]

# A double eigenvalue 1, which weights on a straight line have, is right to about the square root of the rounding unit.
_GROWTH_MARGIN = 1e-8
_TOLERANCE = 1e-10  # the paper's
Array = NDArray[np.float64]


@dataclass(frozen=True)
class DMD(BatchableRule):
    """The DMD rule; every option is one reading of Tano, Portwood & Ragusa 2020, or a repair of it.

    With Φ the modes, Φ = U Y, and b their amplitudes in the newest snapshot w_m, the prediction is ŵ = Re(Φ Λˢ b).

    The paper's equation 5 cannot be taken as printed in two points. Its exponent is s - m; but the paper's grid
    contains s < m, for which that would lead back. Here s counts from the newest snapshot w_m: the exponent is s, and
    the amplitudes come from w_m. Its amplitudes b = Φᵀ w are right only for orthonormal modes, which those of a
    training are not. Here b solves a least-squares problem by default; ``amplitudes="literal"`` takes the paper's.

    Args:
        tolerance: Truncation as in the paper: keep mode k iff Σ_k / Σ_0 > tolerance; in [0, 1). If neither this nor
            ``rank`` is given, it is 1e-10, as in the paper's sensitivity study. Singular values at the rounding level
            of float64 (m · 2.2e-16) are never kept, whichever truncation is used.
        form: ``"state"`` predicts the weights themselves, as the paper does: the part of w_m outside the span of the
            kept modes is lost. ``"displacement"`` predicts the move, ŵ = w_m + Re(Φ (Λˢ - 1) b), and loses nothing (the
            form of Predictive Differential Training).
        amplitudes: ``"least_squares"`` takes b = argmin ‖Φ b - w_m‖. ``"literal"`` takes the paper's b = Φᵀ w_m with
            unit-norm columns of Y, read as Φᴴ w_m so that it does not depend on the phase of the eigenvectors. It is
            right only for orthonormal Φ.
        modes: ``"projected"``: Φ = U Y, which lies in the span of W-. ``"exact"``: Φ = W+ V Σ⁻¹ Y of Tu et al. 2014
            (arXiv:1312.0041; without their factor Λ⁻¹, which least squares absorbs), in the span of W+. Since W+ holds
            w_m, least squares over exact modes loses nothing of w_m as long as every mode is kept.
        growth: Treatment of modes with |λ| > 1 (beyond rounding, 1e-8): ``"keep"`` them, ``"clip"`` λ to λ/|λ|, or
            ``"drop"`` their term from the prediction. With ``form="state"`` the mode with |λ| near 1 carries the
            weights themselves; if noise lifts it above 1, dropping it drops the weights. So combine ``"drop"`` with
            ``form="displacement"``.
        rank: Truncation in place of a tolerance: keep the ``rank`` leading modes, or as many as the window has; at
            least 1 and less than the m of the windows.

    Raises:
        ValueError: An option is not among its values, or both truncations are given; the message lists all mistakes.
    """

    tolerance: Annotated[float, Bounds(at_least=0, below=1)] | None = None
    form: Form = "state"
    amplitudes: Amplitudes = "least_squares"
    modes: Modes = "projected"
    growth: Growth = "keep"
    rank: Annotated[int, Bounds(at_least=1)] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        lines = []
        if self.tolerance is None and self.rank is None:
            object.__setattr__(self, "tolerance", _TOLERANCE)
        elif self.tolerance is not None and self.rank is not None:
            lines.append(f"one of tolerance and rank must be given, got {self.tolerance!r} and {self.rank!r}")
        normalize(self)
        require(self, also=lines)

    def check_window(self, m: int) -> None:
        """Raise ValueError if windows of m snapshots are too short for this rule."""
        if self.rank is not None and self.rank >= m:
            raise ValueError(f"DMD: rank must be less than the window m, got rank {self.rank} with m = {m}")

    @property
    def batch_key(self) -> tuple[str, ...]:
        """Options that rules called `together` must share: all but the truncation."""
        return self.form, self.amplitudes, self.modes, self.growth

    @staticmethod
    def together(rules: Sequence["DMD"], window: Tensor, s: Sequence[int]) -> Combination:
        """Extrapolate each window by its own rule and its own s; see `BatchableRule.together`.

        Args:
            rules: one per window, all of one `batch_key`.
            window: (B, k, m) float64.
            s: steps to leap, one per window.
        """
        if not rules:
            rules = [DMD()]
        m = window.shape[-1]
        different = {id(rule): rule for rule in rules}
        for rule in different.values():
            rule.check_window(m)
        options = rules[0]  # the same for all rules, but for the truncation
        window, finite = split_finite(window)
        # numpy: its small operations cost a third of torch's. A degenerate window spoils its own element only.
        with np.errstate(all="ignore"):
            coefficients, rank, eigenvalues = options._extrapolate(
                window.numpy(), *_truncations(rules if len(different) > 1 else rules[:1], m), s
            )
        spectrum = torch.from_numpy(eigenvalues)
        return Combination(
            where_finite(finite, torch.from_numpy(coefficients), math.nan),
            torch.from_numpy(rank),  # 0 for windows that are not finite: they were set to zero
            where_finite(finite, torch.from_numpy(np.abs(eigenvalues).max(-1)), math.nan),
            spectrum,
        )

    def _extrapolate(
        self, window: Array, floors: Array, largest: NDArray[np.int64], s: Sequence[int]
    ) -> tuple[Array, NDArray[np.int64], NDArray[np.complex128]]:
        """Return coefficients, ranks and eigenvalues; floors and largest ranks are one per window, or one for all."""
        lagged, led, newest = window[:, :, :-1], window[:, :, 1:], window[:, :, -1:]
        u, sigma, vh = (part.numpy() for part in svd(torch.from_numpy(lagged)))
        keep = (sigma > floors * sigma[:, :1]) & (np.arange(sigma.shape[1]) < largest)
        rank = keep.sum(-1)
        lift = vh.swapaxes(1, 2) * np.where(keep, 1 / sigma, 0.0)[:, None, :]
        u = u * keep[:, None, :]
        operator = u.swapaxes(1, 2) @ led @ lift

        basis = u if self.modes == "projected" else led @ lift
        if self.amplitudes == "least_squares" and self.modes == "exact":
            start = np.linalg.pinv(basis, rcond=max(basis.shape[1:]) * np.finfo(np.float64).eps) @ newest
        else:
            start = basis.swapaxes(1, 2) @ newest
        advanced, eigenvalues = self._advance(operator, start, s, rank)

        coefficients = np.zeros((len(window), window.shape[2]))
        taken = coefficients[:, :-1] if self.modes == "projected" else coefficients[:, 1:]
        taken[:] = (lift @ advanced)[:, :, 0]
        if self.form == "displacement":
            coefficients[:, -1] += 1
        return coefficients, rank, eigenvalues

    def _advance(
        self, operator: Array, start: Array, s: Sequence[int], rank: NDArray[np.int64]
    ) -> tuple[Array, NDArray[np.complex128]]:
        """Return φ(A) start, with φ(λ) = λˢ or λˢ - 1, and the eigenvalues of A."""
        if self.growth == "keep" and self.amplitudes == "least_squares":
            # Real powers need no eigenvectors: weights on a straight line make A a Jordan block, which has too few.
            ahead = powers(torch.from_numpy(operator), s).numpy() @ start
            max_rank = max(1, int(rank.max())) if len(rank) else 1  # of the batch; the operator is zero beyond it
            kept = torch.from_numpy(operator[:, :max_rank, :max_rank])
            return (ahead if self.form == "state" else ahead - start), eigvals(kept).numpy()
        eigenvalues, vectors = (part.numpy() for part in eig(torch.from_numpy(operator)))
        magnitudes = np.abs(eigenvalues)
        growing = magnitudes > 1 + _GROWTH_MARGIN
        factors = np.where(growing, eigenvalues / magnitudes, eigenvalues) if self.growth == "clip" else eigenvalues
        factors = factors ** np.asarray(s)[:, None]
        if self.form == "displacement":
            factors = factors - 1
        if self.growth == "drop":
            factors = np.where(growing, 0.0, factors)
        start = start.astype(vectors.dtype)
        if self.amplitudes == "literal":
            amplitudes = vectors.conj().swapaxes(1, 2) @ start
        else:
            # solve() would raise for the whole batch; solve_ex() divides by zero in the element whose Y is singular.
            amplitudes = torch.linalg.solve_ex(torch.from_numpy(vectors), torch.from_numpy(start)).result.numpy()
        return (vectors @ (factors[:, :, None] * amplitudes)).real, eigenvalues


def _truncations(rules: Sequence[DMD], m: int) -> tuple[Array, NDArray[np.int64]]:
    """Return the rules' floors of Σ_k / Σ_0, and their largest ranks, (rules, 1) each."""
    rounding = m * np.finfo(np.float64).eps
    floors = np.array([[max(rule.tolerance or 0.0, rounding)] for rule in rules])
    return floors, np.array([[m if rule.rank is None else rule.rank] for rule in rules])
