"""Exclusive or and addition: the truth tables, and the gradients that the paper's own update has."""

import numpy as np
import pytest
import torch

from problems.adder import Adder
from problems.xor import Xor


def test_xor_is_the_truth_table_with_a_constant_input():
    data = Xor().data()
    assert [(bool(a) != bool(b), c) for a, b, c in data.train_inputs] == [(bool(t), 1) for (t,) in data.train_targets]
    assert sum(p.numel() for p in Xor().network().parameters()) == 16


def test_sums_are_right_but_for_the_carry():
    data = Adder(bits=5, samples=40, test_samples=7).data()
    place = 2 ** np.arange(5)[::-1]
    for inputs, targets in ((data.train_inputs, data.train_targets), (data.test_inputs, data.test_targets)):
        assert set(np.unique(inputs)) == {0, 1}
        np.testing.assert_array_equal((inputs[:, :5] @ place + inputs[:, 5:] @ place) % 32, targets @ place)
    assert len(np.unique(data.train_inputs, axis=0)) > 30
    assert sum(p.numel() for p in Adder().network().parameters()) == 12_032


@pytest.mark.parametrize("problem", [Xor(), Adder()])
def test_a_step_of_alpha_times_the_samples_is_that_of_the_11_lines(problem):
    """Weights += α Xᵀ(error · l(1 - l)), backwards through the layers, from arXiv:1708.02276 and Trask's code."""
    torch.manual_seed(0)
    network, data = problem.network().double(), problem.data()
    before = [p.detach().numpy().T.copy() for p in network.parameters()]
    assert all(np.abs(w).max() < 1 < 2 * np.abs(w).max() for w in before)
    x, y = torch.tensor(data.train_inputs), torch.tensor(data.train_targets)
    problem.loss(network, x, y).backward()

    outputs = [data.train_inputs]
    for w in before:
        outputs.append(1 / (1 + np.exp(-outputs[-1] @ w)))
    error = data.train_targets - outputs[-1]
    for w, into, out, parameter in zip(
        before[::-1], outputs[-2::-1], outputs[:0:-1], list(network.parameters())[::-1], strict=True
    ):
        delta = error * out * (1 - out)
        error = delta @ w.T
        # sums of at most 500 products of numbers of size 1, in another order
        np.testing.assert_allclose(-len(x) * parameter.grad.numpy().T, into.T @ delta, rtol=0, atol=1e-11)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="adder: bits must be a whole number >= 1, not 0; samples must be"):
        Adder(bits=0, samples=2.5)
    with pytest.raises(ValueError, match="bits must be at most 62, not 63"):
        Adder(bits=63)
