"""Steady transport and reaction of the three solutes: the paper's appendix 1, equations (8) and (9).

    u·∇c1 - D ∇²c1 + K12 c1 c2         = Q1
    u·∇c2 - D ∇²c2 + K12 c1 c2         = Q2
    u·∇c3 - D ∇²c3 - K12 c1 c2 + K3 c3 = 0        on [0, 2] x [0, 1]

(the signs of the reactions printed in the paper would create reactants out of nothing and destroy the pollutant).
Ground: zero normal gradient. Left, right and top: c = 0 where the wind blows in, zero normal gradient where it blows
out. Linear triangles with streamline-upwind Petrov-Galerkin (SUPG) stabilisation; the test function is
``psi = phi + tau u·∇phi`` in every term but the diffusive one, where second derivatives vanish inside linear elements.

c1 - c2 does not react, so it solves a linear problem, also in the discrete equations. Newton's method has to find c1
only. It starts from the solution without reaction, which lies above the solution sought; the reaction is convex in c1,
so the iterates come down to it.

Shapes: elements E, quadrature points Q of an element, 3 corners of a triangle, nodes N = nodes_x * nodes_y. Node
``i * nodes_y + j`` is the j-th from the ground in the i-th column, so a field is ``c.reshape(nodes_x, nodes_y)``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import skfem
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, lapack

from problems.pollutant._errors import NotConvergedError

Array = NDArray[np.float64]
Velocity = Callable[[Array, Array], tuple[Array, Array]]

WIDTH, HEIGHT = 2.0, 1.0
SOURCE_RATE = 0.1
SOURCE_RADIUS = 0.5
SOURCE_CENTRES = ((0.1, 0.1), (0.1, 0.3))
"""Centres of the two discs that emit c1 and c2."""
QUADRATURE_ORDER = 3
SOURCE_SUBDIVISIONS = 32
"""Number of pieces per side of a triangle in the average of a source, which jumps inside elements."""

TOLERANCE = 1e-10
MAX_ITERATIONS = 30
MAX_HALVINGS = 6


@dataclass(frozen=True)
class Concentrations:
    """Nodal values of the three solutes, each (N,), and the convergence of Newton's method."""

    c1: Array
    c2: Array
    c3: Array
    newton_residual: float
    """Norm of the residual of the nonlinear equations, relative to the norm of the source vector."""
    newton_iterations: int
    """Number of steps of Newton's method."""


