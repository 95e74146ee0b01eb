"""Multigrid over training steps: solve for all steps of a gradient descent at once (MGRIT; Schroder, arXiv:1708.02276).

Training is the equation w_0 = start, w_{i+1} = w_i - lr * gradient_i(w_i) in the weights at all points w_i. A level of
the hierarchy has every coarsening-th point of the level above and takes its steps with a larger learning rate. These
points are the C-points of the level above; its others are F-points. A full approximation scheme passes weights and
residuals down and injects the result. At the fixed point every level's correction is zero, and the solution is that of
the serial iteration.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Gradient = Callable[[Tensor, Tensor], Tensor]
"""Function (weights (k, n), numbers of the steps (k,)) -> gradients (k, n) of k steps, in one call."""


class Trajectory(NamedTuple):
    """Result of a solve."""

    weights: Tensor
    """(steps + 1, n); the start first."""
    status: Literal["converged", "stopped", "diverged"]
    """``stopped``: the last iteration allowed has not converged. ``diverged``: the residual is not finite."""
    residuals: tuple[float, ...]
    """2-norms over all steps and weights, before the first iteration and after each."""
    evaluations: int
    """Number of gradients evaluated."""
    calls: int
    """Number of batched calls, one after another, that evaluated them. With a processor for every interval, a solve
    takes as long as that many steps of serial training."""

    @property
    def iterations(self) -> int:
        """Number of cycles made."""
        return len(self.residuals) - 1

    @property
    def convergence_factor(self) -> float:
        """Factor by which an iteration multiplies the residual, geometric mean; NaN without an iteration."""
        if not self.iterations or not self.residuals[0]:
            return math.nan
        return float((self.residuals[-1] / self.residuals[0]) ** (1 / self.iterations))


@dataclass(frozen=True)
class MGRIT:
    """Multigrid reduction in time for plain gradient descent.

    Args:
        coarsening: Number of steps of a level that one step of the next level stands for.
        max_levels: Largest number of levels; 2 is the two-level method (with relaxation F: Parareal). None: as many as
            it takes to reach ``coarsest`` steps.
        coarsest: Number of steps at which a level is not coarsened further.
        cycle: ``V``, or ``F``, which follows each level's F-cycle with a V-cycle of that level.
        relaxation: ``F`` (F-points from the C-point before them) or ``FCF`` (F, then C-points, then F).
        tolerance: The 2-norm of the residual must fall to ``tolerance * sqrt(steps)``. 1e-9 is the paper's, for
            float64; float32 weights of size 1 resolve about 1e-6.
        max_iterations: Largest number of cycles; the solve stops after them even if it has not converged.
        growth: Level l takes steps of ``min(lr * growth**l, max_lr)``. 1 is the naive hierarchy; the paper's other
            choices are 2 (doubling) and 1.25.
        max_lr: Largest learning rate of a level, see ``growth``; at least lr.

    Raises:
        ValueError: An option is outside its range; the message lists all such mistakes.
    """

    coarsening: int = 2
    max_levels: int | None = None
    coarsest: int = 10
    cycle: Literal["V", "F"] = "V"
    relaxation: Literal["F", "FCF"] = "FCF"
    tolerance: float = 1e-9
    max_iterations: int = 50
    growth: float = 2.0
    max_lr: float = math.inf

    def __post_init__(self) -> None:
        mistakes = []
        for name, least in (("coarsening", 2), ("max_levels", 1), ("coarsest", 1), ("max_iterations", 1)):
            value = getattr(self, name)
            is_valid = isinstance(value, int) and not isinstance(value, bool) and value >= least
            if not (is_valid or (value is None and name == "max_levels")):
                mistakes.append(f"{name} must be a whole number >= {least}, got {value!r}")
        for name, valid in (("cycle", ("V", "F")), ("relaxation", ("F", "FCF"))):
            if getattr(self, name) not in valid:
                mistakes.append(f"{name} must be {' or '.join(valid)}, got {getattr(self, name)!r}")
        if not 0 < self.tolerance < math.inf:
            mistakes.append(f"tolerance must be above 0 and finite, got {self.tolerance!r}")
        if not 1 <= self.growth < math.inf:
            mistakes.append(f"growth must be at least 1 and finite, got {self.growth!r}")
        if not self.max_lr > 0:
            mistakes.append(f"max_lr must be above 0, got {self.max_lr!r}")
        if mistakes:
            raise ValueError("MGRIT: " + "; ".join(mistakes))

    def levels(self, steps: int) -> list[int]:
        """Return the number of steps of each level, the finest first."""
        counts = [steps]
        while counts[-1] > self.coarsest and counts[-1] >= self.coarsening and len(counts) != self.max_levels:
            counts.append(counts[-1] // self.coarsening)
        return counts

    def solve(self, gradient: Gradient, start: Tensor, steps: int, lr: float) -> Trajectory:
        """Solve for the weights after every step of a gradient descent, all together.

        Step i of a coarse level takes gradient number i, as step i of a shorter training would. So with one sample per
        step, every level sees all samples.

        Args:
            gradient: gradients of any number of steps in one call, see `loss_gradient`.
            start: initial weights, (n,); also the first guess at every point.
            steps: number of steps of the training, N. Memory: about 2N sets of weights.
            lr: learning rate of the training.

        Raises:
            ValueError: ``steps`` or ``lr`` is outside its range.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if not 0 < lr <= self.max_lr:
            raise ValueError(f"lr must be above 0 and at most max_lr ({self.max_lr:g}), got {lr:g}")
        lrs = [min(lr * self.growth**level, self.max_lr) for level in range(len(self.levels(steps)))]
        return _Hierarchy(self, gradient, lrs).solve(start.detach().expand(steps + 1, -1).clone())


