"""Training steps that are launched as one: recorded once as a CUDA graph, and replayed.

A step of small networks is some hundred kernels, each done sooner than the next can be launched. A graph launches them
all at once, and spares the Python between them.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, bool], Tensor]
"""(inputs, targets, whether all networks share them) -> losses before the step, (K,)."""

WARM_UP = 3
"""Steps before one is recorded: by then libraries are loaded, and the optimiser's state exists."""
MOST_WARM_UP = 50
TOLERANCE = 0.05
"""Of a step: roundings that the optimiser enlarges are below it; what was recorded wrongly is of the step's size."""


class Graphs(Protocol):
    """How a device records what it is told to do. Graphs of one object are never replayed at the same time."""

    def watching(self) -> AbstractContextManager[None]:
        """Within it, what cannot be recorded raises RuntimeError."""

    def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record a step without taking it: how to take it, and where its losses then lie. RuntimeError: it cannot."""


class CudaGraphs:
    """CUDA graphs that share the memory in which they work."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        # of its own: with the last graph of a stream go workspaces that graphs of others on it would still use
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """As of `Graphs`: a recording that fails is hard to clean up after, so it is seen to that it will not."""
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """As of `Graphs`."""
        graph = torch.cuda.CUDAGraph()
        # the first goes back to this stream even where the recording fails
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, self._pool, self._stream):
            losses = step()
        return graph.replay, losses


GRAPHS: Mapping[str, Callable[[], Graphs]] = {"cuda": CudaGraphs}
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
        graphs: makes what records steps; None: they are not.
        warn: told why steps are not replayed.
    """

    def __init__(
        self,
        step: Step,
        state: Callable[[], Sequence[Tensor]],
        graphs: Callable[[], Graphs] | None,
        warn: Callable[[str], None],
    ) -> None:
        self._step, self._state, self._make, self._warn = step, state, graphs, warn
        self._warm_up = WARM_UP
        self._begin()

    def __call__(self, x: Tensor, y: Tensor, shared: bool) -> Tensor:
        """Take one step; returns the losses before it, (K,)."""
        if self._graphs is None:
            return self._step(x, y, shared)
        kind = (x.shape, shared)
        taken = self._taken.get(kind, 0)
        self._taken[kind] = taken + 1
        if taken < self._warm_up - 1:
            return self._step(x, y, shared)
        if taken == self._warm_up - 1:
            return self._watched(self._graphs, x, y, shared)
        if taken == self._warm_up:
            self._record(kind, self._graphs, x, y, shared)
            return self._step(x, y, shared)
        if taken == self._warm_up + 1:
            return self._compared(self._recorded[kind], x, y, shared)
        return self._recorded[kind](x, y)

    def forget(self) -> None:
        """The state lies in other memory now: record anew, later each time, lest most of the time go into recording."""
        self._warm_up = min(2 * self._warm_up, MOST_WARM_UP)
        self._begin()

    def _begin(self) -> None:
        self._taken: dict[tuple[object, ...], int] = {}
        self._recorded: dict[tuple[object, ...], _Recorded] = {}
        self._graphs = None if self._make is None else self._make()

    def _watched(self, graphs: Graphs, x: Tensor, y: Tensor, shared: bool) -> Tensor:
        before = _copies(self._state())
        try:
            with graphs.watching():
                return self._step(x, y, shared)
        except RuntimeError as error:
            self._put_back(before)
            self._give_up(_first_line(error))
        return self._step(x, y, shared)

    def _record(self, kind: tuple[object, ...], graphs: Graphs, x: Tensor, y: Tensor, shared: bool) -> None:
        try:
            self._recorded[kind] = _Recorded(*graphs.record(lambda: self._step(x, y, shared)), x, y)
        except RuntimeError as error:
            self._give_up(_first_line(error))

    def _compared(self, recorded: _Recorded, x: Tensor, y: Tensor, shared: bool) -> Tensor:
        """Take the step, and see that a replay from where it began comes out where it does."""
        before = _copies(self._state())
        try:
            found = [recorded(x, y), *_copies(self._state())]
        except torch.OutOfMemoryError:
            self._put_back(before)
            self._give_up("no memory is left to compare them")
            return self._step(x, y, shared)
        self._put_back(before)
        losses = self._step(x, y, shared)
        expected = [losses, *(values.detach() for values in self._state())]
        zero = torch.zeros_like(losses)
        alike = (_close(*each, by_row=len(losses) > 1) for each in zip(found, expected, [zero, *before], strict=True))
        if not all(alike):
            self._give_up("a replayed step is not the step")
        return losses

    def _put_back(self, before: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for values, old in zip(self._state(), before, strict=True):
                values.copy_(old)

    def _give_up(self, reason: str) -> None:
        self._make = None
        self._begin()
        self._warn(f"training steps are launched one kernel after another, not as a CUDA graph: {reason}")


def _copies(values: Sequence[Tensor]) -> list[Tensor]:
    return [each.detach().clone() for each in values]


def _first_line(error: BaseException) -> str:
    """Of what came first: the end of a recording that has failed raises as well, and does not say why."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).strip().partition("\n")[0]


def _close(found: Tensor, expected: Tensor, before: Tensor, *, by_row: bool) -> bool:
    """Whether they differ by little of the step, where all is finite: a replicate may be about to diverge.

    by_row: for each replicate, since the steps of some may be much smaller than those of others.
    """
    finite = found.isfinite() & expected.isfinite() & before.isfinite()
    apart, step = (torch.where(finite, other - expected, 0.0).double() for other in (found, before))
    rows = len(found) if by_row and found.dim() else 1
    return bool((apart.view(rows, -1).norm(dim=1) <= TOLERANCE * step.view(rows, -1).norm(dim=1)).all())
