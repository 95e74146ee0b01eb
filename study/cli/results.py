"""Write what a record yields, and say on the terminal where it is."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.cli.console import note, print_warnings, say, say_again, transcript
from study.cli.drawing_library import load_seaborn
from study.cli.printing import print_answer, print_best, print_counts

if TYPE_CHECKING:
    from study.analysis import StudyData
    from study.record import Record


def figures(
    record: "Record", to: Path | None = None, *, only: str | Sequence[str] | None = None, **options: Any
) -> list[Path]:
    """Draw figures as `study.write_figures` does, with its options; say where they are and what is left out.

    Returns:
        The files that were written.
    """
    load_seaborn()
    from study.products import write_figures

    written = write_figures(record, to, only=only, **options)
    say_paths(written.paths)
    for name, why in written.left_out.items():
        note(f"Left out: {name}: {why}")
    return written.paths


def heatmap(record: "Record", data: "StudyData") -> list[Path]:
    """Draw the heatmaps of the study's own metric and axes; return their files."""
    return figures(record, only="heatmap", data=data)


def best(
    record: "Record",
    metric: str | None = None,
    rule: str | None = None,
    at: Mapping[str, Any] | None = None,
    data: "StudyData | None" = None,
) -> list[Path]:
    """Write the best parameters to DIR/best.yaml, and print them with how they are used; return the file."""
    from study.products import write_best

    path = write_best(record, metric=metric, rule=rule, at=at, data=data)
    print_best(path, take_home=record.is_jump_rule)
    return [path]


def report(record: "Record", to: Path | None = None, data: "StudyData | None" = None) -> list[Path]:
    """Write the report, and say where it is; return the file."""
    load_seaborn()
    from study.products import write_report

    with print_warnings(), _counters() as progress:
        path = write_report(record, to, data=data, progress=progress)
    say(str(path))
    return [path]


def everything(
    record: "Record", *, request: str | None = None, timed: Callable[["StudyData"], bool] = lambda data: False
) -> None:
    """Say how much has ended, write heatmaps, best parameters and report, and say the answer.

    If that was done before, and neither the record nor one of these files has changed, say it again and write nothing.

    Args:
        record: the study.
        request: hash of the request for which nothing is left to train, to be kept for `say_kept`; None for none.
        timed: returns True if the time of the recommended cell needs no measurement.

    Raises:
        OSError: files cannot be written.
    """
    from study.record import KeptResults, contents, keep, kept_results

    kept = kept_results(record.folder, record.url)
    if kept is not None and kept.are_in(record.folder):
        say_again(kept.results)
        if request not in (None, kept.request):
            keep(record.folder, replace(kept, request=request))
        return
    state = record.state()  # of a record that may go on: the table that is read below may be newer, but never older
    files: list[Path] = []
    with transcript() as lines:
        with transcript() as counts:
            print_counts(record)
        with print_warnings():
            data = record.study_data()  # once: of a large record it takes seconds
        steps: tuple[Callable[..., list[Path]], ...] = (heatmap, best, report)
        for step in steps:
            try:
                files += step(record, data=data)
            except ValueError as error:
                note(f"Not written: {error}")
        with transcript() as answer:
            print_answer(record, data)
    kept = KeptResults(
        study=record.name,
        place=str(record.folder),
        state=state,
        status=(*counts, *answer),
        results=tuple(lines),
        files=contents(record.folder, [str(path.relative_to(record.folder)) for path in files]),
        request=request,
        timed=timed(data),
    )
    keep(record.folder, kept)


def say_kept(folder: Path, storage: str | None, request: str | None, *, timed: bool) -> bool:
    """Say the results again that a study's folder keeps, if nothing is left to do for a request; return True then.

    Args:
        folder: the study's folder.
        storage: URL of the Optuna storage; None for the database in the folder.
        request: hash of the request, see `everything`.
        timed: the request asks for the time of the recommended cell as well.
    """
    from study.record import kept_results

    kept = None if request is None else kept_results(folder, storage)
    if kept is None or kept.request != request or (timed and not kept.timed) or not kept.are_in(folder):
        return False
    say_again(kept.results)
    return True


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
