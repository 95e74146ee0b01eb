"""The options of a jump, each written once: its name, type, bounds, default and documentation.

`Accelerator` takes these fields as its arguments, a study's spec offers those without `NotInSpec` as keys of its
``method``, and ``best.yaml`` names them. A new option is one field here, its use, and its test.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, TypeVar

import torch
from torch import distributed, nn
from torch.optim import Optimizer

from accel._fields import Bounds, NotInSpec, Since, mistakes, normalize
from accel._jump.horizon import ByLoss, Constant, Decay, Horizon, Linear
from accel._rules import DMD, Koopman, Rule
from accel._window.groups import Grouping, Partition
from accel._window.reshaping import Shape
from accel._window.sampling import Sample

_SNAPSHOT_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class JumpOptions:
    """Options of an acceleration: the rule, its window, the steps that it leaps, and which jumps are taken."""

    rule: Annotated[Rule, NotInSpec()]
    """Rule that extrapolates a window of snapshots, such as `DMD`."""
    _: KW_ONLY
    m: Annotated[int, Bounds(at_least=2)]
    """Snapshots in a window. Memory: m copies of the weights, in their dtype and on their device unless told otherwise
    below. `Koopman` on groups of fewer than m / 6 weights needs some 6 numbers for every pair of weights in a group,
    whatever m."""
    s: Annotated[int, Bounds(at_least=1)] | Horizon
    """Snapshots to leap, counted from the newest. Or a schedule of it: `Linear`, `Decay`, `ByLoss`."""
    group: Grouping | Partition = "layer"
    """Weights that share one operator: ``"layer"`` (as in Tano, Portwood & Ragusa 2020), ``"model"``, ``"node"`` (one
    output row or channel with its bias), ``"weight"``; a number, which splits nodes into parts of at most so many
    weights; or a mapping of names to parameters, which leaves all parameters it does not name alone."""
    sample: Annotated[Sample, Since("0.3")] = "all"
    """Weights of each group that its operator is fitted to, drawn anew for every window: ``"all"``; a number below 1, a
    share of them (0.0625 is a sixteenth), but never fewer than 8192; or a number of weights, at least ``m``. All
    weights are taken of groups that have no more. The prediction always covers every weight."""
    every: Annotated[int, Bounds(at_least=1), NotInSpec()] = 1
    """Take a snapshot on every so many calls of `Accelerator.step` only; s then leaps ``s * every`` calls."""
    start: Annotated[int, Bounds(at_least=0)] = 0
    """Calls to let pass before snapshots begin."""
    stop: Annotated[int, Bounds(at_least=1)] | None = None
    """The last call that may record or jump; None for no end. Afterwards the window's memory is released."""
    relaxation: Annotated[float, Bounds(above=0, at_most=2)] = 1.0
    """α of ``w_m + α (ŵ - w_m)``."""
    max_move: Annotated[float, Bounds(above=0), Since("0.2")] | None = None
    """Shorten the move of every group that is longer than this part of its weights' length; None for no limit. It comes
    after relaxation, and before masks and noise."""
    shape: Shape = "none"
    """``"masked"`` takes only the weights whose predicted move agrees with the last step, as Predictive Differential
    Training does: measured from the snapshot before the newest, of the same sign, at least as far and at most s + 2
    times. ``"random"`` and ``"last_step"`` are controls: every group moves as far as predicted, but in a random
    direction or along the last step. ``"masked"`` and ``"random"`` take a float64 copy of the weights."""
    noise: Annotated[float, Bounds(at_least=0)] = 0.0
    """Amplitude of noise added to each prediction, relative to its move: every weight gets the move of a random weight
    of its group, with a random sign (after section 4 of the paper). Takes a float64 copy of the weights."""
    seed: Annotated[int, Bounds(at_least=0), NotInSpec()] = 0
    """Seed of that noise, of random directions and of samples."""
    candidates: Sequence[Annotated[float, Bounds(above=0)]] = (1.0,)
    """Multiples of s to try at each jump, of which the one with the lowest loss is kept; each costs an evaluation of
    the closure. Rounded, at least 1, repeats left out."""
    accept: Literal["always", "improve"] = "always"
    """``"always"`` takes every finite prediction, ``"improve"`` only one that lowers the loss of the closure."""
    margin: Annotated[float, Bounds(at_least=0, below=1)] = 0.0
    """Part of itself by which the loss must fall, with ``accept="improve"``."""
    max_residual: Annotated[float, Bounds(at_least=0)] | None = None
    """Reject a jump, before evaluating it, if a moving group's residual is above this."""
    max_inconsistency: Annotated[float, Bounds(at_least=0)] | None = None
    """The same for a group's consistency index."""
    moments: Literal["keep", "reset"] = "keep"
    """``"reset"`` makes the optimiser start afresh from an accepted jump: its state for the accelerated parameters is
    dropped. ``"keep"`` leaves it as it was."""
    optimizer: Annotated[Optimizer | None, NotInSpec()] = field(default=None, compare=False, repr=False)
    """The optimiser whose state ``moments="reset"`` drops; needed only then."""
    process_group: Annotated[distributed.ProcessGroup | None, NotInSpec()] = field(
        default=None, compare=False, repr=False
    )
    """Processes that must decide alike; None for all of them where torch.distributed is initialised."""
    snapshot_dtype: Annotated[torch.dtype | None, NotInSpec()] = None
    """``torch.bfloat16``, ``float16`` or ``float32``: keep the snapshots between a window's first and last as
    differences from the first in this dtype, where that is narrower than the weights'. Halves the window's memory for
    float32 weights; the differences are rounded to 8 bits in bfloat16, 11 in float16."""
    snapshot_device: Annotated[torch.device | str | None, NotInSpec()] = None
    """Device that keeps the snapshots and computes the jumps, such as ``"cpu"``; None for the weights' own."""

    def __post_init__(self) -> None:
        normalize(self)

    @property
    def window(self) -> tuple[object, ...]:
        """Key that replicates must share to fill their windows together."""
        pairs = isinstance(self.rule, Koopman)  # whose windows may be kept as pairs of snapshots
        kept = self.snapshot_dtype, self.snapshot_device
        return self.m, self.group, self.sample, self.every, self.start, self.stop, *kept, pairs

    def check(self) -> None:
        """Raise ValueError that lists every option outside its values."""
        # groups are checked against the model, snapshots below; a rule is anything that can be called, an optimiser
        # anything with a state
        unchecked = ("rule", "group", "optimizer", "process_group", "snapshot_dtype", "snapshot_device")
        lines = mistakes(self, leave_out=unchecked)
        if not lines and isinstance(self.sample, int) and self.sample < self.m:
            lines.append(
                f"sample must be a number of weights of at least m = {self.m}, so that they tell the snapshots apart, "
                f"got {self.sample}"
            )
        needed = 0 if lines else self.start + self.m * self.every
        if self.stop is not None and self.stop < needed:
            lines.append(f"stop must leave room for a window, start + m * every = {needed} calls, got {self.stop}")
        if self.margin and self.accept == "always":
            lines.append(f'margin needs accept="improve", got {self.margin!r} with accept="always"')
        lines += self._snapshot_mistakes()
        if self.moments == "reset" and self.optimizer is None:
            lines.append('moments="reset" needs optimizer=, whose state it resets')
        if self.moments == "reset" and isinstance(self.optimizer, torch.optim.Adagrad):
            lines.append('moments="reset" needs an optimiser that makes its state at its first step; Adagrad does not')
        if not lines and isinstance(self.rule, DMD):
            self.rule.check_window(self.m)
        if lines:
            raise ValueError("Accelerator: " + "; ".join(lines))

    @functools.cached_property
    def horizon(self) -> Horizon:
        """The schedule of s."""
        return Constant(self.s) if isinstance(self.s, int) else self.s

    @property
    def needs_loss(self) -> str | None:
        """The option that needs a closure at every jump, if there is one."""
        if self.accept == "improve":
            return 'accept="improve"'
        if isinstance(self.candidates, tuple) and len(self.candidates) > 1:
            return "a choice among candidates"
        return f"s={self.s!r}" if isinstance(self.s, ByLoss) else None

    @property
    def schedule_uses_loss(self) -> bool:
        """True if the schedule of s may depend on the loss before the jump."""
        return not isinstance(self.s, int | Constant | Linear | Decay)

    def describe(self) -> dict[str, Any]:
        """Return the options as plain values that are the same in every process."""
        described = {f.name: getattr(self, f.name) for f in fields(self) if f.compare}
        described |= {"rule": _describe(self.rule), "candidates": list(self.candidates)}
        for key in ("snapshot_dtype", "snapshot_device"):
            described[key] = None if described[key] is None else str(described[key])
        if not isinstance(self.s, int):
            described["s"] = _describe(self.s)
        if isinstance(self.group, Mapping):
            described["group"] = {name: [list(p.shape) for p in group] for name, group in self.group.items()}
        return described

    def _snapshot_mistakes(self) -> list[str]:
        lines = []
        if self.snapshot_dtype not in (None, *_SNAPSHOT_DTYPES):
            valid = ", ".join(map(str, _SNAPSHOT_DTYPES))
            lines.append(f"snapshot_dtype must be one of {valid} or None, got {self.snapshot_dtype!r}")
        if self.snapshot_device is not None:
            try:
                torch.device(self.snapshot_device)
            except (RuntimeError, TypeError):
                lines.append(
                    f'snapshot_device must name a device, such as "cpu", or be None, got {self.snapshot_device!r}'
                )
        return lines


