"""Record a training step once as a CUDA graph, and replay it.

A step of small networks has some hundred kernels, and each ends before the next can be launched. A graph launches all
of them at once, without the Python code between them.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, bool], Tensor]
"""(inputs, targets, True if all networks share them) -> losses before the step, (K,)."""

WARM_UP = 3
"""Number of steps before one is recorded, to load libraries and to create the optimiser's state."""
MAX_WARM_UP = 50
"""Largest number of these steps, however often `Replayed.forget` has been called."""
TOLERANCE = 0.05
"""Largest relative difference allowed between a replayed and an eager step.

Amplified rounding stays below it; a wrong recording differs by about 100 %.
"""


class Graphs(Protocol):
    """Recorder of a device's work. Graphs of one object are never replayed at the same time."""

    def watching(self) -> AbstractContextManager[None]:
        """Return a context in which work that cannot be recorded raises RuntimeError."""

    def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record a step without taking it.

        Returns:
            A function that takes the step, and the tensor that then holds its losses.

        Raises:
            RuntimeError: the step cannot be recorded.
        """


class CudaGraphs:
    """CUDA graphs that share one memory pool."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        # a stream of its own: the last graph of a stream frees workspaces that graphs of other objects would still use
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Raise RuntimeError for work that cannot be recorded: it is hard to clean up after a failed recording."""
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record a step without taking it, as `Graphs.record` describes."""
        graph = torch.cuda.CUDAGraph()
        # the first context returns to the current stream even if the recording fails
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, self._pool, self._stream):
            losses = step()
        return graph.replay, losses


GRAPHS: Mapping[str, Callable[[], Graphs]] = {"cuda": CudaGraphs}
"""Type of a device -> its recorder; on other devices, launching a kernel costs almost nothing."""


@dataclass(frozen=True)
class _Recorded:
    """A recorded step with the memory of its inputs, targets and losses."""

    replay: Callable[[], None]
    losses: Tensor
    x: Tensor
    y: Tensor

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        if x is not self.x:
            self.x.copy_(x)
            self.y.copy_(y)
        self.replay()
        return self.losses.clone()


class Replayed:
    """A training step that is replayed as soon as it is recorded and a replay is known to equal the step.

    For each shape of a batch, the first steps are taken eagerly, and then one is recorded. Its first replay is compared
    with an eager step, on another batch and another state of the optimiser than those of the recording. If a step
    cannot be recorded, or its replay differs, all further steps are eager.

    Args:
        step: eager step; it changes the state in place.
        state: returns all tensors that a step changes, in the same memory at every call.
        graphs: makes a recorder of steps; None for eager steps only.
        warn: called with the reason why steps are not replayed.
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
        self._start_over()

    def __call__(self, x: Tensor, y: Tensor, shared: bool) -> Tensor:
        """Take a step; return the losses before it, (K,).

        Args:
            x: inputs; (K, …) if not shared.
            y: targets; (K, …) if not shared.
            shared: True if all networks get the same inputs and targets.
        """
        if self._graphs is None:
            return self._step(x, y, shared)
        batch_key = (x.shape, shared)
        taken = self._taken.get(batch_key, 0)
        self._taken[batch_key] = taken + 1
        if taken < self._warm_up - 1:
            return self._step(x, y, shared)
        if taken == self._warm_up - 1:
            return self._take_watched(self._graphs, x, y, shared)
        if taken == self._warm_up:
            self._record(batch_key, self._graphs, x, y, shared)
            return self._step(x, y, shared)
        if taken == self._warm_up + 1:
            return self._take_compared(self._recorded[batch_key], x, y, shared)
        return self._recorded[batch_key](x, y)

    def forget(self) -> None:
        """Drop the recordings, since the state has moved to other memory.

        Each time the next recording starts later, so that recording does not take most of the time.
        """
        self._warm_up = min(2 * self._warm_up, MAX_WARM_UP)
        self._start_over()

    def _start_over(self) -> None:
        self._taken: dict[tuple[object, ...], int] = {}
        self._recorded: dict[tuple[object, ...], _Recorded] = {}
        self._graphs = None if self._make is None else self._make()

    def _take_watched(self, graphs: Graphs, x: Tensor, y: Tensor, shared: bool) -> Tensor:
        before = _copies(self._state())
        try:
            with graphs.watching():
                return self._step(x, y, shared)
        except RuntimeError as error:
            self._put_back(before)
            self._give_up(_first_line(error))
        return self._step(x, y, shared)

    def _record(self, batch_key: tuple[object, ...], graphs: Graphs, x: Tensor, y: Tensor, shared: bool) -> None:
        try:
            self._recorded[batch_key] = _Recorded(*graphs.record(lambda: self._step(x, y, shared)), x, y)
        except RuntimeError as error:
            self._give_up(_first_line(error))

    def _take_compared(self, recorded: _Recorded, x: Tensor, y: Tensor, shared: bool) -> Tensor:
        """Take an eager step, and check that a replay from the same state gives the same result."""
        before = _copies(self._state())
        try:
            replayed = [recorded(x, y), *_copies(self._state())]
        except torch.OutOfMemoryError:
            self._put_back(before)
            self._give_up("there is not enough memory to compare a replayed step with an eager one")
            return self._step(x, y, shared)
        self._put_back(before)
        losses = self._step(x, y, shared)
        expected = [losses, *(values.detach() for values in self._state())]
        zero = torch.zeros_like(losses)
        alike = (
            _close(*each, by_row=len(losses) > 1) for each in zip(replayed, expected, [zero, *before], strict=True)
        )
        if not all(alike):
            self._give_up("a replayed step differs from an eager one")
        return losses

    def _put_back(self, before: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for values, old in zip(self._state(), before, strict=True):
                values.copy_(old)

    def _give_up(self, reason: str) -> None:
        self._make = None
        self._start_over()
        self._warn(f"training steps are launched one kernel after another, not as a CUDA graph: {reason}")


def _copies(values: Sequence[Tensor]) -> list[Tensor]:
    return [each.detach().clone() for each in values]


def _first_line(error: BaseException) -> str:
    """Return the first line of the first error: ending a failed recording raises another, which gives no reason."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).strip().partition("\n")[0]


def _close(replayed: Tensor, expected: Tensor, before: Tensor, *, by_row: bool) -> bool:
    """Return True if the difference is small against the step, counting only finite values: a replicate may diverge.

    With ``by_row`` each replicate is compared with its own step, which may be much smaller than those of others.
    """
    finite = replayed.isfinite() & expected.isfinite() & before.isfinite()
    apart, step = (torch.where(finite, other - expected, 0.0).double() for other in (replayed, before))
    rows = len(replayed) if by_row and replayed.dim() else 1
    return bool((apart.view(rows, -1).norm(dim=1) <= TOLERANCE * step.view(rows, -1).norm(dim=1)).all())
