"""The network that solves Hamilton's equations: its loss, its derivatives and its solution against exact ones."""

import numpy as np
import pytest
import torch
from torch import nn

from problems import Problem
from problems.hamiltonian import Hamiltonian
from study import load_spec
from study.planning.cells import replicates
from study.planning.tasks import make_tasks
from study.training.networks import why_not_stacked
from study.training.stack import train_stack


class Exact(nn.Module):
    """What the network would have to be for the harmonic oscillator: (u - u0) / (1 - exp(-t)), for t > 0."""

    def __init__(self, x0, p0):
        super().__init__()
        self.x0, self.p0 = x0, p0

    def forward(self, t):
        x = self.x0 * torch.cos(t) + self.p0 * torch.sin(t)
        p = self.p0 * torch.cos(t) - self.x0 * torch.sin(t)
        return torch.cat([x - self.x0, p - self.p0], dim=1) / (1 - torch.exp(-t))


def test_the_solution_of_the_harmonic_oscillator_is_the_exact_one():
    problem = Hamiltonian(quartic=0.0, samples=50)
    data = problem.data()
    assert isinstance(problem, Problem)
    for t, states in ((data.train_inputs, data.train_targets), (data.test_inputs, data.test_targets)):
        x = 1.3 * np.cos(t[:, 0]) + np.sin(t[:, 0])
        p = np.cos(t[:, 0]) - 1.3 * np.sin(t[:, 0])
        np.testing.assert_allclose(states, np.stack([x, p], axis=1), rtol=0, atol=1e-10)  # integrated at 1e-12 a step
    assert data.train_inputs.shape == (50, 1)
    assert data.test_inputs.shape == (49, 1)


def test_energy_is_conserved_along_the_nonlinear_solution():
    problem = Hamiltonian(quartic=2.0, samples=80)
    x, p = problem.data().train_targets.T
    energy = p**2 / 2 + x**2 / 2 + 2.0 * x**4 / 4
    np.testing.assert_allclose(energy, energy[0], rtol=1e-10)
    assert np.abs(x - 1.3).max() > 1


def test_the_exact_solution_has_no_residual_and_a_slower_one_has_its_own():
    problem = Hamiltonian(quartic=0.0)
    t = torch.linspace(0.1, 6.0, 40, dtype=torch.float64)[:, None]
    assert problem.loss(Exact(1.3, 1.0), t, t) < 1e-25
    # under H with a quartic term, the harmonic solution leaves x³ as the residual of the second equation
    x = 1.3 * torch.cos(t) + torch.sin(t)
    expected = (0.5 * x**3).square().mean() / 2
    torch.testing.assert_close(Hamiltonian(quartic=0.5).loss(Exact(1.3, 1.0), t, t), expected, rtol=1e-10, atol=0)


def test_derivatives_in_time_are_those_of_finite_differences():
    problem = Hamiltonian()
    torch.manual_seed(0)
    network = problem.network().double()
    t = torch.linspace(0.0, 12.0, 30, dtype=torch.float64)[:, None]
    h = 1e-5  # truncation h² and rounding 1e-16 / h meet at about 1e-10
    with torch.no_grad():
        x, p = problem.trajectory(network, t).T
        dx, dp = ((problem.trajectory(network, t + h) - problem.trajectory(network, t - h)) / (2 * h)).T
        expected = ((dx - p) ** 2 + (dp + x + x**3) ** 2).mean() / 2
        torch.testing.assert_close(problem.loss(network, t, t), expected, rtol=1e-7, atol=0)
    assert problem.trajectory(network, torch.zeros(1, 1).double()).tolist() == [[1.3, 1.0]]


def spec_of(**changes):
    return load_spec(
        {
            "name": "oscillator",
            "problem": {"name": "hamiltonian", "samples": 40, "t_max": 1.0},
            "training": {"optimizer": "adam", "lr": 1e-2, "epochs": 6, "dtype": "float64", **changes},
            "method": {"name": "koopman", "group": "node"},
            "axes": {"m": [3], "s": [2]},
            "seeds": 3,
        }
    )


def test_networks_are_trained_side_by_side_as_each_alone():
    spec = spec_of()
    chosen = replicates(spec)
    (task,) = make_tasks(spec, chosen).values()
    cpu = torch.device("cpu")
    assert why_not_stacked(task, chosen[0].recipe, cpu) is None
    together = train_stack(chosen, task, {}, cpu)
    for outcome, replicate in zip(together, chosen, strict=True):
        (alone,) = train_stack([replicate], task, {}, cpu)
        assert outcome.stacked == 3
        # up to the first jump: products of other shapes sum in another order
        np.testing.assert_allclose(outcome.losses.train[:3], alone.losses.train[:3], rtol=1e-10)


def test_training_finds_the_solution():
    """On a short interval, in seconds: the trajectory is that of the integrator although nobody has shown it."""
    problem = Hamiltonian(t_max=1.0, samples=30)
    torch.manual_seed(0)
    network = problem.network().double()
    data = problem.data()
    t = torch.from_numpy(data.train_inputs)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = problem.loss(network, t, t)
        loss.backward()
        return loss

    before = closure().item()
    optimizer.step(closure)
    assert closure().item() < 1e-4 * before
    found = problem.trajectory(network, torch.from_numpy(data.test_inputs)).detach().numpy()
    # residuals of 1e-2 or less over a unit of time
    np.testing.assert_allclose(found, data.test_targets, rtol=0, atol=2e-2)
    assert np.abs(data.test_targets - [1.3, 1.0]).max() > 1


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ValueError, match=r"^hamiltonian: ") as caught:
        Hamiltonian(samples=1, t_max=0.0, x0=float("nan"), quartic=-1.0, hidden=())
    for part in (
        "samples must be a whole number >= 2, not 1",
        "t_max must be above 0, not 0.0",
        "x0 must be a finite number, not nan",
        "quartic must be at least 0, not -1.0",
        "hidden must be whole numbers >= 1, not ()",
    ):
        assert part in str(caught.value)
