"""Batched decompositions. Single weights use closed forms, since LAPACK would be called once for each of millions.

Call `split_finite` first: one NaN would raise for the whole batch.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def split_finite(matrices: Tensor) -> tuple[Tensor, Tensor | None]:
    """Replace (B, k, j) matrices that are not finite by zeros; also return which are finite, (B,), or None if all."""
    if math.isfinite(matrices.sum().item()):  # two operations for the usual case; a sum of finite numbers may overflow
        return matrices, None
    finite = matrices.isfinite().flatten(1).all(1)
    if finite.all():
        return matrices, None
    return torch.where(finite[:, None, None], matrices, 0.0), finite


def where_finite(finite: Tensor | None, values: Tensor, otherwise: float) -> Tensor:
    """Replace the values of matrices that were not finite.

    Args:
        finite: (B,) bool, or None if all matrices were finite; from `split_finite`.
        values: (B, …), computed from the matrices.
        otherwise: number to put in their place.
    """
    if finite is None:
        return values
    return torch.where(finite.view(-1, *[1] * (values.dim() - 1)), values, otherwise)


def svd(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the thin singular value decomposition U, Σ, Vᵀ of (B, k, j) float64 matrices."""
    if matrices.shape[1] > 1:
        u, sigma, vh = torch.linalg.svd(matrices, full_matrices=False)
        return u, sigma, vh
    sigma = matrices.norm(dim=2)
    vh = matrices / torch.where(sigma > 0, sigma, 1.0)[:, :, None]
    return torch.ones_like(sigma)[:, :, None], sigma, vh


def eig(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues and unit eigenvectors of (B, r, r) float64 matrices, complex."""
    if matrices.shape[1] > 1:
        eigenvalues, vectors = torch.linalg.eig(matrices)
        return eigenvalues, vectors
    eigenvalues = matrices[:, :, 0].to(torch.complex128)
    return eigenvalues, torch.ones_like(eigenvalues)[:, :, None]


def eigvals(matrices: Tensor) -> Tensor:
    """Return the eigenvalues of (B, r, r) float64 matrices, complex."""
    return torch.linalg.eigvals(matrices) if matrices.shape[1] > 1 else eig(matrices)[0]


def powers(matrices: Tensor, exponents: Sequence[int]) -> Tensor:
    """Raise each of (B, r, r) matrices to its own power, at least 0; matrix_power() takes one power for all."""
    different = set(exponents)
    if len(different) == 1:
        power: Tensor = torch.linalg.matrix_power(matrices, exponents[0])
        return power
    raised = torch.empty_like(matrices)
    for exponent in different:
        chosen = torch.tensor([each == exponent for each in exponents])
        raised[chosen] = torch.linalg.matrix_power(matrices[chosen], exponent)
    return raised
