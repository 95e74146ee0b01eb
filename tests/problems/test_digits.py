"""The digits: split and scaled as they should be, and learned."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from problems import OwnAccuracy, OwnLoss, OwnNetwork
from problems.digits import Digits, DigitsConv


def test_training_and_test_images_are_different_ones_and_scaled_by_the_training_split():
    data = Digits(samples=1400, test_samples=397, seed=1).data()
    images, labels = load_digits(return_X_y=True)
    assert data.train_inputs.mean() == pytest.approx(0, abs=1e-12)
    assert data.train_inputs.std() == pytest.approx(1)
    assert data.test_inputs.mean() != pytest.approx(0, abs=1e-6)
    # scaled back, both splits together are the whole dataset, each image with its label
    both = np.concatenate([data.train_inputs, data.test_inputs])
    both = np.round((both - both.min()) / np.ptp(both) * 16)
    named = np.concatenate([data.train_targets, data.test_targets]).argmax(axis=1)
    rows = lambda pixels, classes: sorted(map(tuple, np.column_stack([pixels, classes]).astype(int)))  # noqa: E731
    assert rows(both, named) == rows(images, labels)


def test_the_seed_draws_another_split():
    first, again, other = (Digits(samples=50, seed=seed).data().train_targets for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_loss_and_accuracy_are_those_of_the_logits():
    digits = Digits()
    assert isinstance(digits, OwnLoss)
    assert isinstance(digits, OwnAccuracy)
    assert not isinstance(digits, OwnNetwork)
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, 0.0, 0.0]])
    targets = torch.eye(3)[[0, 1, 1, 2]]
    assert digits.accuracy(lambda x: x, logits, targets) == 0.5
    by_hand = -(targets * (logits - logits.exp().sum(dim=1, keepdim=True).log())).sum(dim=1).mean()
    assert digits.loss(lambda x: x, logits, targets).item() == pytest.approx(by_hand.item())  # float32's own rtol


def test_the_convolutional_network_learns_them():
    torch.manual_seed(0)
    problem = DigitsConv(samples=200, test_samples=100, filters=(6, 8))
    data, network = problem.data(), problem.network().double()
    x, y, x_test, y_test = map(torch.tensor, vars(data).values())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    before = problem.accuracy(network, x_test, y_test)
    for _ in range(60):
        optimizer.zero_grad()
        problem.loss(network, x, y).backward()
        optimizer.step()
    assert before < 0.3  # one in ten by chance
    assert problem.accuracy(network, x_test, y_test) > 0.75  # measured 0.93


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="digits: samples and test_samples must be at most 1797 together"):
        Digits(samples=1700)
    with pytest.raises(ValueError, match="seed must be a whole number >= 0, not -1"):
        Digits(seed=-1)
    with pytest.raises(ValueError, match=r"digits_conv: filters must be 1 to 3 .*, not \(4, 4, 4, 4\)"):
        DigitsConv(filters=(4, 4, 4, 4))
