"""DMD of long float64 snapshots by the singular value decomposition of all of them: what jumps are judged by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Textbook:
    """U Σ Vᵀ of the first m - 1 of the snapshots (m, n), taken once for every truncation and horizon."""

    newest: Array
    u: Array
    sigma: Array
    operator: Array
    """UᵀW+VΣ⁻¹ at full rank; its leading block is that of a lower rank."""

    @classmethod
    def of(cls, rows: NDArray[np.floating]) -> "Textbook":
        """Decompose snapshots, (m, n), oldest first."""
        w = rows.astype(np.float64)
        # of the tall matrix in LAPACK's own order, which needs no copy
        u, sigma, vh = np.linalg.svd(w[:-1].T, full_matrices=False)
        return cls(w[-1], u, sigma, (u.T @ w[1:].T) @ vh.T / sigma)

    def rank(self, tolerance: float) -> int:
        """Singular values above that part of the largest."""
        return int(np.sum(self.sigma > tolerance * self.sigma[0]))

    def predict(self, rank: int, s: int) -> Array:
        """The weights s steps after the newest snapshot, U Aˢ Uᵀ w_m with ``rank`` modes."""
        u = self.u[:, :rank]
        return np.asarray(u @ (np.linalg.matrix_power(self.operator[:rank, :rank], s) @ (u.T @ self.newest)))


def shake(rows: NDArray[np.float32], seed: int = 0) -> Array:
    """The snapshots with half a unit in the last place added or taken at random."""
    half = np.spacing(np.abs(rows)).astype(np.float64) / 2
    return rows + np.where(np.random.default_rng(seed).random(rows.shape) < 0.5, -half, half)
