"""Multigrid over training steps: it gives what serial training gives, by no more iterations than theory allows."""

import itertools
import math

import numpy as np
import pytest
import torch

from accel import MGRIT, loss_gradient

DECAY = torch.tensor([1.0, 0.3, 0.05], dtype=torch.float64)


def linear(weights, numbers):
    """Gradient descent on half of a sum of squares with these curvatures, around a target that moves with the step."""
    return DECAY * (weights - 0.1 * torch.sin(numbers[:, None].double()))


def serial(gradient, start, steps, lr):
    rows = [start]
    for i in range(steps):
        rows.append(rows[-1] - lr * gradient(rows[-1][None], torch.tensor([i]))[0])
    return torch.stack(rows)


START = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


@pytest.mark.parametrize(
    ("coarsening", "max_levels", "cycle", "relaxation", "steps"),
    [
        *((2, levels, cycle, relax, 200) for levels in (2, None) for cycle in "VF" for relax in ("F", "FCF")),
        (3, None, "V", "FCF", 200),  # 200 = 3 * 66 + 2: points are left over behind the last C-point
        (5, 3, "F", "F", 203),
        (16, None, "V", "FCF", 17),
    ],
)
def test_it_converges_to_the_serial_trajectory(coarsening, max_levels, cycle, relaxation, steps):
    solver = MGRIT(coarsening, max_levels, cycle=cycle, relaxation=relaxation, tolerance=1e-12, max_lr=0.9)
    found = solver.solve(linear, START, steps, 0.2)
    assert found.status == "converged"
    # residuals of 1e-12 sqrt(N), summed up along a training that forgets at a rate of 1 - 0.2 * 0.05 a step
    np.testing.assert_allclose(found.weights, serial(linear, START, steps, 0.2), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("relaxation", "per_iteration"), [("F", 1), ("FCF", 2)])
