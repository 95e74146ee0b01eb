"""Diagnostics of a window, computed from R alone.

They tell whether the window shows a direction, how small a mode it resolves, how far a jump goes, and how well one
linear operator describes the window's steps.

| symbol     | meaning                                                               | shape      |
|------------|-----------------------------------------------------------------------|------------|
| R          | window in an orthonormal basis of its span; columns are snapshots     | (k, m)     |
| R-, R+     | its first, its last m-1 columns                                       | (k, m-1)   |
| σ_k        | singular values of R-, R- = U Σ Vᵀ                                    |            |
| r          | modes that the rule kept: the leading ones of U, Σ, V                 |            |
| A = Y Λ Y⁻¹| Uᵀ R+ V Σ⁻¹, the operator on the kept modes; columns y of unit length | (r, r)     |
| X, X'      | snapshots in the kept modes' coordinates, (Uᵀ R-)ᵀ and (Uᵀ R+)ᵀ       | (m-1, r)   |
| ε_w, ε_G   | relative rounding errors of the stored weights, of a Gram matrix      |            |

*Residual* of a Ritz pair (λ, U y): ‖R+ V Σ⁻¹ y - λ U y‖, how far the data's operator takes U y from λ U y (Drmač,
Mezić & Mohr 2018, arXiv:1708.02685). Lengths in R are lengths in the n weights, so this is the n-dimensional residual.

*Inconsistency*: λ_max(I - K_f K_b) with K_f = X⁺ X' and K_b = X'⁺ X, the operators fitted forwards and backwards in
time (Haseli & Cortés 2022, arXiv:2207.07719). It is the squared sine of the largest angle between the ranges of X and
X': 0 where the modes span an invariant subspace, at most 1, and its root bounds the relative one-step error of every
function in their span. With every mode kept, r = m-1, the fit interpolates and it is 0 whatever the data.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accel import _linalg

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Stored weights carry rounding errors, uniform within half a unit in the last place: their root mean square is
# ε_w / sqrt(12) of the leading power of two, which is about 0.7 of the weight. Doubled, since noise modes spread.
_ROUNDING_NOISE = 2 * 0.2
_DOUBLE = float(np.finfo(np.float64).eps)


class Diagnosis(NamedTuple):
    """Diagnostics of B windows, one entry each; NaN or 0 where a window is not finite."""

    resolution: Tensor
    """(B,) float64; the smallest σ_k / σ_0 that is above rounding."""
    noise_modes: Tensor
    """(B,) int64; number of the ``rank`` leading modes that lie below the resolution."""
    relative_move: Tensor
    """(B,) float64; ‖ŵ - w_m‖ / ‖w_m‖."""
    residual: Tensor
    """(B,) float64; the largest residual of the Ritz pairs."""
    inconsistency: Tensor
    """(B,) float64 in [0, 1]; the consistency index of the kept modes."""


def show_no_direction(windows: Tensor) -> Tensor:
    """Return True for each window that holds only multiples of one vector, to float64 rounding.

    A single weight (k = 1) always does; for it, True means that all snapshots are identical.

    Args:
        windows: (B, k, m) float64.

    Returns:
        (B,) bool.
    """
    if windows.shape[1] == 1:
        return (windows == windows[:, :, :1]).all(-1)[:, 0]
    windows, finite = _linalg.split_finite(windows)
    sigma = torch.linalg.svdvals(windows).numpy()
    parallel = torch.from_numpy(sigma[:, 1] <= windows.shape[-1] * _DOUBLE * sigma[:, 0])
    return parallel if finite is None else parallel & finite


def diagnose(
    windows: Tensor, coefficients: Tensor, rank: Tensor, eps: Tensor, gram_eps: Tensor, move_eps: Tensor
) -> Diagnosis:
    """Diagnose windows and the combinations that a rule made of them.

    Four kinds of rounding bound the resolution:

    * Stored weights: their errors are independent between snapshots, so they appear as ε_w |w| in every direction,
      compared with σ_0 = sqrt(m-1) |w|.
    * Stored moves, where there are any: the same with their own rounding error.
    * A Gram matrix: sqrt(m ε_G) of the longest of its columns that tell directions, which are the first step and the
      changes from step to step. Only for weights below float64, which have one pass; see `gram`.
    * The decomposition itself: m ε.

    Args:
        windows: (B, k, m) float64; R of each window.
        coefficients: (B, m) float64; the combinations.
        rank: (B,) int64; number of modes that the rule kept.
        eps: (B,) float64; ε_w.
        gram_eps: (B,) float64; ε_G of the Gram matrix that a window's R came from, 0 if from no single one.
        move_eps: (B,) float64; relative rounding error of stored moves since the first snapshot, or 0.
    """
    # numpy: its small operations cost a third of torch's. A degenerate window divides by zero in its own element only.
    with np.errstate(all="ignore"):
        given = (windows, coefficients, rank, eps, gram_eps, move_eps)
        return _diagnose(*(each.detach().numpy() for each in given))


def _diagnose(
    windows: Array, coefficients: Array, rank: NDArray[np.int64], eps: Array, gram_eps: Array, move_eps: Array
) -> Diagnosis:
    windows, finite = _split_finite(windows)
    m = windows.shape[-1]
    decomposition = _svd(windows[:, :, :-1])
    sigma = decomposition[1]
    largest = np.maximum(sigma[:, 0], np.finfo(np.float64).tiny)

    resolution = np.maximum(_ROUNDING_NOISE / (m - 1) ** 0.5 * eps, m * _DOUBLE)
    if move_eps.any():
        moves = _length(windows - windows[:, :, :1], 1).max(-1)
        resolution = np.maximum(resolution, _ROUNDING_NOISE * move_eps * moves / largest)
    if gram_eps.any():
        steps = np.diff(windows, axis=2)
        changes = np.concatenate([steps[:, :, :1], np.diff(steps, axis=2)], axis=2)
        resolution = np.maximum(resolution, np.sqrt(m * gram_eps) * _length(changes, 1).max(-1) / largest)
    newest = windows[:, :, -1]
    move = (windows @ coefficients[:, :, None])[:, :, 0] - newest
    return _examine(decomposition, windows[:, :, 1:], newest, move, rank, resolution, finite)


def diagnose_pairs(
    lagged: Tensor, led: Tensor, newest: Tensor, move: Tensor, rank: Tensor, eps: float, m: int
) -> Diagnosis:
    """Diagnose windows given as pairs of successive snapshots (see `pair_windows`), which no Gram matrix has rounded.

    Args:
        lagged: (B, n, p) float64; all snapshots but the last, in rotated time.
        led: (B, n, p) float64; all snapshots but the first, in rotated time.
        newest: (B, n) float64; the newest snapshot.
        move: (B, n) float64; prediction minus newest snapshot.
        rank: (B,) int64; number of modes that the rule kept.
        eps: ε_w.
        m: number of snapshots that the pairs come from.
    """
    with np.errstate(all="ignore"):
        both, finite = _split_finite(torch.cat([lagged, led], dim=2).numpy())
        resolution = np.full(len(both), max(_ROUNDING_NOISE / (m - 1) ** 0.5 * eps, m * _DOUBLE))
        p = lagged.shape[2]
        return _examine(
            _svd(both[:, :, :p]), both[:, :, p:], newest.numpy(), move.numpy(), rank.numpy(), resolution, finite
        )


def _examine(
    decomposition: tuple[Array, Array, Array],
    led: Array,
    newest: Array,
    move: Array,
    rank: NDArray[np.int64],
    resolution: Array,
    finite: Flags,
) -> Diagnosis:
    """Diagnose the kept modes, given the decomposition of R-."""
    u, sigma, vh = decomposition
    largest = np.maximum(sigma[:, 0], np.finfo(np.float64).tiny)
    resolved = (sigma >= (resolution * largest)[:, None]).sum(-1)
    max_rank = min(max(1, int(rank.max())), sigma.shape[1])  # of the batch; the columns beyond it are zero
    sigma = sigma[:, :max_rank]
    kept = (np.arange(max_rank) < rank[:, None]) & (sigma > 0)
    inverse = np.where(kept, 1 / sigma, 0.0)[:, None, :]
    u, v = u[:, :, :max_rank] * kept[:, None, :], vh[:, :max_rank].mT * kept[:, None, :]
    return Diagnosis(
        resolution=_nan_unless(finite, resolution),
        noise_modes=torch.from_numpy(np.where(finite, np.maximum(rank - resolved, 0), 0)),
        relative_move=torch.from_numpy(_length(move, 1) / _length(newest, 1)),
        residual=_nan_unless(finite, _residual(led, u, v * inverse)),
        inconsistency=_nan_unless(finite, _inconsistency(led, u * inverse, v, kept)),
    )


def _residual(led: Array, u: Array, lift: Array) -> Array:
    """Return the largest ‖R+ V Σ⁻¹ y - λ U y‖ over unit eigenvectors y; ``lift`` is V Σ⁻¹."""
    advanced = led @ lift
    operator, finite = _split_finite(u.mT @ advanced)
    eigenvalues, vectors = (part.numpy() for part in _linalg.eig(torch.from_numpy(operator)))
    error = advanced @ vectors - (u @ vectors) * eigenvalues[:, None, :]
    return np.where(finite, _length(error, 1).max(-1), np.inf)


def _inconsistency(led: Array, scaled: Array, v: Array, kept: Flags) -> Array:
    """Return 1 - cos² of the largest angle between the ranges of V and of X'.

    ``scaled`` is U Σ⁻¹, so that R+ᵀ scaled has the range of X'.
    """
    later, finite = _split_finite(led.mT @ scaled)
    q, sigma, _ = _svd(later)
    q = q * (sigma > led.shape[-1] * _DOUBLE * sigma[:, :1])[:, None, :]
    overlap = v.mT @ q
    cosines = overlap @ overlap.mT + np.eye(kept.shape[1]) * ~kept[:, None, :]
    least = torch.linalg.eigvalsh(torch.from_numpy(cosines)).numpy()[:, 0]
    index = np.where(finite, np.clip(1 - least, 0, 1), 1.0)
    return np.where(kept.sum(-1) == led.shape[-1], 0.0, index)  # 0 in theory; rounding may hide the smallest mode


def _split_finite(matrices: Array) -> tuple[Array, Flags]:
    """Replace (B, k, j) matrices that are not finite by zeros; also return which are finite.

    Otherwise one NaN would raise for the whole batch.
    """
    finite: Flags = np.asarray(np.isfinite(matrices).all((1, 2)))
    return (matrices if finite.all() else np.where(finite[:, None, None], matrices, 0.0)), finite


def _svd(matrices: Array) -> tuple[Array, Array, Array]:
    u, sigma, vh = _linalg.svd(torch.from_numpy(matrices))
    return u.numpy(), sigma.numpy(), vh.numpy()


def _length(vectors: NDArray[np.inexact], axis: int | tuple[int, int]) -> Array:
    squares = vectors.real**2 + vectors.imag**2 if np.iscomplexobj(vectors) else vectors**2
    return np.asarray(np.sqrt(squares.sum(axis)))


def _nan_unless(finite: Flags, values: Array) -> Tensor:
    return torch.from_numpy(np.where(finite, values, np.nan))
