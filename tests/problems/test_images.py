"""MNIST and CIFAR-10 without a network: the shipped digits in their format, and what a machine offline is told."""

import dataclasses
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
import torch

from problems.images import MNIST, Cifar10, Mnist

DIGITS = sklearn.datasets.load_digits()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """OpenML as it answers for MNIST, with the shipped digits enlarged to 28 by 28: 1500 for training, 297 for test."""
    calls = []

    def fetch(**asked):
        calls.append(asked)
        large = np.pad(np.kron(DIGITS.images * 15, np.ones((3, 3))), [(0, 0), (2, 2), (2, 2)])
        return SimpleNamespace(data=large.reshape(1797, -1), target=DIGITS.target.astype(str))

    monkeypatch.setenv("DMD_STUDY_CACHE", str(tmp_path))
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    monkeypatch.setattr(Mnist, "source", dataclasses.replace(MNIST, train=1500, test=297))
    return calls


def test_a_download_is_announced_and_happens_once(server, capsys, tmp_path):
    data = Mnist(samples=300, test_samples=100).data()
    said = capsys.readouterr().err
    assert said.startswith(f"Downloading MNIST from openml.org into {tmp_path}")
    assert server[0]["data_id"] == 554
    again = Mnist(samples=300, test_samples=100).data()
    assert capsys.readouterr().err == ""
    assert len(server) == 1
    for first, second in zip(vars(data).values(), vars(again).values(), strict=True):
        assert np.array_equal(first, second)


def test_images_keep_their_labels_and_their_split(server):
    problem = Mnist(samples=1500, test_samples=297)
    data = problem.data()
    assert data.train_inputs.shape == (1500, problem.sizes().inputs)
    for inputs, targets, part in (
        (data.train_inputs, data.train_targets, slice(0, 1500)),
        (data.test_inputs, data.test_targets, slice(1500, None)),
    ):
        low, high = data.train_inputs.min(), data.train_inputs.max()
        small = (inputs.reshape(-1, 28, 28)[:, 3:27:3, 3:27:3] - low) / (high - low) * 16
        rows = np.column_stack([small.round().reshape(len(inputs), -1), targets.argmax(axis=1)]).astype(int)
        expected = np.column_stack([DIGITS.data[part], DIGITS.target[part]]).astype(int)
        assert sorted(map(tuple, rows)) == sorted(map(tuple, expected))


def test_its_network_takes_the_images_and_learns(server):
    problem = Mnist(samples=200, test_samples=100, filters=(4, 6))
    torch.manual_seed(0)
    network, data = problem.network().double(), problem.data()
    x, y = torch.tensor(data.train_inputs), torch.tensor(data.train_targets)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        losses.append(problem.loss(network, x, y))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_a_machine_offline_gets_one_line_that_says_what_to_do(server, monkeypatch, tmp_path):
    def fetch(**asked):
        raise URLError("[Errno -2] Name or service not known")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    with pytest.raises(RuntimeError) as caught:
        Mnist(samples=300, test_samples=100).data()
    text = str(caught.value)
    assert "\n" not in text
    assert "MNIST could not be downloaded from openml.org" in text
    assert "Name or service not known" in text
    assert f"copy {tmp_path}" in text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_other_data_than_expected_are_refused(server, monkeypatch):
    few = lambda **asked: SimpleNamespace(data=DIGITS.data, target=DIGITS.target)  # noqa: E731
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", few)
    with pytest.raises(RuntimeError, match=r"must be 1797 images of 784 pixels, got an array of \(1797, 64\)"):
        Mnist(samples=300, test_samples=100).data()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="cifar10: samples must be at most the 50000 that CIFAR-10 has, not 60000"):
        Cifar10(samples=60_000)
    with pytest.raises(ValueError, match=r"mnist: seed must be a whole number >= 0, not 1.5; filters must be 1 to 4"):
        Mnist(seed=1.5, filters=())
    assert Cifar10(samples=100).sizes().inputs == 3072
    assert Cifar10().network()(torch.zeros(2, 3072)).shape == (2, 10)
