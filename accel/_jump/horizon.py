"""Schedules of the horizon s, the steps that each jump leaps, over the jumps of a training."""

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

from accel._fields import Bounds, normalize, require

_Positive = Annotated[int, Bounds(at_least=1)]


@runtime_checkable
class Horizon(Protocol):
    """A schedule of the horizon: the number of a jump in, steps to leap out.

    A dataclass, so that a saved state can tell whether it is resumed with the same schedule.
    """

    def __call__(self, jump: int, relative_loss: float | None) -> int:
        """Steps to leap, at least 1.

        Args:
            jump: 0 for the first jump of the training.
            relative_loss: Loss before this jump over the loss before the first; None where it is not evaluated.
        """
        ...


@dataclass(frozen=True)
class Constant:
    """The same horizon at every jump, as in Tano, Portwood & Ragusa 2020; an integer s means the same."""

    s: _Positive

    def __post_init__(self) -> None:
        normalize(self)
        require(self)

    def __call__(self, jump: int, relative_loss: float | None) -> int:
        """Return s."""
        return self.s


@dataclass(frozen=True)
class Linear:
    """Lower s in equal parts, from ``s`` at the first jump to ``last`` at the ``jumps``-th, and keep it there."""

    s: _Positive
    jumps: _Positive
    last: _Positive = 1

    def __post_init__(self) -> None:
        normalize(self)
        require(self)

    def __call__(self, jump: int, relative_loss: float | None) -> int:
        """Interpolate and round."""
        return _nearest(_between(float(self.s), float(self.last), jump, self.jumps))


@dataclass(frozen=True)
class Decay:
    """The schedule of NiNo (Knyazev et al. 2025, arXiv:2409.04434): round(linspace(s^(1/p), 1, jumps)^p), then 1.

    With s = 40, 10 jumps and its p = 2: 40, 33, 26, 21, 16, 11, 8, 5, 3, 1.
    """

    s: _Positive
    jumps: _Positive
    power: Annotated[float, Bounds(above=0)] = 2.0

    def __post_init__(self) -> None:
        normalize(self)
        require(self)

    def __call__(self, jump: int, relative_loss: float | None) -> int:
        """Interpolate in the power's root, and round."""
        return _nearest(_between(self.s ** (1 / self.power), 1.0, jump, self.jumps) ** self.power)


@dataclass(frozen=True)
class ByLoss:
    """Shorter jumps as the loss falls: s · (loss / loss before the first jump)^power, from ``s`` down to 1.

    Ours, for the paper's remark that jumps gain less once errors are small. Needs a closure at every jump; its first
    evaluation, at the newest snapshot, is the one that judges the jump as well.
    """

    s: _Positive
    power: Annotated[float, Bounds(above=0)] = 0.5

    def __post_init__(self) -> None:
        normalize(self)
        require(self)

    def __call__(self, jump: int, relative_loss: float | None) -> int:
        """Scale s and round it; a loss above the first, or one that is not finite, gives s."""
        if relative_loss is None:
            raise ValueError("ByLoss needs the loss at every jump: call step(closure)")
        if not 0 <= relative_loss < 1:
            return self.s
        return _nearest(self.s * relative_loss**self.power)


def schedule(kind: str, s: int, jumps: int | None) -> Horizon:
    """Make a schedule by the name that a study gives it.

    Args:
        kind: ``constant``, ``linear``, ``decay`` or ``loss``.
        s: Horizon of the first jump.
        jumps: Jumps until s is 1, for linear and decay.

    Raises:
        ValueError: Unknown kind.
    """
    if kind == "constant":
        return Constant(s)
    if kind == "loss":
        return ByLoss(s)
    if kind in ("linear", "decay") and jumps is not None:
        return Linear(s, jumps) if kind == "linear" else Decay(s, jumps)
    raise ValueError(f"horizon must be one of constant, loss, or linear and decay with their jumps, got {kind!r}")


def _between(first: float, last: float, jump: int, jumps: int) -> float:
    if jump >= jumps - 1 and jump > 0:  # of a single jump, the first is also the last: it leaps s
        return last
    return first + (last - first) * jump / max(jumps - 1, 1)


def _nearest(s: float) -> int:
    return max(1, round(s))
