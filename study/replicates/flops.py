"""Costs in floating point operations, counted as the leading matrix products of dense layers.

An estimate for other networks, where a weight is used more than once per sample. In *step equivalents*: divided by
`step_flops`.
"""

import itertools


def step_flops(weights: int, samples: int) -> float:
    """One forward and one backward pass: 6 per weight and sample."""
    return 6.0 * weights * samples


def evaluation_flops(weights: int, samples: int) -> float:
    """One forward pass: 2 per weight and sample."""
    return 2.0 * weights * samples


def jump_flops(weights: int, m: int) -> float:
    """The Gram matrix of a window, m(m+1)/2 inner products, and the combination of its m snapshots."""
    return weights * (m * (m + 1.0) + 2.0 * m)


def combination_flops(weights: int, m: int) -> float:
    """One more combination of the same m snapshots, as of another candidate."""
    return weights * 2.0 * m


def dense_weights(inputs: int, hidden: tuple[int, ...], outputs: int) -> int:
    """Weights and biases of a dense network."""
    sizes = [inputs, *hidden, outputs]
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))
