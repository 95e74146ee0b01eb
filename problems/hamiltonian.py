"""A network that solves Hamilton's equations without being shown a solution (Mattheakis et al. 2022, arXiv:2001.11107).

Dogra & Redman predicted the weights of this network (arXiv:2006.02361): 1-10-10-2, trained by Adadelta.
"""

import functools
import itertools
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from problems._problem import Data, Progress, Sizes

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Hamiltonian:
    """The oscillator H(x, p) = p²/2 + x²/2 + quartic x⁴/4 over the times from 0 to ``t_max``.

    The network N maps a time to two numbers, which give a trajectory that starts at (x0, p0) for any weights:
    x(t) = x0 + (1 - exp(-t)) N_1(t), p(t) = p0 + (1 - exp(-t)) N_2(t). The loss is the mean square of the residuals of
    Hamilton's equations, dx/dt - p and dp/dt + x + quartic x³, over all times. The targets are the solution, by an
    integrator of high order. They are there to compare with; the loss does not use them. Test times lie between the
    training times.

    Args:
        samples: number of training times, evenly spaced.
        t_max: last training time; the default is about two periods, 4π.
        x0: position at time 0.
        p0: momentum at time 0.
        quartic: strength of the nonlinearity; 0 is the harmonic oscillator.
        hidden: widths of the hidden layers, whose activation is the sine.
    """

    samples: int = 200
    t_max: float = 4 * math.pi
    x0: float = 1.3
    p0: float = 1.0
    quartic: float = 1.0
    hidden: tuple[int, ...] = (10, 10)

    def __post_init__(self) -> None:
        wrong = []
        if not isinstance(self.samples, int) or isinstance(self.samples, bool) or self.samples < 2:
            wrong.append(f"samples must be a whole number >= 2, not {self.samples!r}")
        for name in ("t_max", "x0", "p0", "quartic"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                wrong.append(f"{name} must be a finite number, not {value!r}")
            elif name == "t_max" and value <= 0:
                wrong.append(f"t_max must be above 0, not {value!r}")
            elif name == "quartic" and value < 0:
                wrong.append(f"quartic must be at least 0, not {value!r}")
        widths = list(self.hidden) if isinstance(self.hidden, tuple | list) else []
        if not widths or any(not isinstance(w, int) or isinstance(w, bool) or w < 1 for w in widths):
            wrong.append(f"hidden must be whole numbers >= 1, not {self.hidden!r}")
        if wrong:
            raise ValueError("hamiltonian: " + "; ".join(wrong))

    def sizes(self) -> Sizes:
        """Return the shapes of the data."""
        return Sizes(1, 2, self.samples, self.samples - 1)

    def data(self, progress: Progress | None = None) -> Data:
        """Return times, and the solution (x, p) there; takes a fraction of a second."""
        train = np.linspace(0.0, self.t_max, self.samples)
        test = (train[:-1] + train[1:]) / 2
        both = np.sort(np.concatenate([train, test]))
        solution = self.solution(both)
        if progress is not None:
            progress(len(both), len(both))
        return Data(train[:, None], solution[::2], test[:, None], solution[1::2])

    def solution(self, times: Array) -> Array:
        """Return (x, p) at these times, which ascend from 0: (times, 2), right to about 1e-11."""
        from scipy.integrate import solve_ivp

        def velocity(_: float, state: Array) -> list[float]:
            x, p = state
            return [p, -x - self.quartic * x**3]

        start = [self.x0, self.p0]
        solution = solve_ivp(velocity, (0.0, times[-1]), start, "DOP853", times, rtol=1e-12, atol=1e-13)
        return np.asarray(solution.y.T)

    def network(self) -> "torch.nn.Module":
        """Make a network with fresh weights, 1-10-10-2 by default."""
        from torch import nn

        from problems._sine import Sine

        sizes = [1, *self.hidden, 2]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), Sine()]
        return nn.Sequential(*layers[:-1])

    def trajectory(self, network: Any, times: "torch.Tensor") -> "torch.Tensor":
        """Return the (x, p) that a network gives at these times: (times, 1) -> (times, 2)."""
        start = times.new_tensor([self.x0, self.p0])
        reached: torch.Tensor = start - (-times).expm1() * network(times)
        return reached

    def loss(self, network: Any, inputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the mean square of the residuals of Hamilton's equations at these times.

        Args:
            network: the network to evaluate.
            inputs: times, (times, 1).
            targets: not used.
        """
        del targets
        # each row depends on its own time only, so one derivative along all times gives that of each
        state, rate = _jvp()(lambda t: self.trajectory(network, t), (inputs,), (inputs.new_ones(inputs.shape),))
        x, p = state[:, 0], state[:, 1]
        residuals = rate[:, 0] - p, rate[:, 1] + x + self.quartic * x**3
        mean_square: torch.Tensor = (residuals[0].square() + residuals[1].square()).mean() / 2
        return mean_square


@functools.cache
def _jvp() -> Any:
    """Return `torch.func.jvp`, after a first use that keeps torch's warning about its own code quiet."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
    return torch.func.jvp
