"""The transport solver: manufactured solutions, balances, and what the mesh does."""

from typing import Any

import numpy as np
import pytest
import skfem
from numpy.typing import NDArray

from problems.pollutant import NotConvergedError
from problems.pollutant.dataset import sample_parameters
from problems.pollutant.flow import wind
from problems.pollutant.transport import HEIGHT, SOURCE_CENTRES, SOURCE_RATE, WIDTH, Transport

Array = NDArray[np.float64]
K12, K3 = 5.0, 2.0


@pytest.fixture(scope="module")
def paper_mesh() -> Transport:
    return Transport(89, 30)


def manufactured(x: Array, y: Array, diffusion: float) -> tuple[list[Array], list[Array]]:
    """Three concentrations that meet the boundary conditions under `breeze`, and the sources that make them."""
    u_x, u_y = breeze(x, y)
    across, slope, bend = np.sin(np.pi * x / 4), np.pi / 4 * np.cos(np.pi * x / 4), -((np.pi / 4) ** 2)
    fields, transport = [], []
    for size, wave in ((0.5, 1), (-0.4, 1), (0.3, 2)):
        up = 1 + size * np.cos(wave * np.pi * y)
        up_slope = -size * wave * np.pi * np.sin(wave * np.pi * y)
        up_bend = -size * (wave * np.pi) ** 2 * np.cos(wave * np.pi * y)
        fields.append(across * up)
        transport.append(u_x * slope * up + u_y * across * up_slope - diffusion * across * (bend * up + up_bend))
    c1, c2, c3 = fields
    reacted = K12 * c1 * c2
    return fields, [transport[0] + reacted, transport[1] + reacted, transport[2] - reacted + K3 * c3]


def breeze(x: Array, y: Array) -> tuple[Array, Array]:
    return 1 + y**2, 0.1 + 0.5 * y * x


@pytest.mark.parametrize("diffusion", [0.5, 0.01])
def test_second_order_on_a_manufactured_solution(diffusion: float) -> None:
    errors = []
    for nodes_x, nodes_y in ((23, 9), (45, 17), (89, 33)):
        transport = Transport(nodes_x, nodes_y)
        _, sources = manufactured(*transport.points, diffusion)
        found = transport.solve(breeze, K12, K3, diffusion, sources=(sources[0], sources[1], sources[2]))
        exact, _ = manufactured(*transport.points, diffusion)
        at_points = [c[transport.corners] @ transport.phi.T for c in (found.c1, found.c2, found.c3)]
        errors.append(
            [np.sqrt(np.sum(transport.weights * (a - b) ** 2)) for a, b in zip(at_points, exact, strict=True)]
        )
    orders = -np.polyfit(np.log([1, 2, 4]), np.log(errors), 1)[0]
    # Linear elements: 2 in the L2 norm; SUPG may cost up to a half where advection dominates.
    assert np.all(orders > 1.8), orders
    # Fields of size 1 that vary as cos(2 pi y), spacings up to 0.034 x 0.062: interpolation alone errs by
    # (2 pi h)² / sqrt(120) = 1.4e-2 in the largest elements, a tenth of that on average.
    assert np.all(np.asarray(errors[-1]) < 2e-3), errors[-1]


def test_discs_emit_their_area(paper_mesh: Transport) -> None:
    # Area of the disc inside the domain, on a grid of 2000 x 1000 midpoints: 1e-4 accurate.
    x, y = np.meshgrid((np.arange(2000) + 0.5) * WIDTH / 2000, (np.arange(1000) + 0.5) * HEIGHT / 1000)
    for source, (x0, y0) in zip(paper_mesh.sources, SOURCE_CENTRES, strict=True):
        area = np.mean((x - x0) ** 2 + (y - y0) ** 2 < 0.25) * WIDTH * HEIGHT
        assert np.sum(paper_mesh.weights * source) == pytest.approx(SOURCE_RATE * area, rel=3e-4)


def test_no_pollutant_without_reaction(paper_mesh: Transport) -> None:
    found = paper_mesh.solve(wind(1.0, 0.1, -0.1), 0.0, 3.0, 0.1)
    assert np.all(found.c3 == 0.0)
    assert found.c1.max() > 0.01
    assert found.newton_iterations == 0


