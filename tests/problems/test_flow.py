"""The wind: known solutions of Blasius' equation, boundary values, and no divergence."""

import numpy as np
import pytest
from scipy.integrate import solve_bvp

from problems.pollutant import NotConvergedError
from problems.pollutant.dataset import sample_parameters
from problems.pollutant.flow import LEADING_EDGE, blasius, wind

WALL_CURVATURE = 0.33205733621519630  # Boyd 2008, "The Blasius function": f''(0) of 2f''' + ff'' = 0, f'(inf) = 1


def test_classical_wall_curvature_to_six_digits() -> None:
    # At eta = 10 the exact f' differs from 1 by 1e-8; 8001 nodes leave a discretisation error of 2e-8.
    profile = blasius(0.0, 0.0, eta_infinity=10.0, nodes=8001)
    assert profile.wall_curvature == pytest.approx(WALL_CURVATURE, abs=5e-7)
    # The grid that the data are made with: second order, h = 0.008 in the middle.
    assert blasius(0.0, 0.0).wall_curvature == pytest.approx(WALL_CURVATURE, abs=5e-7)


def test_second_order_on_the_grid() -> None:
    exact = blasius(0.5, -0.1, nodes=16001).f[-1]
    errors = [abs(blasius(0.5, -0.1, nodes=n).f[-1] - exact) for n in (251, 501, 1001)]
    order = -np.polyfit(np.log([250, 500, 1000]), np.log(errors), 1)[0]
    assert order == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(("wall_f", "wall_slope"), [(0.0, 0.0), (0.0, 0.4), (2.0, -0.3), (1.0, 3.0), (-0.5, 0.2)])
def test_agrees_with_a_boundary_value_solver(wall_f: float, wall_slope: float) -> None:
    grid = np.linspace(0.0, 10.0, 101)
    other = solve_bvp(
        lambda _, v: np.stack([v[1], v[2], -0.5 * v[0] * v[2]]),
        lambda a, b: np.array([a[0] - wall_f, a[1] - wall_slope, b[1] - 1.0]),
        grid,
        np.stack([wall_f + grid, np.ones_like(grid), np.exp(-grid)]),
        tol=1e-8,
        max_nodes=20_000,
    )
    assert other.success
    profile = blasius(wall_f, wall_slope)
    f, slope = profile(grid)
    # 2001 nodes: second order with h = 0.008, f of size 10.
    np.testing.assert_allclose(f, other.sol(grid)[0], atol=3e-5)
    np.testing.assert_allclose(slope, other.sol(grid)[1], atol=3e-5)
    assert profile.wall_curvature == pytest.approx(other.sol(0.0)[2], abs=3e-5)


@pytest.mark.parametrize("wall_f", [-1265.0, -30.0, 30.0, 1265.0])
@pytest.mark.parametrize("wall_slope", [-20.0, -0.5, 0.5, 20.0])
def test_extremes_of_the_sampling_ranges(wall_f: float, wall_slope: float) -> None:
    profile = blasius(wall_f, wall_slope)
    direction = np.sign(1.0 - wall_slope)
    assert profile.f[0] == wall_f
    assert profile.slope[0] == wall_slope
    assert profile.slope[-1] == pytest.approx(1.0, abs=1e-8)
    assert np.all(direction * np.diff(profile.slope) >= -1e-12)  # f'' keeps one sign; 1e-12 is rounding of slopes <= 20
    # The layer is resolved: four times as many nodes move the flow rate by less than 1e-4 of the free stream's 10.
    assert profile.f[-1] == pytest.approx(blasius(wall_f, wall_slope, nodes=8001).f[-1], abs=1e-3)


def test_continuous_from_cell_to_cell() -> None:
    profile = blasius(0.5, 0.2, nodes=51)
    below = np.nextafter(profile.eta[1:], 0.0)
    f, slope = profile(below)
    np.testing.assert_allclose(f, profile.f[1:], rtol=1e-14)
    np.testing.assert_allclose(slope, profile.slope[1:], rtol=1e-13)


def test_free_stream_beyond_the_grid() -> None:
    profile = blasius(0.0, 0.2)
    f, slope = profile(np.array([10.0, 25.0]))
    np.testing.assert_allclose(slope, 1.0, atol=1e-9)
    assert f[1] - f[0] == pytest.approx(15.0, abs=1e-7)


def test_values_at_the_ground() -> None:
    x = np.linspace(0.0, 2.0, 7)
    u_x, u_y = wind(0.7, -0.15, 0.12)(x, np.zeros_like(x))
    np.testing.assert_allclose(u_x, -0.15, rtol=1e-12)
    np.testing.assert_allclose(u_y, 0.12 / np.sqrt(x + LEADING_EDGE), rtol=1e-12)


def test_no_divergence() -> None:
    # What flows through the sides of boxes all over the domain must sum to nothing; midpoint rule, whose error with
    # 20,000 points in a side and a boundary layer of 1e-2 of it is about 1e-6.
    rng = np.random.default_rng(0)
    at, weight = (np.arange(20_000) + 0.5) / 20_000, np.full(20_000, 1 / 20_000)
    for row in sample_parameters(12, seed=3):
        velocity = wind(*row[3:])
        for _ in range(4):
            left, width = rng.uniform(0.0, 1.5), rng.uniform(0.1, 0.5)
            low, height = rng.uniform(0.0, 0.1), rng.uniform(0.01, 0.5)
            x, y = left + width * at, low + height * at
            sides = [
                height * weight @ velocity(np.full_like(y, left + width), y)[0],
                -height * weight @ velocity(np.full_like(y, left), y)[0],
                width * weight @ velocity(x, np.full_like(x, low + height))[1],
                -width * weight @ velocity(x, np.full_like(x, low))[1],
            ]
            assert abs(sum(sides)) <= 1e-5 * sum(abs(side) for side in sides)


def test_iteration_that_stops_short_is_an_error() -> None:
    with pytest.raises(NotConvergedError, match=r"at most 1e-300.*f\(0\) = 0.5, f'\(0\) = 0.25"):
        blasius(0.5, 0.25, nodes=51, tolerance=1e-300)
    with pytest.raises(ValueError, match=r"U0 must be positive, not 0.0"):
        wind(0.0, 0.1, 0.1)
