"""What an accelerator can be told, and whether it was told so."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, get_args

import torch
from torch.optim import Optimizer

from accel._jump.horizon import ByLoss, Constant, Decay, Horizon, Linear
from accel._jump.policy import Accept, Moments
from accel._rules import DMD, Koopman, Rule
from accel._window.groups import Grouping, Partition
from accel._window.reshaping import Shape

_SNAPSHOT_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class JumpOptions:
    """The options of an `Accelerator`, documented there."""

    rule: Rule
    m: int
    s: int | Horizon
    group: Grouping | Partition = "layer"
    every: int = 1
    start: int = 0
    stop: int | None = None
    relaxation: float = 1.0
    shape: Shape = "none"
    noise: float = 0.0
    seed: int = 0
    candidates: tuple[float, ...] = (1.0,)
    accept: Accept = "always"
    margin: float = 0.0
    max_residual: float | None = None
    max_inconsistency: float | None = None
    moments: Moments = "keep"
    snapshot_dtype: torch.dtype | None = None
    snapshot_device: torch.device | str | None = None

    @property
    def window(self) -> tuple[object, ...]:
        """What replicates must share to fill their windows together."""
        pairs = isinstance(self.rule, Koopman)  # whose windows may be kept as pairs of snapshots
        kept = self.snapshot_dtype, self.snapshot_device
        return self.m, self.group, self.every, self.start, self.stop, *kept, pairs

    def check(self, optimizer: Optimizer | None) -> None:
        """Raise ValueError that lists every option outside its values."""
        mistakes = [*self._schedule_mistakes(), *self._policy_mistakes(), *self._snapshot_mistakes()]
        if self.moments == "reset" and optimizer is None:
            mistakes.append('moments="reset" needs optimizer=, whose state it resets')
        if self.moments == "reset" and isinstance(optimizer, torch.optim.Adagrad):
            mistakes.append(
                'moments="reset" needs an optimiser that makes its state at its first step; Adagrad does not'
            )
        if not mistakes and isinstance(self.rule, DMD):
            self.rule.check_window(self.m)
        if mistakes:
            raise ValueError("Accelerator: " + "; ".join(mistakes))

    @property
    def horizon(self) -> Horizon:
        """The schedule of s."""
        return Constant(self.s) if isinstance(self.s, int) else self.s

    @property
    def needs_loss(self) -> str | None:
        """The option that needs a closure at every jump, if there is one."""
        if self.accept == "improve":
            return 'accept="improve"'
        if len(self.candidates) > 1:
            return "a choice among candidates"
        return f"s={self.s!r}" if isinstance(self.s, ByLoss) else None

    @property
    def schedule_uses_loss(self) -> bool:
        """Whether the schedule of s may depend on the loss before the jump."""
        return not isinstance(self.s, int | Constant | Linear | Decay)

    def describe(self) -> dict[str, Any]:
        """As plain values that are the same in every process."""
        described = {key: getattr(self, key) for key in self.__dataclass_fields__}
        described |= {"rule": _describe(self.rule), "candidates": list(self.candidates)}
        for key in ("snapshot_dtype", "snapshot_device"):
            described[key] = None if described[key] is None else str(described[key])
        if not isinstance(self.s, int):
            described["s"] = _describe(self.s)
        if isinstance(self.group, Mapping):
            described["group"] = {name: [list(p.shape) for p in group] for name, group in self.group.items()}
        return described

    def _schedule_mistakes(self) -> list[str]:
        whole: dict[str, tuple[Any, int]] = {
            "m": (self.m, 2),
            "every": (self.every, 1),
            "start": (self.start, 0),
            "seed": (self.seed, 0),
        }
        if not isinstance(self.s, Horizon) or isinstance(self.s, type):
            whole["s"] = (self.s, 1)
        if self.stop is not None:
            whole["stop"] = (self.stop, 1)
        order = ("m", "s", "every", "start", "stop", "seed")
        mistakes = [
            f"{name} must be an integer of at least {least}, got {value!r}"
            for name, (value, least) in sorted(whole.items(), key=lambda each: order.index(each[0]))
            if not isinstance(value, int) or isinstance(value, bool) or value < least
        ]
        if not mistakes and self.stop is not None and self.stop < self.start + self.m * self.every:
            needed = self.start + self.m * self.every
            mistakes.append(f"stop must leave room for a window, start + m * every = {needed} calls, got {self.stop}")
        return mistakes

    def _policy_mistakes(self) -> list[str]:
        mistakes = [
            f"{name} must be one of {', '.join(get_args(valid))}, got {given!r}"
            for name, given, valid in (
                ("accept", self.accept, Accept),
                ("moments", self.moments, Moments),
                ("shape", self.shape, Shape),
            )
            if given not in get_args(valid)
        ]
        if not (_is_number(self.relaxation) and 0 < self.relaxation <= 2):
            mistakes.append(f"relaxation must be a number in (0, 2], got {self.relaxation!r}")
        if not (_is_number(self.noise) and self.noise >= 0):
            mistakes.append(f"noise must be a finite number of at least 0, got {self.noise!r}")
        if not self.candidates or not all(_is_number(c) and c > 0 for c in self.candidates):
            mistakes.append(
                f"candidates must be multiples of s, at least one and each above 0, got {list(self.candidates)!r}"
            )
        if not (_is_number(self.margin) and 0 <= self.margin < 1):
            mistakes.append(f"margin must be a number in [0, 1), got {self.margin!r}")
        elif self.margin and self.accept == "always":
            mistakes.append(f'margin needs accept="improve", got {self.margin!r} with accept="always"')
        for name in ("max_residual", "max_inconsistency"):
            limit = getattr(self, name)
            if limit is not None and not (_is_number(limit) and limit >= 0):
                mistakes.append(f"{name} must be a number of at least 0 or None, got {limit!r}")
        return mistakes

    def _snapshot_mistakes(self) -> list[str]:
        mistakes = []
        if self.snapshot_dtype not in (None, *_SNAPSHOT_DTYPES):
            valid = ", ".join(map(str, _SNAPSHOT_DTYPES))
            mistakes.append(f"snapshot_dtype must be one of {valid} or None, got {self.snapshot_dtype!r}")
        if self.snapshot_device is not None:
            try:
                torch.device(self.snapshot_device)
            except (RuntimeError, TypeError):
                mistakes.append(
                    f'snapshot_device must name a device, such as "cpu", or be None, got {self.snapshot_device!r}'
                )
        return mistakes


def _describe(thing: object) -> str:
    """The same text for the same rule in every process, which a plain object's repr is not."""
    return repr(thing) if is_dataclass(thing) else f"{type(thing).__module__}.{type(thing).__qualname__}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