def test_inlet_and_outlet(paper_mesh: Transport) -> None:
    x, y = paper_mesh.nodes.T
    inflow = paper_mesh.inflow(wind(1.0, -0.2, 0.1))  # reversed near the ground, and away from it
    left, right, top = x == 0.0, x == WIDTH, y == HEIGHT
    assert np.all(inflow[left & (y > 0.2)])
    assert not inflow[left & (y == 0.0)].any()
    assert inflow[right & (y == 0.0)].all()
    assert not inflow[right & (y > 0.2)].any()
    assert not inflow[top & ~left].any()
    assert not inflow[~(left | right | top)].any()
    assert paper_mesh.inflow(wind(1.0, 0.1, -0.2))[top].all()  # sucked down from above


def imbalance(transport: Transport, parameters: tuple[float, ...]) -> list[float]:
    """For c1, c2, c3: (emission + what reactions make - what wind and diffusion carry out) / the solute's supply.

    Everything is integrated again from the fields, with quadratures of its own. Diffusion through the three sides is
    taken from the weak form with a function v that is 1 on them, because gradients are singular where inlets end.
    """
    k12, k3, diffusion = parameters[:3]
    velocity = wind(*parameters[3:])
    found = transport.solve(velocity, k12, k3, diffusion)
    sides = skfem.FacetBasis(transport.mesh, skfem.ElementTriP1(), intorder=30)
    inside = skfem.Basis(transport.mesh, skfem.ElementTriP1(), intorder=8)

    @skfem.Functional
    def carried_out(w: Any) -> Array:
        u_x, u_y = velocity(np.maximum(w.x[0], 0.0), np.maximum(w.x[1], 0.0))
        return w.c * (u_x * w.n[0] + u_y * w.n[1])

    @skfem.Functional
    def diffused_in(w: Any) -> Array:
        (x, y), (u_x, u_y) = w.x, velocity(*w.x)
        v, v_x, v_y = 1 - x * (2 - x) * (1 - y), -(2 - 2 * x) * (1 - y), x * (2 - x)
        advection = u_x * w.c.grad[0] + u_y * w.c.grad[1]
        return advection * v + diffusion * (w.c.grad[0] * v_x + w.c.grad[1] * v_y)

    @skfem.Functional
    def weighted(w: Any) -> Array:
        return w.q * (w.x[0] * (2 - w.x[0]) * (1 - w.x[1]))

    integral = skfem.Functional(lambda w: w.q)
    values = [inside.interpolate(c) for c in (found.c1, found.c2, found.c3)]
    reacted, decayed = k12 * values[0] * values[1], k3 * values[2]
    bubble = transport.points[0] * (2 - transport.points[0]) * (1 - transport.points[1])
    emitted = [np.sum(transport.weights * q) for q in transport.sources]
    emitted_weighted = [np.sum(transport.weights * q * bubble) for q in transport.sources]
    rest = []
    for i, (made, scale) in enumerate(
        ((-reacted, emitted[0]), (-reacted, emitted[1]), (reacted - decayed, integral.assemble(inside, q=reacted)))
    ):
        # Sources enter the weak form with weight v = 1 - bubble.
        supply = integral.assemble(inside, q=made) + (emitted[i] if i < 2 else 0.0)
        supply_v = supply - weighted.assemble(inside, q=made) - (emitted_weighted[i] if i < 2 else 0.0)
        influx = diffused_in.assemble(inside, c=values[i]) - supply_v
        outflow = carried_out.assemble(sides, c=sides.interpolate((found.c1, found.c2, found.c3)[i]))
        rest.append(float((supply + influx - outflow) / scale))
    return rest


@pytest.mark.parametrize(
    "parameters",
    [(10.0, 2.0, 0.1, 1.0, 0.0, 0.0), (10.0, 2.0, 0.3, 0.5, -0.1, 0.1), (5.0, 0.0, 0.2, 1.5, 0.1, -0.1)],
    ids=["plain", "reversed and rising", "slipping and sinking"],
)
def test_global_mass_balance(paper_mesh: Transport, parameters: tuple[float, ...]) -> None:
    # The form in use does not conserve mass by itself, but up to its discretisation error, second order: where fields
    # are accurate to 0.2 % (see below), integrals of them are better.
    coarse, fine = imbalance(paper_mesh, parameters), imbalance(Transport(177, 59), parameters)
    assert np.abs(coarse).max() < 5e-4
    assert np.abs(fine).max() < 0.5 * np.abs(coarse).max()


