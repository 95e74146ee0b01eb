"""Lines, reduced-rank extrapolation, Anderson acceleration and averages, each against an independent computation."""

import numpy as np
import pytest
import torch

from accel import DMD, Accelerator, Anderson, Average, Line
from accel._rules import combine

# Weights of size 1, a few dozen sums of them, and coefficients of at most some 1e3: 1e3 · 1e2 · 1e-16.
CLOSE = {"rtol": 0, "atol": 1e-10}


def predicted(rule, weights, s, factor):
    """Prediction of a window (n, m) by a rule that sees its factor only."""
    combination = rule(factor(weights), s)
    return weights @ combination.coefficients[0].numpy()


@pytest.fixture
def window():
    rng = np.random.default_rng(3)
    return rng.standard_normal((40, 1)) + 0.1 * rng.standard_normal((40, 7)).cumsum(axis=1)


@pytest.mark.parametrize("s", [1, 25])
def test_a_line_is_the_regression_of_every_weight(window, factor, s):
    slopes, values = np.polyfit(np.arange(-6, 1), window.T, 1)
    on_line, ahead = values + s * slopes, window[:, -1] + s * slopes
    np.testing.assert_allclose(predicted(Line(), window, s, factor), on_line, **CLOSE)
    np.testing.assert_allclose(predicted(Line(anchor="newest"), window, s, factor), ahead, **CLOSE)


def test_a_line_through_two_snapshots_goes_through_both(window, factor):
    two = window[:, :2]
    for anchor in ("line", "newest"):
        ahead = two[:, 1] + 5 * (two[:, 1] - two[:, 0])
        np.testing.assert_allclose(predicted(Line(anchor=anchor), two, 5, factor), ahead, **CLOSE)


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_anderson_solves_the_constrained_least_squares_problem(window, factor, mixing):
    """Against the Karush-Kuhn-Tucker system of min ‖F α‖ with Σα = 1, in the n weights themselves."""
    steps = np.diff(window, axis=1)
    count = steps.shape[1]
    system = np.block([[steps.T @ steps, np.ones((count, 1))], [np.ones((1, count)), np.zeros((1, 1))]])
    alpha = np.linalg.solve(system, np.append(np.zeros(count), 1))[:count]
    expected = window[:, :-1] @ alpha + mixing * steps @ alpha
    np.testing.assert_allclose(predicted(Anderson(mixing=mixing), window, 1, factor), expected, **CLOSE)
    np.testing.assert_array_equal(*(predicted(Anderson(mixing=mixing), window, s, factor) for s in (1, 50)))


def test_reduced_rank_extrapolation_ends_where_a_linear_iteration_does(descend, factor):
    """Three rates need four steps; the minimum is where all modes have died out, the far end of DMD's horizon."""
    rates = [0.5, 0.2, 0.05]
    window, minimum = descend(rates, 5, 10_000)
    found = [predicted(Anderson(mixing=mixing), window, 1, factor) for mixing in (0.0, 1.0)]
    np.testing.assert_allclose(found[0], minimum, rtol=0, atol=1e-8)  # 1e-16 over the slowest rate's square, amplified
    np.testing.assert_allclose(found[1], minimum, rtol=0, atol=1e-8)
    np.testing.assert_allclose(predicted(DMD(1e-12), window, 10_000, factor), minimum, rtol=0, atol=1e-6)


def test_truncation_leaves_out_directions_below_the_tolerance(window, factor):
    """With all but one direction cut, the prediction is that of the leading singular vector of the changes alone."""
    steps = np.diff(window, axis=1)
    changes = np.diff(steps, axis=1)
    u, sigma, vh = np.linalg.svd(changes, full_matrices=False)
    mixture = vh[0] * (u[:, 0] @ steps[:, -1]) / sigma[0]
    expected = window[:, -1] - np.diff(window[:, 1:], axis=1) @ mixture
    tolerance = float(np.sqrt(sigma[0] * sigma[1]) / sigma[0])
    rule = Anderson(tolerance)
    np.testing.assert_allclose(predicted(rule, window, 1, factor), expected, **CLOSE)
    assert rule(factor(window), 1).rank.tolist() == [1]


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_an_average_weighs_snapshots_by_age(window, factor, decay):
    weights = decay ** np.arange(6, -1, -1)
    expected = np.average(window, axis=1, weights=weights)
    np.testing.assert_allclose(predicted(Average(decay), window, 9, factor), expected, **CLOSE)


def test_rules_side_by_side_predict_what_each_does_alone(window, factor):
    rng = np.random.default_rng(0)
    rules = [Line(), Anderson(1e-3), Average(0.5), Line(anchor="newest"), Anderson(mixing=0.0), Average(), DMD(1e-3)]
    factors = torch.cat([factor(rng.standard_normal((40, 7)).cumsum(axis=1)) for _ in rules])
    horizons = [3, 1, 1, 8, 1, 1, 4]
    together = combine(rules, factors, horizons)
    for index, (rule, s) in enumerate(zip(rules, horizons, strict=True)):
        alone = rule(factors[index : index + 1], s)
        torch.testing.assert_close(together.coefficients[index], alone.coefficients[0], rtol=1e-9, atol=1e-12)
        assert together.rank[index] == alone.rank[0]


def test_two_snapshots_leave_anderson_the_newest(factor, window):
    np.testing.assert_allclose(predicted(Anderson(), window[:, :2], 1, factor), window[:, 1], **CLOSE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Line(anchor="first"), "Line: anchor must be one of line, newest, got 'first'"),
        (lambda: Average(0.0), r"Average: decay must be a number in \(0, 1\], got 0.0"),
        (lambda: Average(True), "got True"),
        (
            lambda: Anderson(1.0, mixing=1.5),
            r"Anderson: tolerance must be a number in \[0, 1\), got 1.0; mixing must be a number in \[0, 1\], got 1.5",
        ),
    ],
)
def test_options_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_newest_of_single_weights_goes_on_along_its_own_line():
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor([1.0, -2.0]).double())])
    accelerator = Accelerator(model, Line(), m=4, s=10, group="weight")
    for k in range(4):
        with torch.no_grad():
            model[0].copy_(torch.tensor([1.0 + 0.1 * k, -2.0 - 0.3 * k], dtype=torch.float64))
        accelerator.step()
    torch.testing.assert_close(model[0].detach(), torch.tensor([2.3, -5.9], dtype=torch.float64), rtol=0, atol=1e-12)
