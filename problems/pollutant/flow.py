"""Wind over the terrain: the self-similar boundary layer of the paper's appendix 1, equations (6) and (7).

======== ============================================== ==========
symbol   meaning                                        unit
======== ============================================== ==========
x, y     distance along and above the ground            length
eta      sqrt(U0 / (nu (x + x0))) y                     1
f(eta)   stream function / sqrt(nu U0 (x + x0))         1
lambda   u_h / U0, the slip at the ground               1
======== ============================================== ==========

The velocity is u_x = U0 f' and u_y = ½ sqrt(nu U0 / (x + x0)) (eta f' - f), which is free of divergence for any f, and
f solves 2 f''' + f f'' = 0 with f(0) = -2 u_v / sqrt(nu U0), f'(0) = lambda, f'(eta_inf) = 1. As printed, the paper's
eta has a factor 2 that contradicts its equation (7), and its u_y lacks a root; both are corrected here.

The free stream is imposed at a finite ``ETA_INFINITY``, because with strong blowing at the ground (f(0) down to -1265
within the sampling ranges) the problem on the half line has no solution. On the finite interval one always exists: f''
keeps one sign, so f' = lambda + (1 - lambda) I(eta) / I(eta_inf), with I(eta) the integral of exp(-½ ∫ f). For
lambda < 0 it need not be unique. The solution taken is the one that damped Picard iteration on that formula reaches
from the straight line.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from problems.pollutant._errors import NotConvergedError

Array = NDArray[np.float64]

VISCOSITY = 1e-5
"""Kinematic viscosity of air, nu."""
LEADING_EDGE = 0.05
"""Distance x0 from the leading edge of the boundary layer to the domain; at the edge the velocity is singular."""
ETA_INFINITY = 10.0
"""Value of eta at which the free stream is imposed."""

DAMPING = 0.5
MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class Profile:
    """Solution f of the Blasius problem on a grid: f' is piecewise linear and f its exact integral."""

    eta: Array
    """(nodes,)."""
    f: Array
    """(nodes,)."""
    slope: Array
    """(nodes,), f'."""
    wall_curvature: float
    """f''(0)."""
    iterations: int
    """Number of Picard steps."""
    residual: float
    """Largest change of f' that one more undamped Picard step would make."""

    def __call__(self, eta: Array) -> tuple[Array, Array]:
        """Return f and f' at any eta >= 0; beyond the grid f' = 1."""
        cell = np.clip(np.searchsorted(self.eta, eta, side="right") - 1, 0, len(self.eta) - 2)
        curvature = (np.diff(self.slope) / np.diff(self.eta))[cell]
        inside = np.minimum(eta, self.eta[-1]) - self.eta[cell]
        outside = np.maximum(eta - self.eta[-1], 0.0)
        slope = self.slope[cell] + curvature * inside
        f = self.f[cell] + (self.slope[cell] + 0.5 * curvature * inside) * inside + self.slope[-1] * outside
        return f, slope


def blasius(
    wall_f: float,
    wall_slope: float,
    eta_infinity: float = ETA_INFINITY,
    nodes: int = 2001,
    tolerance: float = 1e-10,
) -> Profile:
    """Solve 2 f''' + f f'' = 0, f(0) = ``wall_f``, f'(0) = ``wall_slope``, f'(``eta_infinity``) = 1.

    The grid is cosine-spaced, since the layers lie at one end or the other and are as thin as 2 / |f(0)|.

    Args:
        wall_f: f(0).
        wall_slope: f'(0).
        eta_infinity: end of the interval.
        nodes: number of grid points.
        tolerance: largest change of f' by the last step, relative to the larger of 1 and |f'(0)|.

    Raises:
        NotConvergedError: after ``MAX_ITERATIONS`` steps a step still changes f' by more than the tolerance.
    """
    eta = 0.5 * eta_infinity * (1.0 - np.cos(np.linspace(0.0, np.pi, nodes)))
    step = np.diff(eta)
    slope = wall_slope + (1.0 - wall_slope) * eta / eta_infinity
    change = np.inf
    for iteration in range(1, MAX_ITERATIONS + 1):
        f, integral_f = _integrate_twice(wall_f, slope, step)
        # only ratios of the exponential matter, and the exponent reaches thousands: shift it by its maximum
        exponent = -0.5 * integral_f
        bell = np.exp(exponent - exponent.max())
        area = np.concatenate([[0.0], np.cumsum(0.5 * step * (bell[:-1] + bell[1:]))])
        target = wall_slope + (1.0 - wall_slope) * area / area[-1]
        change = float(np.abs(target - slope).max())
        if change <= tolerance * max(1.0, abs(wall_slope)):
            return Profile(eta, f, slope, float((1.0 - wall_slope) * bell[0] / area[-1]), iteration, change)
        slope = slope + DAMPING * (target - slope)
    raise NotConvergedError(
        f"the boundary layer did not converge: a Picard step must change f' by at most {tolerance:g}, but after "
        f"{MAX_ITERATIONS} steps it changes by {change:.2e} (f(0) = {wall_f:g}, f'(0) = {wall_slope:g})"
    )


def _integrate_twice(start: float, slope: Array, step: Array) -> tuple[Array, Array]:
    """Return the exact first and second integral of the piecewise linear ``slope``: f, and the integral of f."""
    f = start + np.concatenate([[0.0], np.cumsum(0.5 * step * (slope[:-1] + slope[1:]))])
    rise = step * f[:-1] + step**2 * (slope[:-1] / 3.0 + slope[1:] / 6.0)
    return f, np.concatenate([[0.0], np.cumsum(rise)])


@dataclass(frozen=True)
class Wind:
    """Velocity field of one sample; call it with coordinates to get (u_x, u_y) of the same shape."""

    free_stream: float
    profile: Profile

    def __call__(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return the velocity at x >= 0, y >= 0."""
        distance = x + LEADING_EDGE
        eta = np.sqrt(self.free_stream / (VISCOSITY * distance)) * y
        f, slope = self.profile(eta)
        return self.free_stream * slope, 0.5 * np.sqrt(VISCOSITY * self.free_stream / distance) * (eta * slope - f)


def wind(free_stream: float, slip_horizontal: float, slip_vertical: float) -> Wind:
    """Solve for the boundary layer under a free stream, with u_x = u_h and u_y = u_v / sqrt(x + x0) at the ground.

    Args:
        free_stream: U0.
        slip_horizontal: u_h.
        slip_vertical: u_v.

    Raises:
        ValueError: U0 <= 0.
        NotConvergedError: the boundary layer does not converge.
    """
    if not free_stream > 0.0:
        raise ValueError(f"the free stream U0 must be positive, not {free_stream!r}")
    wall_f = -2.0 * slip_vertical / np.sqrt(VISCOSITY * free_stream)
    return Wind(free_stream, blasius(float(wall_f), slip_horizontal / free_stream))
