"""Multigrid over training steps: all steps of a gradient descent at once, by MGRIT of Schroder (arXiv:1708.02276).

Training is the equation w_0 = start, w_{i+1} = w_i - lr * gradient_i(w_i) in all of its weights. A level of the
hierarchy has every coarsening-th point of the one above (its C-points, the others are F-points) and takes its steps
with a larger learning rate. A full approximation scheme passes weights and residuals down and injects what comes back.
At the fixed point every level's correction is zero: the solution is that of the serial iteration.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Gradient = Callable[[Tensor, Tensor], Tensor]
"""(weights (k, n), numbers of the steps (k,)) -> gradients (k, n): of k steps, in one call."""


class Trajectory(NamedTuple):
    """What a solve gave.

    weights: (steps + 1, n), the start first.
    status: ``converged``, ``stopped`` (after the last iteration allowed) or ``diverged`` (not finite any more).
    residuals: 2-norm over all steps and weights, before the first iteration and after each.
    evaluations: gradients evaluated in all. calls: in so many batched calls, one after another, so that with a
    processor for every interval a solve takes as long as ``calls`` steps of serial training.
    """

    weights: Tensor
    status: Literal["converged", "stopped", "diverged"]
    residuals: tuple[float, ...]
    evaluations: int
    calls: int

    @property
    def iterations(self) -> int:
        """Cycles that were made."""
        return len(self.residuals) - 1

    @property
    def convergence_factor(self) -> float:
        """By what the residual was multiplied in an iteration, geometric mean; NaN without an iteration."""
        if not self.iterations or not self.residuals[0]:
            return math.nan
        return float((self.residuals[-1] / self.residuals[0]) ** (1 / self.iterations))


@dataclass(frozen=True)
class MGRIT:
    """Multigrid reduction in time for plain gradient descent.

    coarsening: steps of a level that one step of the next stands for.
    max_levels: at most so many; 2 is the two-level method (with relaxation F: Parareal). None: as many as it takes to
        come down to ``coarsest`` steps.
    coarsest: no level is coarsened that has so few steps.
    cycle: ``V``, or ``F``, which follows each level's F-cycle with a V-cycle of that level.
    relaxation: ``F`` (F-points from the C-point before them) or ``FCF`` (F, then C-points, then F).
    tolerance: the 2-norm of the residual must fall to ``tolerance * sqrt(steps)``. 1e-9 is the paper's, for float64;
        float32 weights of size 1 resolve about 1e-6.
    max_iterations: cycles after which it stops, converged or not.
    growth: level l takes steps of ``min(lr * growth**l, max_lr)``. 1 is the naive hierarchy, 2 (doubling) and 1.25 are
        the paper's others.
    max_lr: see growth; at least lr.

    Raises:
        ValueError: an option that cannot be.
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
        wrong = []
        for name, least in (("coarsening", 2), ("max_levels", 1), ("coarsest", 1), ("max_iterations", 1)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
            if not (whole or (value is None and name == "max_levels")):
                wrong.append(f"{name} must be a whole number >= {least}, got {value!r}")
        for name, valid in (("cycle", ("V", "F")), ("relaxation", ("F", "FCF"))):
            if getattr(self, name) not in valid:
                wrong.append(f"{name} must be {' or '.join(valid)}, got {getattr(self, name)!r}")
        if not 0 < self.tolerance < math.inf:
            wrong.append(f"tolerance must be above 0 and finite, got {self.tolerance!r}")
        if not 1 <= self.growth < math.inf:
            wrong.append(f"growth must be at least 1 and finite, got {self.growth!r}")
        if not self.max_lr > 0:
            wrong.append(f"max_lr must be above 0, got {self.max_lr!r}")
        if wrong:
            raise ValueError("MGRIT: " + "; ".join(wrong))

    def levels(self, steps: int) -> list[int]:
        """Steps of each level, the finest first."""
        counts = [steps]
        while counts[-1] > self.coarsest and counts[-1] >= self.coarsening and len(counts) != self.max_levels:
            counts.append(counts[-1] // self.coarsening)
        return counts

    def solve(self, gradient: Gradient, start: Tensor, steps: int, lr: float) -> Trajectory:
        """Find all weights of a gradient descent together.

        A coarse level's step i has the gradient of number i, as if it were the i-th step of a shorter training: with
        one sample a step, every level sees all samples.

        Args:
            gradient: of any number of steps in one call, see `loss_gradient`.
            start: initial weights, (n,); they are the guess at every point, too.
            steps: of the training, N. Memory: about 2N sets of weights.
            lr: learning rate of the training.

        Raises:
            ValueError: steps or lr cannot be.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if not 0 < lr <= self.max_lr:
            raise ValueError(f"lr must be above 0 and at most max_lr ({self.max_lr:g}), got {lr:g}")
        lrs = [min(lr * self.growth**level, self.max_lr) for level in range(len(self.levels(steps)))]
        return _Hierarchy(self, gradient, lrs).solve(start.detach().expand(steps + 1, -1).clone())


class _Hierarchy:
    """The levels of a solve. Points of a coarse level are the C-points of the one above, in the same memory."""

    def __init__(self, options: MGRIT, gradient: Gradient, lrs: list[float]) -> None:
        self.options, self.lrs, self._gradient = options, lrs, gradient
        self.evaluations = self.calls = 0

    def solve(self, w: Tensor) -> Trajectory:
        steps = len(w) - 1
        enough = self.options.tolerance * math.sqrt(steps)
        residuals: list[float] = []
        status: Literal["converged", "stopped", "diverged"] = "stopped"
        if len(self.lrs) == 1:
            self._march(0, w, None)
            return Trajectory(
                w, "converged" if w.isfinite().all() else "diverged", (0.0,), self.evaluations, self.calls
            )
        self._relax_f(0, w, None)
        for _ in range(self.options.max_iterations + 1):
            ahead = self._at_c(0, w, None)
            residuals.append(float(torch.linalg.vector_norm(ahead - self._c(w))))
            if not residuals[-1] > enough:
                status = "converged" if math.isfinite(residuals[-1]) else "diverged"
                break
            if len(residuals) > self.options.max_iterations:
                break
            self._correct(0, w, None, ahead, self.options.cycle)
        return Trajectory(w, status, tuple(residuals), self.evaluations, self.calls)

    def _cycle(self, level: int, w: Tensor, g: Tensor, kind: str) -> None:
        if level == len(self.lrs) - 1:
            self._march(level, w, g)
            return
        self._relax_f(level, w, g)
        self._correct(level, w, g, self._at_c(level, w, g), kind)

    def _correct(self, level: int, w: Tensor, g: Tensor | None, ahead: Tensor, kind: str) -> None:
        """One cycle from weights whose F-points are relaxed; ahead: the C-points as the step before makes them."""
        if self.options.relaxation == "FCF":
            self._c(w)[:] = ahead
            self._relax_f(level, w, g)
            ahead = self._at_c(level, w, g)
        coarse = w[:: self.options.coarsening]
        right = torch.zeros_like(coarse, memory_format=torch.contiguous_format)
        # what the coarse steps make of these weights, plus what the fine ones find wrong with them
        right[1:] = ahead - self._step(level + 1, coarse[:-1], 0, 1)
        self._cycle(level + 1, coarse, right, kind)
        if kind == "F" and level + 1 < len(self.lrs) - 1:
            self._cycle(level + 1, coarse, right, "V")
        self._relax_f(level, w, g)

    def _relax_f(self, level: int, w: Tensor, g: Tensor | None) -> None:
        m = self.options.coarsening
        for place in range(1, m):
            count = len(w[place::m])
            if count:
                w[place::m] = self._step(level, w[place - 1 :: m][:count], place - 1, m)
                if g is not None:
                    w[place::m] += g[place::m]

    def _at_c(self, level: int, w: Tensor, g: Tensor | None) -> Tensor:
        m = self.options.coarsening
        made = self._step(level, w[m - 1 :: m][: len(self._c(w))], m - 1, m)
        return made if g is None else made + g[m::m]

    def _c(self, w: Tensor) -> Tensor:
        return w[self.options.coarsening :: self.options.coarsening]

    def _march(self, level: int, w: Tensor, g: Tensor | None) -> None:
        for i in range(len(w) - 1):
            w[i + 1] = self._step(level, w[i : i + 1], i, 1)[0]
            if g is not None:
                w[i + 1] += g[i + 1]

    def _step(self, level: int, w: Tensor, first: int, stride: int) -> Tensor:
        numbers = first + stride * torch.arange(len(w), device=w.device)
        self.evaluations += len(w)
        self.calls += 1
        return w - self.lrs[level] * self._gradient(w, numbers)
