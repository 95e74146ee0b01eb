"""The command line: one thin function per command. Nothing heavy is imported before it is needed."""

import contextlib
import shlex
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from study.errors import UserError

if TYPE_CHECKING:
    from study.record import Record

app = typer.Typer(
    help="Which hyperparameters of a training accelerator matter, and should I switch it on at all?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out_console, err_console = Console(), Console(stderr=True)

Folder = Annotated[Path, typer.Argument(help="A study's folder.", metavar="DIR")]
Storage = Annotated[
    str | None, typer.Option(help="URL of the Optuna storage; by default SQLite in the folder, or DMD_STUDY_STORAGE.")
]
At = Annotated[list[str] | None, typer.Option(help="AXIS=VALUE: look at this value of an axis only. May be repeated.")]


_signals: list[int] = []
"""Signals that asked us to stop. SIGTERM (schedulers end jobs by it) is raised as KeyboardInterrupt too, since what we
call (Ray) lets that through and nothing else."""


@app.command()
def run(
    spec: Annotated[str, typer.Argument(help="A spec (YAML file) or the name of a preset.")],
    out: Annotated[Path | None, typer.Option(help="The study's folder; results/NAME by default.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: override a key, e.g. axes.m=[14,20].")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto or HOST:PORT.")] = None,
    executor: Annotated[str, typer.Option(help="ray, or inline: the same packs in this process.")] = "ray",
    storage: Storage = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Train again what is recorded as failed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and what it costs; run nothing.")
    ] = False,
    time: Annotated[bool, typer.Option("--time", help="With --dry-run: also time a few steps on random data.")] = False,
) -> None:
    """Train what the study's record lacks, then draw its heatmaps and write its best parameters."""
    from study.spec import load_spec

    loaded = load_spec(spec, set_ or [])
    folder = out or Path("results") / loaded.name
    if dry_run:
        from study.estimate import estimate, timing

        _print_pairs(f"{loaded.name}: nothing is run", estimate(loaded))
        if time:
            _print_pairs("Timed on random data of the right shape, on this machine", timing(loaded))
        return
    if time:
        raise UserError("--time belongs to --dry-run")
    from study import sweep
    from study.record import open_study

    resume = f"run the same command again to train what is missing: {shlex.join(['dmd-study', *sys.argv[1:]])}"
    try:
        record = sweep.run(
            loaded,
            folder,
            executor=executor,  # type: ignore[arg-type]
            address=address,
            storage=storage,
            retry_failed=retry_failed,
        )
    except KeyboardInterrupt:
        # a second signal must not cut short what is said here
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        err_console.print(f"Stopped. What has ended is recorded in {folder}; {resume}", soft_wrap=True, markup=False)
        raise typer.Exit(_interrupted()) from None
    except OSError as error:
        raise UserError(f"{error}. What has ended is recorded in {folder}; when that is mended, {resume}") from error
    record = open_study(folder, storage)
    _print_status(record)
    for what in (_write_heatmap, _write_best):
        try:
            what(record)
        except ValueError as error:
            err_console.print(f"Not written: {error}", soft_wrap=True, markup=False)
        except OSError as error:
            raise UserError(f"{error}. All replicates are recorded in {folder}; {resume}") from error


@app.command()
def status(folder: Folder, storage: Storage = None) -> None:
    """Count what is recorded, also while the study runs."""
    _print_status(_open(folder, storage))


@app.command()
def table(
    folder: Folder,
    to: Annotated[
        Path | None, typer.Option(help="FILE.csv or FILE.parquet; CSV on standard output by default.")
    ] = None,
    storage: Storage = None,
) -> None:
    """One row per replicate, with every metric."""
    if to is not None and to.suffix not in (".csv", ".parquet"):
        raise UserError(f"--to must end in .csv or .parquet, got {to}")
    frame = _open(folder, storage).table()
    if to is None:
        frame.to_csv(sys.stdout, index=False)
        return
    try:
        if to.suffix == ".parquet":
            # a column of Parquet holds one type; an axis may mix them, as training.batch does
            frame = frame.astype({name: "string" for name in frame if frame[name].dtype == object})
            frame.to_parquet(to)
        else:
            frame.to_csv(to, index=False)
    except OSError as error:
        raise UserError(f"{to} cannot be written: {error}") from error
    _say(str(to))


@app.command()
def heatmap(
    folder: Folder,
    metric: Annotated[str, typer.Option(help="Which metric, without _train or _test.")] = "mean_relative_error",
    x: Annotated[str, typer.Option(help="Axis to the right.")] = "s",
    y: Annotated[str, typer.Option(help="Axis upwards.")] = "m",
    facet: Annotated[str, typer.Option(help="Axis with one row of panels per value.")] = "tolerance",
    at: At = None,
    to: Annotated[Path | None, typer.Option(help="Folder for the pictures; DIR/figures by default.")] = None,
    storage: Storage = None,
) -> None:
    """Draw the heatmaps of Figure 3: PNG, SVG, PDF and the CSV behind them."""
    record = _open(folder, storage)
    with _as_user_errors():
        _write_heatmap(record, to, metric=metric, x=x, y=y, facet=facet, at=_chosen(at))


@app.command()
def best(folder: Folder, at: At = None, storage: Storage = None) -> None:
    """Choose the best parameters and write them to DIR/best.yaml."""
    record = _open(folder, storage)
    with _as_user_errors():
        _write_best(record, _chosen(at))


@app.command()
def dashboard(
    folder: Folder,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback is open to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    storage: Storage = None,
) -> None:
    """Serve the Optuna dashboard on this study until interrupted, also while it runs."""
    from dashboards import serve_optuna

    url = _open(folder, storage).url
    if host not in ("127.0.0.1", "localhost"):
        err_console.print(f"Listening on {host}: whoever reaches this machine can read and change the study.")
    try:
        serve_optuna(url, host, port, lambda where: _say(f"{where}  (Ctrl-C ends it)"))
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}:{port}: {error}; choose another --port") from error
    except KeyboardInterrupt:
        raise typer.Exit(_interrupted()) from None


