"""Write what a record yields, and say on the terminal where it is."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.cli.console import err_console, print_warnings, say
from study.cli.printing import print_answer, print_best

if TYPE_CHECKING:
    from study.analysis import StudyData
    from study.record import Record


def figures(
    record: "Record", to: Path | None = None, *, only: str | Sequence[str] | None = None, **options: Any
) -> None:
    """Draw figures as `study.write_figures` does, with its options; say where they are and what is left out."""
    from study.products import write_figures

    written = write_figures(record, to, only=only, **options)
    say_paths(written.paths)
    for name, why in written.left_out.items():
        err_console.print(f"Left out: {name}: {why}", soft_wrap=True, markup=False, highlight=False)


def heatmap(record: "Record", data: "StudyData") -> None:
    """Draw the heatmaps of the study's own metric and axes."""
    figures(record, only="heatmap", data=data)


def best(
    record: "Record",
    metric: str | None = None,
    rule: str | None = None,
    at: Mapping[str, Any] | None = None,
    data: "StudyData | None" = None,
) -> None:
    """Write the best parameters to DIR/best.yaml, and print them with how they are used."""
    from study.products import write_best

    path = write_best(record, metric=metric, rule=rule, at=at, data=data)
    print_best(path, take_home=record.is_jump_rule)


def report(record: "Record", to: Path | None = None, data: "StudyData | None" = None) -> None:
    """Write the report, and say where it is."""
    from study.products import write_report

    with print_warnings(), _counters() as progress:
        path = write_report(record, to, data=data, progress=progress)
    say(str(path))


def everything(record: "Record") -> None:
    """Write heatmaps, best parameters and report, and say what the record does not allow.

    Raises:
        OSError: files cannot be written.
    """
    with print_warnings():
        data = record.study_data()  # once: of a large record it takes seconds
    steps: tuple[Callable[..., None], ...] = (heatmap, best, report)
    for step in steps:
        try:
            step(record, data=data)
        except ValueError as error:
            err_console.print(f"Not written: {error}", soft_wrap=True, markup=False)
    print_answer(record, data)


def say_paths(paths: Sequence[Path]) -> None:
    """Print a path a line."""
    for path in paths:
        say(str(path))


@contextlib.contextmanager
def _counters() -> Iterator[Callable[[str, int, int], None]]:
    """Show the progress of one kind of work after another."""
    from study.execution.terminal_progress import counting

    with contextlib.ExitStack() as shown:
        current = ""
        count: Callable[[int, int], None]

        def progress(what: str, done: int, total: int) -> None:
            nonlocal current, count
            if what != current:
                shown.close()
                current, count = what, shown.enter_context(counting(what))
            count(done, total)

        yield progress
