"""Batched decompositions, with the closed forms of single weights: LAPACK called a million times is no batch."""

import torch
from torch import Tensor


def svd(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin singular value decomposition U, Σ, Vᵀ of (B, k, j) float64 matrices."""
    if matrices.shape[1] > 1:
        u, sigma, vh = torch.linalg.svd(matrices, full_matrices=False)
        return u, sigma, vh
    sigma = matrices.norm(dim=2)
    vh = matrices / torch.where(sigma > 0, sigma, 1.0)[:, :, None]
    return torch.ones_like(sigma)[:, :, None], sigma, vh


def eig(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and unit eigenvectors of (B, r, r) float64 matrices, complex."""
    if matrices.shape[1] > 1:
        eigenvalues, vectors = torch.linalg.eig(matrices)
        return eigenvalues, vectors
    eigenvalues = matrices[:, :, 0].to(torch.complex128)
    return eigenvalues, torch.ones_like(eigenvalues)[:, :, None]


def eigvals(matrices: Tensor) -> Tensor:
    """Eigenvalues of (B, r, r) float64 matrices, complex."""
    return torch.linalg.eigvals(matrices) if matrices.shape[1] > 1 else eig(matrices)[0]
