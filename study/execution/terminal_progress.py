"""Progress of a running study, in a terminal or a log: done, running, failed, jumps, best so far, time left."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from study.replicates.metrics import outcome_metrics
from study.replicates.outcome import ReplicateOutcome

LOG_INTERVAL_S = 10.0
"""Seconds between two lines of a log, in the beginning."""
_LOG_SHARE = 0.01
"""Share of the time that has passed until the next line, if that is longer: a log of a day has some 550 lines."""


class SweepProgress:
    """Shows a live line in a terminal; elsewhere (a log, a pipe, a notebook) a plain line now and then, and at the end.

    A plain line comes every ten seconds at first, and less often as hours pass.

    Args:
        total: number of replicates to train.
        what: name of what is counted, in the plural.
        console: console to print to; stderr by default.
    """

    def __init__(self, total: int, what: str = "replicates", console: Console | None = None) -> None:
        # in a notebook rich's bar needs widgets, which may be missing; plain lines always work
        self.console = console or Console(stderr=True, force_jupyter=False)
        self.total, self.what = total, what
        self.done = self.failed = self.diverged = self.jumps = self.running = 0
        self.best: tuple[float, str] | None = None
        self._start_s = self._logged_s = time.monotonic()
        self._bar: Progress | None = None
        self._warned: set[str] = set()

    def __enter__(self) -> "SweepProgress":
        """Start the live line in a terminal."""
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn(self.what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[notes]}"),
                TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
                console=self.console,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total, notes="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the live line, or print a last plain line."""
        self.running = 0
        if self._bar is not None:
            self._bar.stop()
        else:
            self._log()

    def started(self, replicates: int) -> None:
        """Show that this many replicates are being trained now."""
        self.running = replicates
        self._show()

    def ended(self, outcomes: Iterable[ReplicateOutcome]) -> None:
        """Count replicates that have ended and are recorded."""
        for outcome in outcomes:
            self.done += 1
            self.failed += outcome.status == "failed"
            self.diverged += outcome.status == "diverged"
            self.jumps += len(outcome.jumps.epoch)
            if outcome.status == "finished" and not outcome.replicate.is_baseline:
                error = outcome_metrics(outcome)["mean_relative_error_train"]
                if not math.isnan(error) and (self.best is None or error < self.best[0]):
                    cell = ", ".join(f"{axis} {value:g}" if isinstance(value, int | float) else f"{axis} {value}"
                                     for axis, value in outcome.replicate.parameters.items())  # fmt: skip
                    self.best = (error, cell)
        self._show()

    def warn(self, text: str) -> None:
        """Print a warning; the same text only once."""
        if text not in self._warned:
            self._warned.add(text)
            self.console.print(f"Warning: {text}", soft_wrap=True, markup=False, highlight=False)

    def notes(self) -> str:
        """Return the counts in words."""
        parts = [f"{self.running} running"] if self.running else []
        parts += [f"{self.diverged} diverged"] if self.diverged else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.jumps} jumps"]
        parts += [f"lowest error per jump {self.best[0]:.3g} ({self.best[1]})"] if self.best else []
        return ", ".join(parts)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, notes=self.notes())
        elif (now_s := time.monotonic()) - self._logged_s > max(LOG_INTERVAL_S, _LOG_SHARE * (now_s - self._start_s)):
            self._log()

    def _log(self) -> None:
        self._logged_s = time.monotonic()
        elapsed_s = self._logged_s - self._start_s
        left = f", about {elapsed_s / self.done * (self.total - self.done):.0f} s left" if self.done else ""
        notes = f": {self.notes()}" if self.notes() else ""
        self.console.print(f"{self.what} {self.done}/{self.total}{notes}; {elapsed_s:.0f} s{left}", soft_wrap=True)


@contextlib.contextmanager
def counting(what: str, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """Yield a ``progress(done, total)`` that shows the progress of other work as `SweepProgress` does.

    A log gets no line about work that is done within ten seconds.
    """
    bar: _Counter | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = _Counter(total, what, console)
            bar.__enter__()
        bar.done = done
        bar._show()
        if done >= total:
            bar.__exit__(None, None, None)
            bar = None

    try:
        yield show
    finally:
        if bar is not None:
            bar.__exit__(None, None, None)


class _Counter(SweepProgress):
    """Shows a count and the time only."""

    def notes(self) -> str:
        return ""

    def _log(self) -> None:
        if self.done < self.total or time.monotonic() - self._start_s > LOG_INTERVAL_S:
            super()._log()
