"""Files and pages made of a record. Nothing is printed here: functions return what they wrote."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from study.record import Record

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from dashboards import Shown
    from study.analysis import Sensitivity, SobolIndices, StudyComparison, StudyData


def _ignore(*progress: object) -> None:
    pass


@dataclass(frozen=True)
class WrittenFigures:
    """Files of figures, and the reason for each figure that the record does not allow."""

    paths: list[Path]
    left_out: dict[str, str]


@dataclass(frozen=True)
class WrittenSensitivity:
    """Numbers that say what drives a metric, and the files that show them.

    ``importances``: Optuna's, by evaluator and axis; None for samples.
    """

    drivers: "Sensitivity | SobolIndices"
    importances: dict[str, dict[str, float]] | None
    paths: list[Path]


@dataclass(frozen=True)
class WrittenComparison:
    """Numbers that set two studies side by side, and the files that show them."""

    comparison: "StudyComparison"
    paths: list[Path]


def write_figures(
    record: Record,
    to: str | Path | None = None,
    *,
    only: str | Sequence[str] | None = None,
    metric: str | None = None,
    x: str | None = None,
    y: str | None = None,
    facet: str | None = None,
    at: Mapping[str, Any] | None = None,
    data: "StudyData | None" = None,
) -> WrittenFigures:
    """Draw a record's figures and write each as PNG, SVG and PDF beside a CSV of its numbers.

    Args:
        record: the study.
        to: folder; ``figures`` in the study's by default.
        only: name or names of figures; None for all that the record allows. ``eigenvalues`` are not recorded: if they
            are named, the best cell is trained once more.
        metric: as of `study.Record.figures`, and so are ``x``, ``y``, ``facet`` and ``at``.
        x: axis of heatmaps to the right.
        y: axis of heatmaps upwards.
        facet: axis with one row of heatmaps per value.
        at: axis -> value to show.
        data: the record's, if they have been read already.

    Raises:
        ValueError: a figure that is named cannot be drawn, or none can; then nothing is written.
        OSError: the folder cannot be written to.
    """
    from study.analysis import draw_allowed, options_for, save_figure

    data = data or record.study_data()
    if "eigenvalues" in ([only] if isinstance(only, str) else only or ()):
        from study.execution.eigenvalues import watch_eigenvalues

        def watch(cell: Mapping[str, Any], seed: int) -> "pd.DataFrame":
            return watch_eigenvalues(record.spec, cell, seed, record.products)

        data = replace(data, spectrum=watch)
    drawn = draw_allowed(data, options_for(data, metric=metric, x=x, y=y, facet=facet, at=at), only)
    paths = []
    for picture in drawn.pictures.values():
        paths += save_figure(picture.figure, to or record.folder / "figures", picture.stem, frame=picture.frame)
    return WrittenFigures(paths, drawn.left_out)


def write_best(
    record: Record,
    to: str | Path | None = None,
    *,
    metric: str | None = None,
    rule: str | None = None,
    at: Mapping[str, Any] | None = None,
    data: "StudyData | None" = None,
) -> Path:
    """Choose the best parameters and write them with their evidence, as `accel.Accelerator.from_best` reads them.

    Args:
        record: the study.
        to: file; ``best.yaml`` in the study's folder by default.
        metric: metric of the choice that readers take by default; None for the first that is possible.
        rule: rule of that choice: ``minimum`` or ``one-standard-error``.
        at: axis -> value; considers only the cells with these values.
        data: the record's, if they have been read already.

    Raises:
        NoChoice: the metric and rule asked for allow no choice; says why.
        ValueError: unknown metric, rule, axis or value. OSError: the file cannot be written.
    """
    from study.best.file import write_best_file

    document = record.best_document(metric, rule, at=at, data=data)
    return write_best_file(to or record.folder / "best.yaml", document)


def write_report(
    record: Record,
    to: str | Path | None = None,
    *,
    data: "StudyData | None" = None,
    progress: Callable[[str, int, int], object] = _ignore,
) -> Path:
    """Write a record's report as one HTML file that opens offline. A warning names packs that cannot be read.

    Args:
        record: the study.
        to: file; ``report.html`` in the study's folder by default.
        data: the record's, if they have been read already.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        ValueError: the record has no replicates yet. OSError: the file cannot be written.
    """
    return record.report(data=data, progress=progress).save(to or record.folder / "report.html")


def write_table(record: Record, to: str | Path) -> Path:
    """Write one row per replicate to a file that ends in .csv or .parquet.

    Raises:
        ValueError: the file ends otherwise. OSError: it cannot be written.
    """
    to = Path(to)
    if to.suffix not in (".csv", ".parquet"):
        raise ValueError(f"a table is written to a file that ends in .csv or .parquet, got {to}")
    frame = record.table()
    if to.suffix == ".csv":
        frame.to_csv(to, index=False)
    else:
        # a column of Parquet holds one type; an axis may mix them, as training.batch does
        frame.astype({name: "string" for name in frame if frame[name].dtype == object}).to_parquet(to)
    return to


def write_sensitivity(
    record: Record,
    to: str | Path | None = None,
    *,
    metric: str | None = None,
    split: Literal["train", "test"] = "train",
    at: Mapping[str, Any] | None = None,
) -> WrittenSensitivity:
    """Find which axes drive a metric, and draw it: shares of the variance on a grid, Sobol' indices of samples.

    Args:
        record: the study.
        to: folder; ``figures`` in the study's by default.
        metric: name without ``_train`` and ``_test``; by default the paper's, or that of a method without jumps.
        split: ``train`` or ``test``.
        at: axis -> value; considers only the cells with these values.

    Raises:
        ValueError: there are no such numbers; says why. OSError: the folder cannot be written to.
    """
    from study.analysis import draw_drivers, options_for, optuna_importances, save_figure

    data = record.study_data()
    options = options_for(data, metric=metric, at=at)
    drivers, picture = draw_drivers(data, options, split)
    importances = None
    if data.sampled is None:
        importances = optuna_importances(
            data.table, data.axes, data.seeds, metric=options.metric, split=split, at=options.at
        )
    paths = save_figure(picture.figure, to or record.folder / "figures", picture.stem, frame=picture.frame)
    return WrittenSensitivity(drivers, importances, paths)


def write_comparison(
    first: Record,
    second: Record,
    to: str | Path | None = None,
    *,
    metric: str | None = None,
    at: Mapping[str, Any] | None = None,
) -> WrittenComparison:
    """Compare two studies on the cells and seeds that they share, and draw it.

    Args:
        first: the study to compare with.
        second: the other study.
        to: folder; ``figures`` in the second study's by default.
        metric: name without ``_train`` and ``_test``; by default the paper's, or that of a method without jumps.
        at: axis -> value; considers only the cells with these values.

    Raises:
        ValueError: they cannot be compared; says why. OSError: the folder cannot be written to.
    """
    from study.analysis import compare_studies, draw_comparison, save_figure

    studies = [record.study_data() for record in (first, second)]
    if studies[0].name == studies[1].name:
        studies = [
            replace(data, name=str(record.folder)) for data, record in zip(studies, (first, second), strict=True)
        ]
    metric = metric or studies[0].headline
    comparison = compare_studies(*studies, metric=metric, at=at)
    folder, stem = to or second.folder / "figures", f"compared_{metric}"
    return WrittenComparison(comparison, save_figure(draw_comparison(comparison), folder, stem, frame=comparison.frame))


def serve_dashboard(
    record: Record,
    reopen: Callable[[], Record],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    ready: Callable[[str], None] = _ignore,
) -> None:
    """Serve the Optuna dashboard on a study until interrupted, also while it runs. It changes nothing.

    Args:
        record: the study.
        reopen: opens it anew, to see what has ended since.
        host: address to listen on; anything but loopback is open to the network.
        port: port to listen on; 0 for any that is free.
        ready: called with the page's address.

    Raises:
        OSError, OverflowError: the address cannot be listened on.
    """
    from dashboards import serve_optuna
    from study.analysis.pages.optuna_dashboard import baseline_shown_of, shown_before, shown_of

    seen: tuple[Any, ...] | None = None

    def refresh() -> "dict[str, Shown] | None":
        nonlocal seen
        state = (record.done(), record.study.user_attrs)  # the spec and the measured time are attributes
        if state == seen:
            return None
        with reopen() as now:  # whose spec may be another one
            data = now.study_data()
            recommended = _recommended(data)
            shown = shown_of(
                now.name,
                now.spec,
                _objective(now.study),
                data.table,
                data.axes,
                headline=data.headline,
                sampled=data.sampled,
                recommended=recommended,
            )
            baseline = baseline_shown_of(now.name, now.spec, _objective(now.baseline), recommended=recommended)
        seen = state
        return {record.name: shown, record.baseline.study_name: baseline}

    before = {
        record.name: shown_before(record.name, record.spec, _objective(record.study)),
        record.baseline.study_name: baseline_shown_of(record.name, record.spec, _objective(record.baseline)),
    }

    serve_optuna(
        record.url,
        host,
        port,
        ready,
        shown=before,
        refresh=refresh,
        pages={"/report": record.folder / "report.html"},
        engine_kwargs=record.engine_options,
    )


def _recommended(data: "StudyData") -> str | None:
    """Return the study's answer, which names the recommended cell; None without replicates."""
    from study.analysis.statistics.answer import answer

    return None if data.table.empty else str(answer(data))


def _objective(study: "optuna.Study") -> str:
    return (study.metric_names or ["value"])[0]