def doubling(paper_mesh: Transport, rows: Array) -> Array:
    """Relative L2 difference of c3 at the shared nodes to a mesh twice as fine, per sample."""
    fine = Transport(177, 59)
    change = []
    for row in rows:
        velocity = wind(*row[3:])
        here = paper_mesh.solve(velocity, *row[:3]).c3.reshape(89, 30)
        there = fine.solve(velocity, *row[:3]).c3.reshape(177, 59)[::2, ::2]
        change.append(np.linalg.norm(here - there) / np.linalg.norm(there))
    return np.asarray(change)


def test_typical_samples_change_less_than_a_percent_on_a_finer_mesh(paper_mesh: Transport) -> None:
    change = doubling(paper_mesh, sample_parameters(1000, seed=0)[:12])
    assert np.median(change) < 0.003
    assert np.mean(change < 0.01) >= 0.9


@pytest.mark.slow
def test_worst_samples_on_a_finer_mesh(paper_mesh: Transport) -> None:
    change = doubling(paper_mesh, sample_parameters(1000, seed=0)[:300])
    print("median, 99th percentile, worst:", np.percentile(change, [50, 99, 100]))
    assert np.percentile(change, 95) < 0.01
    assert change.max() < 0.03


def test_undershoots(paper_mesh: Transport) -> None:
    found = [paper_mesh.solve(wind(*row[3:]), *row[:3]).c3 for row in sample_parameters(1000, seed=0)[:60]]
    # SUPG does not forbid undershoots at sharp layers; the worst of the 1000 samples has 3e-4 of its maximum.
    assert all(c3.min() >= -1e-3 * c3.max() for c3 in found)
    assert min(c3.min() for c3 in found) >= -1e-5 * max(c3.max() for c3 in found)


def test_upwinding_keeps_a_coarse_mesh_stable() -> None:
    # Elements 20 times longer than D / u: without SUPG the error is 17 times the solution, with it a quarter.
    coarse, fine = Transport(30, 10), Transport(117, 37)
    here, there = (mesh.solve(wind(2.0, 0.2, 0.2), 20.0, 10.0, 1e-3) for mesh in (coarse, fine))
    expected = there.c1.reshape(117, 37)[::4, ::4].ravel()
    assert np.linalg.norm(here.c1 - expected) < 0.5 * np.linalg.norm(expected)


def test_limits_of_the_reaction(paper_mesh: Transport) -> None:
    # The faster the reaction, the less of the reactants meets: c1 c2 -> 0, and without decay c1 + c3 is what c1 alone
    # would be (both solve the same linear equation, the discrete one too, so to the solver's tolerance).
    velocity = wind(1.0, 0.05, -0.05)
    alone = paper_mesh.solve(velocity, 0.0, 0.0, 0.1)
    found = paper_mesh.solve(velocity, 20.0, 0.0, 0.1)
    np.testing.assert_allclose(found.c1 + found.c3, alone.c1, atol=1e-8 * alone.c1.max())
    np.testing.assert_allclose(found.c2 + found.c3, alone.c2, atol=1e-8 * alone.c2.max())
    fast = paper_mesh.solve(velocity, 1e4, 0.0, 0.1)
    assert np.minimum(fast.c1, fast.c2).max() < 0.2 * np.minimum(found.c1, found.c2).max()


def test_what_cannot_be_is_refused(paper_mesh: Transport) -> None:
    velocity = wind(1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"D > 0.*given: D = 0.0"):
        paper_mesh.solve(velocity, 1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"at least 2 x 2 nodes, not 1 x 30"):
        Transport(1, 30)
    with pytest.raises(NotConvergedError, match=r"must fall to 1e-300"):
        paper_mesh.solve(velocity, 1.0, 1.0, 0.1, tolerance=1e-300)