class Transport:
    """A mesh, and everything on it that does not depend on the sample.

    The nodes are graded towards the source and the ground: x = 2 t^1.5, y = t², t evenly spaced in [0, 1].
    """

    def __init__(self, nodes_x: int, nodes_y: int) -> None:
        if nodes_x < 2 or nodes_y < 2:
            raise ValueError(f"the mesh needs at least 2 x 2 nodes, not {nodes_x} x {nodes_y}")
        self.nodes_x, self.nodes_y = nodes_x, nodes_y
        x = WIDTH * np.linspace(0.0, 1.0, nodes_x) ** 1.5
        y = HEIGHT * np.linspace(0.0, 1.0, nodes_y) ** 2
        self.mesh = skfem.MeshTri.init_tensor(x, y)
        self.basis = skfem.Basis(self.mesh, skfem.ElementTriP1(), intorder=QUADRATURE_ORDER)
        self.nodes: Array = self.mesh.p.T  # (N, 2)
        self.points: Array = np.asarray(self.basis.global_coordinates())  # (2, E, Q)
        self.weights: Array = self.basis.dx  # (E, Q)
        self.phi: Array = np.stack([np.asarray(b[0])[0] for b in self.basis.basis], axis=1)  # (Q, 3)
        # gradients of linear functions are constant in an element
        self.gradient: Array = np.stack([np.asarray(b[0].grad)[:, :, 0] for b in self.basis.basis], axis=2)  # (2, E, 3)
        self.corners: NDArray[np.int64] = self.mesh.t.T.astype(np.int64)  # (E, 3)
        self.stiffness: Array = (
            np.einsum("deI,deJ->eIJ", self.gradient, self.gradient) * self.weights.sum(1)[:, None, None]
        )
        self.sources: tuple[Array, Array] = tuple(self._source(centre) for centre in SOURCE_CENTRES)  # type: ignore[assignment]
        # LAPACK band storage: entry (i, j) lies at row 2 b + i - j of column j, with the half bandwidth b
        rows = np.repeat(self.corners, 3, axis=1).ravel()
        columns = np.tile(self.corners, (1, 3)).ravel()
        self._rows = rows
        self._band = int(np.abs(rows - columns).max())
        self._slot = (2 * self._band + rows - columns) + columns * (3 * self._band + 1)

    def inflow(self, velocity: Velocity) -> NDArray[np.bool_]:
        """Return True for nodes of the left, right and top sides where the wind blows in and c = 0; shape (N,)."""
        x, y = self.nodes.T
        u_x, u_y = velocity(x, y)
        entering = ((x == 0.0) & (u_x > 0.0)) | ((x == WIDTH) & (u_x < 0.0)) | ((y == HEIGHT) & (u_y < 0.0))
        return np.asarray(entering)

    def solve(
        self,
        velocity: Velocity,
        k12: float,
        k3: float,
        diffusion: float,
        sources: tuple[Array, Array, Array] | None = None,
        tolerance: float = TOLERANCE,
    ) -> Concentrations:
        """Solve for the concentrations in one wind.

        Args:
            velocity: the wind: coordinates in, (u_x, u_y) out.
            k12: rate of the reaction between c1 and c2.
            k3: rate of decay of c3.
            diffusion: D.
            sources: values of Q1, Q2, Q3 at the quadrature points, each (E, Q); by default the paper's, with Q3 = 0.
            tolerance: largest relative residual of Newton's method.

        Raises:
            ValueError: a rate is negative, or D is not positive.
            NotConvergedError: Newton's method does not reach the tolerance.
        """
        if not (diffusion > 0.0 and k12 >= 0.0 and k3 >= 0.0):
            raise ValueError(f"must hold: D > 0, K12 >= 0, K3 >= 0; given: D = {diffusion}, K12 = {k12}, K3 = {k3}")
        q1, q2, q3 = sources if sources is not None else (*self.sources, np.zeros_like(self.weights))
        fixed = self.inflow(velocity)
        psi, transport = self._transport(velocity, diffusion)

        def load(source: Array) -> Array:
            per_corner = ((self.weights * source)[:, None, :] @ psi)[:, 0, :]
            vector = np.bincount(self.corners.ravel(), per_corner.ravel(), minlength=len(fixed))
            return np.where(fixed, 0.0, vector)

        def reaction(rate: Array) -> Array:
            return ((self.weights * rate)[:, :, None] * psi).transpose(0, 2, 1) @ self.phi

        load1 = load(q1)
        unreacted, difference = self._solve_band(transport, np.stack([load1, load(q1 - q2)], axis=1), fixed).T
        difference_q = self._at_points(difference)
        scale = float(np.linalg.norm(load1)) or 1.0

        def residual(c1: Array) -> Array:
            c1_q = self._at_points(c1)
            linear = np.bincount(
                self.corners.ravel(), (transport @ c1[self.corners][:, :, None]).ravel(), minlength=len(fixed)
            )
            rest = linear + load(k12 * c1_q * (c1_q - difference_q)) - load1
            return np.where(fixed, 0.0, rest)

        c1, iterations = unreacted, 0
        rest = residual(c1)
        size = float(np.linalg.norm(rest)) / scale
        while not size <= tolerance:
            if iterations == MAX_ITERATIONS or not np.isfinite(size):
                raise NotConvergedError(
                    f"Newton's method did not converge: the relative residual must fall to {tolerance:g}, but after "
                    f"{iterations} iterations it is {size:.2e}"
                )
            jacobian = transport + reaction(k12 * (2.0 * self._at_points(c1) - difference_q))
            step = self._solve_band(jacobian, rest[:, None], fixed)[:, 0]
            damping, before = 1.0, size
            for _ in range(MAX_HALVINGS):
                rest = residual(c1 - damping * step)
                size = float(np.linalg.norm(rest)) / scale
                if size < before:
                    break
                damping *= 0.5
            c1, iterations = c1 - damping * step, iterations + 1
        c2 = c1 - difference
        produced = k12 * self._at_points(c1) * self._at_points(c2)
        decay = reaction(np.full_like(self.weights, k3))
        c3 = self._solve_band(transport + decay, load(produced + q3)[:, None], fixed)[:, 0]
        return Concentrations(c1, c2, c3, size, iterations)

    def _transport(self, velocity: Velocity, diffusion: float) -> tuple[Array, Array]:
        """Return test functions (E, Q, 3), and element matrices (E, 3, 3) of advection and diffusion."""
        u_x, u_y = velocity(self.points[0], self.points[1])
        along = u_x[:, :, None] * self.gradient[0][:, None, :] + u_y[:, :, None] * self.gradient[1][:, None, :]
        # element length along the wind: 2 |u| / h = sum |u·∇phi| (Tezduyar and Osawa 2000, eq. 21), which suits
        # stretched elements; tau joins the advective and the diffusive limit as in Shakib et al. 1991.
        advective = np.abs(along).sum(2)
        speed_squared = u_x**2 + u_y**2
        diffusive = 3.0 * diffusion * advective**2 / np.maximum(speed_squared, np.finfo(float).tiny)
        tau = 1.0 / np.sqrt(np.maximum(advective**2 + diffusive**2, np.finfo(float).tiny))
        psi = self.phi + tau[:, :, None] * along
        advection = (self.weights[:, :, None] * psi).transpose(0, 2, 1) @ along
        return psi, advection + diffusion * self.stiffness

    def _at_points(self, c: Array) -> Array:
        """Return the values at the quadrature points (E, Q) of nodal values (N,)."""
        return c[self.corners] @ self.phi.T

    def _solve_band(self, elements: Array, load: Array, fixed: NDArray[np.bool_]) -> Array:
        """Solve with the sum of the element matrices (E, 3, 3); rows of ``fixed`` nodes are those of the identity."""
        count, band = len(fixed), self._band
        values = np.where(fixed[self._rows], 0.0, elements.ravel())
        matrix = np.bincount(self._slot, values, minlength=count * (3 * band + 1)).reshape(count, 3 * band + 1)
        matrix[fixed, 2 * band] = 1.0
        _, _, solution, info = lapack.dgbsv(band, band, matrix.T, load, overwrite_ab=True)
        if info > 0:
            raise LinAlgError("the transport matrix is singular")
        return np.asarray(solution)

    def _source(self, centre: tuple[float, float]) -> Array:
        """Return the emission at the quadrature points (E, Q): per element, the linear function closest to the disc.

        Sampling the disc itself at the quadrature points would give a wrong emitted amount, with an error that jumps
        from mesh to mesh.
        """
        pieces = SOURCE_SUBDIVISIONS
        i, j, upside_down = (a.ravel() for a in np.meshgrid(range(pieces), range(pieces), (0, 1), indexing="ij"))
        keep = i + j + upside_down < pieces
        offset = (1.0 + upside_down[keep]) / 3.0
        second, third = (i[keep] + offset) / pieces, (j[keep] + offset) / pieces
        barycentric = np.stack([1.0 - second - third, second, third], axis=1)  # (pieces², 3)
        corners = self.nodes[self.corners]  # (E, 3, 2)
        distance = np.linalg.norm(corners - np.asarray(centre), axis=2)  # (E, 3)
        source = np.where(distance.max(1) < SOURCE_RADIUS, SOURCE_RATE, 0.0)[:, None] * np.ones_like(self.weights)
        # only elements that the edge of the disc may cross need the average; no element is longer than `longest`
        longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
        near = (distance.max(1) >= SOURCE_RADIUS) & (distance.min(1) < SOURCE_RADIUS + longest)
        samples = barycentric @ corners[near]  # (near, pieces², 2)
        inside = np.linalg.norm(samples - np.asarray(centre), axis=2) < SOURCE_RADIUS
        moments = inside @ barycentric / len(barycentric)
        mass = (np.ones((3, 3)) + np.eye(3)) / 12.0
        source[near] = SOURCE_RATE * np.linalg.solve(mass, moments.T).T @ self.phi.T
        return source
