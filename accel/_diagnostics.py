"""What a window tells, from R alone: whether it shows a direction, how small a mode it resolves, how far a jump goes,
and how well one linear operator describes its steps.

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

import torch
from torch import Tensor

from accel._linalg import eig, svd

# Stored weights carry rounding errors, uniform within half a unit in the last place: in the root mean square,
# ε_w / sqrt(12) of the leading power of two, which is about 0.7 of the weight. Twice that, since noise modes spread.
_ROUNDING_NOISE = 2 * 0.2


class Diagnosis(NamedTuple):
    """One entry per window; NaN or 0 where a window is not finite."""

    resolution: Tensor
    """(B,) float64; the smallest σ_k / σ_0 that is more than rounding."""
    noise_modes: Tensor
    """(B,) int64; how many of the ``rank`` leading modes lie below the resolution."""
    relative_move: Tensor
    """(B,) float64; ‖ŵ - w_m‖ / ‖w_m‖."""
    residual: Tensor
    """(B,) float64; the largest residual of the Ritz pairs."""
    inconsistency: Tensor
    """(B,) float64 in [0, 1]; the consistency index of the kept modes."""


def show_no_direction(windows: Tensor) -> Tensor:
    """Which windows, (B, k, m) float64, hold only multiples of one vector, to float64 rounding: (B,) bool.

    A single weight (k = 1) always does, so that of it only identical snapshots count.
    """
    if windows.shape[1] == 1:
        return (windows == windows[:, :, :1]).all(-1)[:, 0]
    finite = windows.isfinite().all(-1).all(-1)
    sigma = torch.linalg.svdvals(torch.where(finite[:, None, None], windows, 0.0))
    rounding = windows.shape[-1] * torch.finfo(windows.dtype).eps
    return torch.logical_and(finite, sigma[:, 1] <= rounding * sigma[:, 0])


def diagnose(
    windows: Tensor, coefficients: Tensor, rank: Tensor, eps: Tensor, gram_eps: Tensor, move_eps: Tensor
) -> Diagnosis:
    """Examine windows and the combinations that a rule made of them.

    Four kinds of rounding bound the resolution: of the stored weights, whose errors are independent between snapshots
    and so appear as ε_w |w| in every direction, beside σ_0 = sqrt(m-1) |w|; likewise of moves, where those are stored;
    of a Gram matrix, sqrt(m ε_G) of the largest of its columns that tell directions, the first step and the changes
    from step to step (weights below float64 only, which have one pass; see `_gram`); of the decomposition itself, m ε.

    Args:
        windows: (B, k, m) float64.
        coefficients: (B, m) float64.
        rank: (B,) int64.
        eps: (B,) float64; ε_w.
        gram_eps: (B,) float64; ε_G of the Gram matrix that a window's R came from, 0 if from no single one.
        move_eps: (B,) float64; relative rounding error of moves since the first snapshot that were stored, or 0.
    """
    m, double = windows.shape[-1], torch.finfo(torch.float64).eps
    finite = windows.isfinite().all(-1).all(-1)
    windows = torch.where(finite[:, None, None], windows, 0.0)
    lagged, led = windows[:, :, :-1], windows[:, :, 1:]
    u, sigma, vh = svd(lagged)
    largest = sigma[:, :1].clamp(min=torch.finfo(torch.float64).tiny)

    resolution = (_ROUNDING_NOISE / (m - 1) ** 0.5 * eps).clamp(min=m * double)[:, None]
    moves = (windows - windows[:, :, :1]).norm(dim=1).amax(-1, keepdim=True)
    resolution = resolution.maximum(_ROUNDING_NOISE * move_eps[:, None] * moves / largest)
    steps = led - lagged
    changes = torch.cat([steps[:, :, :1], steps[:, :, 1:] - steps[:, :, :-1]], dim=2).norm(dim=1).amax(-1, keepdim=True)
    resolution = resolution.maximum((m * gram_eps).sqrt()[:, None] * changes / largest)
    resolved = (sigma >= resolution * largest).sum(-1)

    kept = torch.logical_and(torch.arange(sigma.shape[1]) < rank[:, None], sigma > 0)
    u, v = u * kept[:, None, :], vh.mT * kept[:, None, :]
    inverse = torch.where(kept, 1 / sigma, 0.0)
    newest = windows[:, :, -1]
    move = (windows @ coefficients[:, :, None])[:, :, 0] - newest
    return Diagnosis(
        resolution=torch.where(finite, resolution[:, 0], torch.nan),
        noise_modes=torch.where(finite, (rank - resolved).clamp(min=0), 0),
        relative_move=move.norm(dim=-1) / newest.norm(dim=-1),
        residual=torch.where(finite, _residual(led, u, v * inverse[:, None, :]), torch.nan),
        inconsistency=torch.where(finite, _inconsistency(led, u * inverse[:, None, :], v, kept), torch.nan),
    )


def _residual(led: Tensor, u: Tensor, lift: Tensor) -> Tensor:
    """The largest ‖R+ V Σ⁻¹ y - λ U y‖ over unit eigenvectors y; lift is V Σ⁻¹."""
    advanced = led @ lift
    operator = u.mT @ advanced
    finite = operator.isfinite().all(-1).all(-1)
    eigenvalues, vectors = eig(torch.where(finite[:, None, None], operator, 0.0))
    error = advanced.to(vectors.dtype) @ vectors - (u.to(vectors.dtype) @ vectors) * eigenvalues[:, None, :]
    return torch.where(finite, torch.linalg.vector_norm(error, dim=1).amax(-1), torch.inf)


def _inconsistency(led: Tensor, scaled: Tensor, v: Tensor, kept: Tensor) -> Tensor:
    """1 - cos² of the largest angle between the ranges of V and of X'; scaled is U Σ⁻¹, which spans the same range."""
    later = led.mT @ scaled
    finite = later.isfinite().all(-1).all(-1)
    q, sigma, _ = svd(torch.where(finite[:, None, None], later, 0.0))
    rounding = led.shape[-1] * torch.finfo(led.dtype).eps
    q = q * (sigma > rounding * sigma[:, :1])[:, None, :]
    overlap = v.mT @ q
    cosines = overlap @ overlap.mT + torch.diag_embed((~kept).to(v.dtype))
    index = (1 - torch.linalg.eigvalsh(cosines)[:, 0]).clamp(0, 1)
    return torch.where(finite, index, 1.0)