class _Hierarchy:
    """Levels of a solve. The points of a coarse level are the C-points of the level above, in the same memory.

    In its methods, w holds the weights at a level's points and g the right-hand side there; None stands for zero.

    Args:
        options: The options of the method.
        gradient: Gradients of any number of steps in one call.
        lrs: Learning rate of each level, the finest first.
    """

    def __init__(self, options: MGRIT, gradient: Gradient, lrs: list[float]) -> None:
        self.options, self.lrs, self._gradient = options, lrs, gradient
        self.evaluations = self.calls = 0

    def solve(self, w: Tensor) -> Trajectory:
        steps = len(w) - 1
        target = self.options.tolerance * math.sqrt(steps)
        residuals: list[float] = []
        status: Literal["converged", "stopped", "diverged"] = "stopped"
        if len(self.lrs) == 1:
            self._march(0, w, None)
            return Trajectory(
                w, "converged" if w.isfinite().all() else "diverged", (0.0,), self.evaluations, self.calls
            )
        self._relax_f(0, w, None)
        for _ in range(self.options.max_iterations + 1):
            ahead = self._step_to_c_points(0, w, None)
            residuals.append(float(torch.linalg.vector_norm(ahead - self._c_points(w))))
            if not residuals[-1] > target:
                status = "converged" if math.isfinite(residuals[-1]) else "diverged"
                break
            if len(residuals) > self.options.max_iterations:
                break
            self._correct(0, w, None, ahead, self.options.cycle)
        return Trajectory(w, status, tuple(residuals), self.evaluations, self.calls)

    def _cycle(self, level: int, w: Tensor, g: Tensor, kind: str) -> None:
        """Make one V-cycle or F-cycle from this level down."""
        if level == len(self.lrs) - 1:
            self._march(level, w, g)
            return
        self._relax_f(level, w, g)
        self._correct(level, w, g, self._step_to_c_points(level, w, g), kind)

    def _correct(self, level: int, w: Tensor, g: Tensor | None, ahead: Tensor, kind: str) -> None:
        """Make the rest of a cycle once F-points are relaxed; ``ahead`` is each C-point as the step to it gives it."""
        if self.options.relaxation == "FCF":
            self._c_points(w)[:] = ahead
            self._relax_f(level, w, g)
            ahead = self._step_to_c_points(level, w, g)
        coarse = w[:: self.options.coarsening]
        coarse_g = torch.zeros_like(coarse, memory_format=torch.contiguous_format)
        # the coarse operator applied to these weights, plus the residual of the fine steps
        coarse_g[1:] = ahead - self._step(level + 1, coarse[:-1], 0, 1)
        self._cycle(level + 1, coarse, coarse_g, kind)
        if kind == "F" and level + 1 < len(self.lrs) - 1:
            self._cycle(level + 1, coarse, coarse_g, "V")
        self._relax_f(level, w, g)

    def _relax_f(self, level: int, w: Tensor, g: Tensor | None) -> None:
        """Step from each C-point through the F-points after it, all intervals together."""
        m = self.options.coarsening
        for offset in range(1, m):
            count = len(w[offset::m])
            if count:
                w[offset::m] = self._step(level, w[offset - 1 :: m][:count], offset - 1, m)
                if g is not None:
                    w[offset::m] += g[offset::m]

    def _step_to_c_points(self, level: int, w: Tensor, g: Tensor | None) -> Tensor:
        """Return each C-point as the step from the F-point before it gives it."""
        m = self.options.coarsening
        stepped = self._step(level, w[m - 1 :: m][: len(self._c_points(w))], m - 1, m)
        return stepped if g is None else stepped + g[m::m]

    def _c_points(self, w: Tensor) -> Tensor:
        """Return the C-points but for the first, which is the start."""
        return w[self.options.coarsening :: self.options.coarsening]

    def _march(self, level: int, w: Tensor, g: Tensor | None) -> None:
        """Take the steps of a level one after another."""
        for i in range(len(w) - 1):
            w[i + 1] = self._step(level, w[i : i + 1], i, 1)[0]
            if g is not None:
                w[i + 1] += g[i + 1]

    def _step(self, level: int, w: Tensor, first: int, stride: int) -> Tensor:
        """Take a step of gradient descent from every row of w; their numbers begin at ``first``, ``stride`` apart."""
        numbers = first + stride * torch.arange(len(w), device=w.device)
        self.evaluations += len(w)
        self.calls += 1
        return w - self.lrs[level] * self._gradient(w, numbers)