@app.command()
def problem(
    name: Annotated[str, typer.Argument(help="A problem that comes with the package.")],
    figures: Annotated[Path, typer.Option(help="Folder for the pictures.")],
) -> None:
    """Draw a problem: for pollutant, what Figures 2, 6 and 7 of the paper show."""
    if name != "pollutant":
        raise UserError(f"there are figures of the problem pollutant only, got {name!r}")
    from problems.pollutant.figures import draw

    try:
        for path in draw(figures):
            _say(str(path))
    except OSError as error:
        raise UserError(f"{figures} cannot be written to: {error}") from error


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="module:Class, a problem or a rule of your own.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE: a field of the class.")] = None,
) -> None:
    """Put a problem or rule of your own through the tests that it must pass to be studied."""
    from study.check import check_named

    results = check_named(name, set_ or [])
    for result in results:
        mark = "[green]pass[/green]" if result.passed else "[red]FAIL[/red]"
        out_console.print(f"{mark}  {result.what}", highlight=False, soft_wrap=True)
        if not result.passed:
            _say(f"      {result.why}")
    passed = sum(result.passed for result in results)
    _say(f"{passed} passed, {len(results) - passed} failed")
    if passed < len(results):
        raise typer.Exit(1)


def main() -> None:
    """Run a command; what a user can mend is one message and exit status 2, never a traceback."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        app()
    except UserError as error:
        err_console.print(f"dmd-study: {error}", soft_wrap=True, markup=False, highlight=False)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def _on_sigterm(number: int, frame: FrameType | None) -> NoReturn:
    _signals.append(number)
    raise KeyboardInterrupt


def _interrupted() -> int:
    """Exit status of a process that a signal has stopped."""
    return 128 + (_signals or [signal.SIGINT])[0]


class _as_user_errors:
    """Whatever the analysis refuses, the user can mend; so is a folder that cannot be written to."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ValueError | OSError):
            raise UserError(str(error)) from error


def _open(folder: Path, storage: str | None) -> "Record":
    from study.record import open_study

    return open_study(folder, storage)


def _chosen(at: Iterable[str] | None) -> dict[str, Any]:
    from study.spec import parse_yaml

    chosen: dict[str, Any] = {}
    for text in at or []:
        axis, equals, value = text.partition("=")
        try:
            if not equals:
                raise ValueError("must be AXIS=VALUE, for example tolerance=1e-6")
            loaded = parse_yaml(value)
        except ValueError as error:
            raise UserError(f"--at {text}: {error}") from error
        with contextlib.suppress(ValueError):
            # YAML 1.1 reads 1e-3 as a string
            loaded = float(loaded) if isinstance(loaded, str) else loaded
        chosen[axis] = tuple(loaded) if isinstance(loaded, list) else loaded
    return chosen


def _write_heatmap(record: "Record", to: Path | None = None, **options: Any) -> None:
    from study.analysis import draw_heatmaps, heatmap_data, save_figure

    grid = record.grid
    data = heatmap_data(record.table(), grid.axes, grid.seeds, **options)
    stem = "heatmap" if data.metric.name == "mean_relative_error" else f"heatmap_{data.metric.name}"
    figure = draw_heatmaps(data, title=record.name)
    for path in save_figure(figure, to or record.folder / "figures", stem, frame=data.frame()):
        _say(str(path))


def _write_best(record: "Record", at: dict[str, Any] | None = None) -> None:
    from study.analysis import best_document, write_best

    grid = record.grid
    document = best_document(
        record.table(),
        grid.axes,
        grid.seeds,
        study=record.name,
        spec_hash=record.attributes["spec_hash"],
        method=record.spec["method"],
        at=at,
    )
    for metric, rules in document["choices"].items():
        _say(f"Best by {metric}")
        for rule, choice in rules.items():
            _say(f"  {rule + ':':20}{choice.get('unavailable') or _in_words(metric, choice)}")
    _say(str(write_best(record.folder / "best.yaml", document)))


def _in_words(metric: str, choice: dict[str, Any]) -> str:
    parameters = ", ".join(f"{axis} = {value}" for axis, value in choice["parameters"].items())
    named = {"value": metric, "value_test": "test", "final_loss_ratio": "final loss ratio", "overhead": "overhead"}
    if metric == "final_loss_ratio":
        del named["final_loss_ratio"]
    numbers = [f"{what} {choice[name]:.4g}" for name, what in named.items() if choice[name] is not None]
    return f"{parameters}: {', '.join(numbers)}"


def _say(text: str) -> None:
    out_console.print(text, soft_wrap=True, markup=False, highlight=False)


def _print_status(record: "Record") -> None:
    counts, grid = record.statuses(), record.grid
    total = len(grid.seeds)
    for values in grid.axes.values():
        total *= len(values)
    parts = [f"{counts[name]} {name}" for name in ("finished", "diverged", "failed") if name in counts]
    missing = total - int(counts.sum())
    parts += [f"{missing} missing"] if missing else []
    _say(f"{record.name}: {total} replicates: {', '.join(parts) or 'none yet'}")
    for reason, count in record.failures().items():
        _say(f"  {count} failed: {reason}; when that is mended, run with --retry-failed")


def _print_pairs(title: str, pairs: Iterable[tuple[str, str]]) -> None:
    lines = Table(show_header=False, title=title)
    for what, amount in pairs:
        lines.add_row(what, amount)
    out_console.print(lines)


if __name__ == "__main__":
    main()
