"""The test that `gains` replaced: one pooled variance for all cells. Kept to show its flaw."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t


def pooled_yes(y: NDArray[np.float64]) -> bool:
    """Say yes if the lowest mean is below the luck of the best of as many cells; y is (cells, seeds).

    The variance is that of the cells whose mean is below 0, in the model cell + seed with Satterthwaite's degrees of
    freedom, or the best cell's own variance if that is larger.
    """
    n = y.shape[1]
    means = y.mean(axis=1)
    best = int(np.argmin(means))
    pooled = y[means < 0] if (means < 0).any() else y[[best]]
    size = len(pooled)
    m_seed = size * float(pooled.mean(axis=0).var(ddof=1))
    residual = pooled - pooled.mean(axis=1, keepdims=True) - pooled.mean(axis=0) + pooled.mean()
    m_residual = float((residual**2).sum()) / ((size - 1) * (n - 1)) if size > 1 else 0.0
    variance = (m_seed + (size - 1) * m_residual) / size
    satterthwaite = (m_seed / size) ** 2 + ((size - 1) * m_residual / size) ** 2 / max(size - 1, 1)
    freedom = (n - 1) * variance**2 / satterthwaite
    deviation = math.sqrt(max(variance, float(y[best].var(ddof=1))))
    return bool(means[best] < -float(t.isf(0.05 / len(y), freedom)) * deviation / math.sqrt(n))
