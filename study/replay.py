"""Training steps that are launched as one: recorded once as a CUDA graph, and replayed.

A step of small networks is some hundred kernels, each done sooner than the next can be launched. A graph launches them
all at once, and spares the Python between them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, bool], Tensor]
"""(inputs, targets, whether all networks share them) -> losses before the step, (K,)."""
Capture = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""Records what a function does without doing it: how to do it again, and where its answer then lies."""

WARM_UP = 3
"""Steps before one is recorded: by then libraries are loaded, and the optimiser's state exists."""
TOLERANCE = 0.05
"""Of a step: roundings that the optimiser enlarges are below it; what was recorded wrongly is of the step's size."""


def capture_cuda(step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Record a step as a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses = step()
    return graph.replay, losses


CAPTURES: Mapping[str, Capture] = {"cuda": capture_cuda}
"""By the type of the device; on others, launching costs next to nothing."""


@dataclass(frozen=True)
class _Recorded:
    again: Callable[[], None]
    losses: Tensor
    x: Tensor
    y: Tensor

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        if x is not self.x:
            self.x.copy_(x)
            self.y.copy_(y)
        self.again()
        return self.losses.clone()


class Replayed:
    """A training step that is replayed once it is known, and that a replay is the step.

    For each shape of a batch, the first steps are taken as they are, then one is recorded. Its first replay is compared
    with the step itself, which sees another batch and another state of the optimiser than were recorded; what cannot be
    recorded, or does something else when replayed, is taken as it is for good.

    Args:
        step: what is replayed; it changes the state in place.
        state: all tensors that a step changes, in the same memory at every call.
        capture: how steps are recorded; None: not at all.
        warn: told why steps are not replayed.
    """

    def __init__(
        self,
        step: Step,
        state: Callable[[], Sequence[Tensor]],
        capture: Capture | None,
        warn: Callable[[str], None],
    ) -> None:
        self._step, self._state, self._capture, self._warn = step, state, capture, warn
        self._taken: dict[tuple[object, ...], int] = {}
        self._recorded: dict[tuple[object, ...], _Recorded] = {}

    def __call__(self, x: Tensor, y: Tensor, shared: bool) -> Tensor:
        """Take one step; returns the losses before it, (K,)."""
        if self._capture is None:
            return self._step(x, y, shared)
        kind = (x.shape, shared)
        taken = self._taken.get(kind, 0)
        self._taken[kind] = taken + 1
        if taken <= WARM_UP:
            if taken == WARM_UP:
                self._record(kind, self._capture, x, y, shared)
            return self._step(x, y, shared)
        if taken == WARM_UP + 1:
            return self._compared(self._recorded[kind], x, y, shared)
        return self._recorded[kind](x, y)

    def forget(self) -> None:
        """The state lies in other memory now: record anew."""
        self._taken, self._recorded = {}, {}

    def _record(self, kind: tuple[object, ...], capture: Capture, x: Tensor, y: Tensor, shared: bool) -> None:
        try:
            self._recorded[kind] = _Recorded(*capture(lambda: self._step(x, y, shared)), x, y)
        except RuntimeError as error:  # of CUDA, memory that has run out among them
            self._give_up(str(error).strip().partition("\n")[0])

    def _compared(self, recorded: _Recorded, x: Tensor, y: Tensor, shared: bool) -> Tensor:
        """Take the step, and see that a replay from where it began comes out where it does."""
        state = self._state()
        before = [values.detach().clone() for values in state]
        found = [recorded(x, y), *(values.detach().clone() for values in state)]
        with torch.no_grad():
            for values, old in zip(state, before, strict=True):
                values.copy_(old)
        losses = self._step(x, y, shared)
        expected = [losses, *(values.detach() for values in state)]
        moved = [losses, *(values - old for values, old in zip(expected[1:], before, strict=True))]
        if not all(map(_close, found, expected, moved)):
            self._give_up("a replayed step is not the step")
        return losses

    def _give_up(self, reason: str) -> None:
        self._capture = None
        self.forget()
        self._warn(f"training steps are launched one kernel after another, not as a CUDA graph: {reason}")


def _close(found: Tensor, expected: Tensor, scale: Tensor) -> bool:
    """Whether they differ by little of the scale, where all is finite: a replicate may be about to diverge."""
    finite = found.isfinite() & expected.isfinite() & scale.isfinite()
    difference = (found - expected)[finite].double().norm()
    return bool(difference <= TOLERANCE * scale[finite].double().norm())
