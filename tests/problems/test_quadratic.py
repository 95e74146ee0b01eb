"""The quadratic test bed: its spectrum is what it says, so gradient descent is the linear iteration it says."""

from typing import Any

import numpy as np
import pytest
import torch

from problems import Data
from problems.quadratic import Quadratic


def test_sizes_are_known_beforehand() -> None:
    problem = Quadratic(inputs=3, outputs=2, samples=20, test_samples=7)
    sizes, data = problem.sizes(), problem.data()
    assert data.train_inputs.shape == (sizes.train_samples, sizes.inputs) == (20, 3)
    assert data.train_targets.shape == (sizes.train_samples, sizes.outputs) == (20, 2)
    assert data.test_inputs.shape == (sizes.test_samples, sizes.inputs) == (7, 3)
    assert data.test_targets.shape == (sizes.test_samples, sizes.outputs) == (7, 2)


@pytest.mark.parametrize("condition", [1.0, 100.0, 1e6])
def test_spectrum(condition: float) -> None:
    problem = Quadratic(inputs=5, condition=condition)
    inputs = problem.data().train_inputs
    np.testing.assert_allclose(inputs.mean(axis=0), 0.0, atol=1e-14)
    found = np.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[::-1]
    np.testing.assert_allclose(found, condition ** -np.linspace(0, 1, 5), atol=1e-13)  # rounding of numbers up to 1


def hessian_of_torch(data: Data) -> np.ndarray:
    """Hessian of the mean squared error in all weights and biases, by automatic differentiation."""
    inputs, targets = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_targets)
    count = inputs.shape[1] * targets.shape[1]

    def loss(weights: torch.Tensor) -> torch.Tensor:
        matrix, bias = weights[:count].reshape(targets.shape[1], -1), weights[count:]
        return torch.nn.functional.mse_loss(torch.nn.functional.linear(inputs, matrix, bias), targets)

    start = torch.zeros(count + targets.shape[1], dtype=torch.float64)
    return np.asarray(torch.autograd.functional.hessian(loss, start).numpy())


def test_hessian_eigenvalues() -> None:
    problem = Quadratic(inputs=4, outputs=3, samples=30, condition=50.0)
    expected = np.sort(np.tile(problem.hessian_eigenvalues(), 3))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian_of_torch(problem.data())), expected, atol=1e-13)


def test_gradient_descent_contracts_each_eigenvector_as_said() -> None:
    problem = Quadratic(inputs=4, outputs=1, samples=30, condition=10.0)
    data, rate, steps = problem.data(), 0.3, 25
    design = np.column_stack([data.train_inputs, np.ones(30)])
    optimum = np.linalg.lstsq(design, data.train_targets, rcond=None)[0][:, 0]
    model = torch.nn.Linear(4, 1).double()
    start = np.append(model.weight.detach().numpy(), model.bias.detach().numpy())
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    inputs, targets = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_targets)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    end = np.append(model.weight.detach().numpy(), model.bias.detach().numpy())
    _, basis = np.linalg.eigh(data.train_inputs.T @ data.train_inputs)
    basis = basis[:, ::-1]  # largest eigenvalue first, as hessian_eigenvalues has them
    factors = (1 - rate * problem.hessian_eigenvalues()) ** steps
    np.testing.assert_allclose(
        basis.T @ (end - optimum)[:4], factors[:4] * (basis.T @ (start - optimum)[:4]), atol=1e-12
    )
    assert (end - optimum)[4] == pytest.approx(factors[4] * (start - optimum)[4], abs=1e-12)


def test_noise_is_the_smallest_loss() -> None:
    for noise in (0.0, 0.1):
        data = Quadratic(samples=2000, outputs=2, noise=noise).data()
        design = np.column_stack([data.train_inputs, np.ones(2000)])
        rest = data.train_targets - design @ np.linalg.lstsq(design, data.train_targets, rcond=None)[0]
        # 4000 Gaussian numbers: their variance is known to sqrt(2 / 4000) = 2 %.
        assert np.mean(rest**2) == pytest.approx(noise**2, rel=0.1, abs=1e-25)


def test_the_test_set_follows_the_same_law() -> None:
    data = Quadratic(samples=50, test_samples=20_000, noise=0.0, condition=10.0).data()
    design = np.column_stack([data.train_inputs, np.ones(50)])
    weights = np.linalg.lstsq(design, data.train_targets, rcond=None)[0]
    predicted = np.column_stack([data.test_inputs, np.ones(20_000)]) @ weights
    np.testing.assert_allclose(predicted, data.test_targets, atol=1e-12)
    # Covariance entries of 20,000 samples are known to 1 / sqrt(20,000) = 0.7 %; four of these.
    np.testing.assert_allclose(np.cov(data.test_inputs.T), data.train_inputs.T @ data.train_inputs / 50, atol=0.03)


def test_same_seed_same_data() -> None:
    first, again, other = Quadratic().data(), Quadratic().data(), Quadratic(seed=1).data()
    assert np.array_equal(first.train_inputs, again.train_inputs)
    assert np.array_equal(first.test_targets, again.test_targets)
    assert not np.array_equal(first.train_inputs, other.train_inputs)


def test_progress() -> None:
    seen: list[tuple[int, int]] = []
    Quadratic(samples=20, test_samples=5).data(lambda done, total: seen.append((done, total)))
    assert seen == [(25, 25)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inputs": 0}, r"inputs must be a whole number >= 1, not 0"),
        ({"outputs": 1.5}, r"outputs must be .*not 1.5"),
        ({"samples": 8, "inputs": 8}, r"samples must be more than inputs, not 8 for 8 inputs"),
        ({"test_samples": 0}, r"test_samples must be .*not 0"),
        ({"condition": 0.5}, r"condition must be a finite number >= 1, not 0.5"),
        ({"condition": float("nan")}, r"condition must be .*not nan"),
        ({"noise": float("inf")}, r"noise must be .*not inf"),
        ({"seed": True, "noise": "0"}, r"seed must be .*True; noise must be .*'0'"),
    ],
)
def test_bad_input(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Quadratic(**given)