OPTION_NAMES = tuple(f.name for f in fields(JumpOptions) if f.name != "rule")
"""Names of the keyword arguments of `Accelerator`."""

S = TypeVar("S")
P = ParamSpec("P")


def takes(
    options: Callable[P, JumpOptions],
) -> Callable[[Callable[[S, nn.Module, JumpOptions], None]], Callable[Concatenate[S, nn.Module, P], None]]:
    """Give a constructor the arguments of `JumpOptions`, for type checkers and for ``help`` alike."""

    def decorate(
        construct: Callable[[S, nn.Module, JumpOptions], None],
    ) -> Callable[Concatenate[S, nn.Module, P], None]:
        given = inspect.signature(options)
        first = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "model")]
        signature = given.replace(parameters=[*first, *given.parameters.values()], return_annotation=None)

        @functools.wraps(construct)
        def construct_from(self: S, *arguments: Any, **keywords: Any) -> None:
            try:
                bound = signature.bind(self, *arguments, **keywords).arguments
            except TypeError as error:
                raise TypeError(f"{type(self).__name__}: {error}") from None
            del bound["self"]
            model = bound.pop("model")
            construct(self, model, options(**bound))  # type: ignore[call-arg]

        construct_from.__signature__ = signature  # type: ignore[attr-defined]
        return construct_from  # type: ignore[return-value]

    return decorate


def _describe(thing: object) -> str:
    """Return a text that is the same for the same rule in every process, which a plain object's repr is not."""
    return repr(thing) if is_dataclass(thing) else f"{type(thing).__module__}.{type(thing).__qualname__}"
