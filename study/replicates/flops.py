"""Costs in floating point operations, counted as the leading matrix products of dense layers.

They are an estimate for other networks, which may use a weight more than once per sample. A cost in *step equivalents*
is divided by `step_flops`.
"""

import itertools


def step_flops(weights: int, samples: int) -> float:
    """Return the cost of a forward and a backward pass: 6 per weight and sample."""
    return 6.0 * weights * samples


def evaluation_flops(weights: int, samples: int) -> float:
    """Return the cost of a forward pass: 2 per weight and sample."""
    return 2.0 * weights * samples


def jump_flops(weights: int, m: int) -> float:
    """Return the cost of a window's Gram matrix, m(m+1)/2 inner products, and one combination of its m snapshots."""
    return weights * (m * (m + 1.0) + 2.0 * m)


def combination_flops(weights: int, m: int) -> float:
    """Return the cost of another combination of the same m snapshots, as for another candidate."""
    return weights * 2.0 * m


def dense_weights(inputs: int, hidden: tuple[int, ...], outputs: int) -> int:
    """Return the number of weights and biases of a dense network.

    Args:
        inputs: number of inputs.
        hidden: units of each hidden layer.
        outputs: number of outputs.
    """
    sizes = [inputs, *hidden, outputs]
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))