def test_each_iteration_makes_more_of_the_training_exact_and_so_many_all_of_it(relaxation, per_iteration):
    m, steps = 4, 48
    true = serial(linear, START, steps, 0.2)
    for iterations in range(1, steps // (m * per_iteration) + 1):
        solver = MGRIT(m, 2, relaxation=relaxation, tolerance=1e-300, max_iterations=iterations, growth=1.0)
        found = solver.solve(linear, START, steps, 0.2)
        exact = m * per_iteration * iterations
        # the same products in another order: a few roundings of weights of size 2
        np.testing.assert_allclose(found.weights[: exact + m], true[: exact + m], rtol=0, atol=1e-14)
        if exact + m <= steps:
            assert (found.weights[exact + m] - true[exact + m]).abs().max() > 1e-9
    assert exact == steps


@pytest.mark.parametrize("relaxation", ["F", "FCF"])
def test_it_converges_as_theory_predicts_for_a_linear_problem(relaxation):
    """Bound of Dobrev, Kolev, Petersson & Schroder 2017, SIAM J. Sci. Comput. 39, for scalar steps λ and μ."""
    steps, lr = 256, 0.1
    fine, coarse = 1 - lr, 1 - 2 * lr
    bound = abs(fine**2 - coarse) * (1 - coarse ** (steps // 2)) / (1 - coarse)
    bound *= fine**2 if relaxation == "FCF" else 1
    solver = MGRIT(2, 2, relaxation=relaxation, tolerance=1e-13)
    found = solver.solve(lambda weights, _: weights - 1, torch.zeros(1, dtype=torch.float64), steps, lr)
    ratios = [b / a for a, b in itertools.pairwise(found.residuals)]
    assert max(ratios) <= bound
    assert max(ratios) > bound / 3  # the bound is of the worst right-hand side, this one starts at one point
    assert found.convergence_factor == pytest.approx(math.exp(np.mean(np.log(ratios))))


def test_larger_steps_on_coarse_levels_converge_faster_than_the_naive_hierarchy_and_are_limited():
    naive, limited, doubled = (
        MGRIT(growth=growth, max_lr=max_lr).solve(linear, START, 400, 0.02)
        for growth, max_lr in ((1.0, math.inf), (2.0, 0.02), (2.0, 0.5))
    )
    assert torch.equal(naive.weights, limited.weights)
    assert doubled.iterations < naive.iterations / 2


def network():
    torch.manual_seed(3)
    layers = [torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)]
    return torch.nn.Sequential(*layers).double()


def squared(model, x, y):
    return ((model(x) - y) ** 2).mean()


@pytest.mark.parametrize("batch", [None, 3])
def test_a_network_is_trained_as_by_torchs_own_sgd(batch):
    x, y = torch.rand(12, 3, dtype=torch.float64), torch.rand(12, 2, dtype=torch.float64)
    order = None if batch is None else torch.arange(12).view(-1, batch)
    start = torch.nn.utils.parameters_to_vector(network().parameters())
    gradient = loss_gradient(network(), squared, x, y, order)
    found = MGRIT(cycle="F", tolerance=1e-12).solve(gradient, start, 90, 0.05)
    assert found.status == "converged"

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for i in range(90):
        optimizer.zero_grad()
        rows = torch.arange(12) if order is None else order[i % 4]
        squared(model, x[rows], y[rows]).backward()
        optimizer.step()
    trained = torch.nn.utils.parameters_to_vector(model.parameters())
    np.testing.assert_allclose(found.weights[-1], trained.detach(), rtol=0, atol=1e-9)


def test_gradients_of_many_steps_are_those_of_each_and_can_be_taken_in_parts():
    x, y = torch.rand(6, 3, dtype=torch.float64), torch.rand(6, 2, dtype=torch.float64)
    order = torch.tensor([[0, 5], [3, 1], [2, 4]])
    weights, numbers = torch.rand(5, 26, dtype=torch.float64), torch.tensor([0, 4, 8, 3, 5])
    together = loss_gradient(network(), squared, x, y, order)(weights, numbers)
    parts = loss_gradient(network(), squared, x, y, order, at_once=2)(weights, numbers)
    for row, (own, number) in enumerate(zip(weights, numbers, strict=True)):
        model = network()
        torch.nn.utils.vector_to_parameters(own, model.parameters())
        rows = order[number % 3]
        squared(model, x[rows], y[rows]).backward()
        alone = torch.cat([p.grad.flatten() for p in model.parameters()])
        # other products of the same numbers, of size 1
        np.testing.assert_allclose(together[row], alone, rtol=0, atol=1e-14)
        np.testing.assert_allclose(parts[row], alone, rtol=0, atol=1e-14)


def test_what_it_costs_is_counted():
    seen = []

    def counted(weights, numbers):
        seen.append(len(weights))
        return linear(weights, numbers)

    found = MGRIT(max_lr=0.9).solve(counted, START, 100, 0.2)
    assert (found.calls, found.evaluations) == (len(seen), sum(seen))
    assert MGRIT().levels(100) == [100, 50, 25, 12, 6]
    assert MGRIT(max_levels=2).levels(100) == [100, 50]


def test_a_training_too_short_to_coarsen_is_serial():
    found = MGRIT().solve(linear, START, 10, 0.2)
    assert (found.status, found.iterations, found.evaluations) == ("converged", 0, 10)
    assert torch.equal(found.weights, serial(linear, START, 10, 0.2))
    assert math.isnan(found.convergence_factor)


@pytest.mark.parametrize("steps", [8, 4000])
def test_a_training_that_diverges_is_said_to(steps):
    found = MGRIT(max_iterations=20).solve(lambda w, _: -(w**3), torch.ones(1, dtype=torch.float64), steps, 1.0)
    assert found.status == "diverged"
    assert not found.weights.isfinite().all()


def test_one_that_needs_more_iterations_is_said_to():
    found = MGRIT(max_iterations=1, tolerance=1e-15).solve(linear, START, 100, 0.2)
    assert (found.status, found.iterations) == ("stopped", 1)


def test_what_cannot_be_is_refused_all_at_once():
    with pytest.raises(
        ValueError, match=r"coarsening must be .* >= 2, got 1; .*cycle must be V or F, got 'W'; .*growth"
    ):
        MGRIT(coarsening=1, cycle="W", growth=0.5)
    with pytest.raises(ValueError, match=r"at most max_lr \(0\.1\), got 0\.2"):
        MGRIT(max_lr=0.1).solve(linear, START, 100, 0.2)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        MGRIT().solve(linear, START, 0, 0.2)
