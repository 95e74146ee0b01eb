"""Commands that train."""

import re
from pathlib import Path
from typing import Annotated

import typer

from study.cli import printing, results
from study.cli.console import Storage, note
from study.cli.signals import recording, this_command
from study.errors import UserError

TIME_LIMIT_STATUS = 124
"""Exit status of a run that its time limit has ended, as that of timeout(1)."""


def run(
    spec: Annotated[str, typer.Argument(help="A spec (YAML file) or the name of a preset.")],
    out: Annotated[Path | None, typer.Option(help="The study's folder; results/NAME by default.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: override a key, e.g. axes.m=[14,20].")
    ] = None,
    from_best: Annotated[
        Path | None,
        typer.Option(
            help="A best.yaml of any study: train its parameters once on this problem, in place of the spec's method "
            "and its axes, and compare. Into results/NAME-best by default."
        ),
    ] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto or HOST:PORT.")] = None,
    executor: Annotated[str, typer.Option(help="ray, or inline: the same packs in this process.")] = "ray",
    storage: Storage = None,
    nodes: Annotated[int | None, typer.Option(help="Wait until the Ray cluster has so many nodes.", min=1)] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(help="End in time: seconds, or 90m, 2h, 1d. What is left then is trained by the next run."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Train again what is recorded as failed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and what it costs; run nothing.")
    ] = False,
    time: Annotated[bool, typer.Option("--time", help="With --dry-run: also time a few steps on random data.")] = False,
    no_timing: Annotated[
        bool, typer.Option("--no-timing", help="Do not measure, at the end, how long the recommended cell takes.")
    ] = False,
) -> None:
    """Train what the study's record lacks, then draw its heatmaps and write its best parameters."""
    time_limit_s = None if time_limit is None else parse_duration_s(time_limit)
    possible = executor == "ray" or (executor, address, nodes) == ("inline", None, None)
    request = None
    if possible and from_best is None and not (dry_run or time or retry_failed):
        name, request = _request(spec, set_ or [])
        if results.say_kept(out or Path("results") / name, storage, request, timed=not no_timing):
            return
    from study.specification import load_spec

    best = None
    if from_best is None:
        loaded = load_spec(spec, set_ or [])
    else:
        from study.best.file import read_best
        from study.best.reuse import spec_from_best

        best = read_best(from_best)
        loaded = spec_from_best(spec, best, set_ or [])
        printing.warn_of_best(best, loaded)
    folder = out or Path("results") / loaded.name
    if dry_run:
        from study.execution.estimate import estimate, timing

        printing.print_pairs(f"{loaded.name}: nothing is run", estimate(loaded))
        if time:
            printing.print_pairs("Timed on random data of the right shape, on this machine", timing(loaded))
        return
    if time:
        raise UserError("--time belongs to --dry-run")
    from study.execution.confirmation import missing_confirmations
    from study.execution.run import run as run_study
    from study.execution.timing import lacks_time
    from study.planning.cells import plain_trainings, replicates
    from study.record import open_study

    resume = f"run the same command again to train what is missing: {this_command()}"
    with recording(folder, resume):
        run_study(
            loaded,
            folder,
            executor=executor,  # type: ignore[arg-type]
            address=address,
            storage=storage,
            retry_failed=retry_failed,
            time_limit_s=time_limit_s,
            nodes=nodes,
            timing=not no_timing,
        )
    record = open_study(folder, storage)
    everything = [*plain_trainings(loaded), *replicates(loaded)]
    if left := len(record.missing(everything)) or len(missing_confirmations(record, loaded)):
        printing.print_status(record)
        note(
            f"The time limit of {time_limit} has come: {left} of {len(everything)} replicates and baselines are left; "
            f"{resume}"
        )
        raise typer.Exit(TIME_LIMIT_STATUS)
    if best is not None:
        printing.print_reuse(record, best)
        return
    try:
        results.everything(record, request=request, timed=lambda data: not lacks_time(data, loaded))
    except OSError as error:
        raise UserError(f"{error}. All replicates are recorded in {folder}; {resume}") from error


def _request(spec: str, assignments: list[str]) -> tuple[str, str | None]:
    """Return the name of a spec as it is written, and a hash of it; None for a hash if its code may have changed.

    A spec with a problem or method of the user's own is of that kind: its code is seen only when it is imported.
    """
    import hashlib
    import json

    from study.specification import override, read_raw

    raw, label = read_raw(spec)
    override(raw, assignments, label)
    names = [raw[section].get("name") for section in ("problem", "method") if isinstance(raw.get(section), dict)]
    if any(":" in str(name) for name in names):
        return str(raw.get("name")), None
    try:
        text = json.dumps(raw, sort_keys=True)
    except (TypeError, ValueError, RecursionError):  # no plain data: a mistake, which is told where it is validated
        return str(raw.get("name")), None
    return str(raw.get("name")), hashlib.sha256(text.encode()).hexdigest()


def parse_duration_s(text: str) -> float:
    """Return the seconds of a duration such as 5400, 90m, 1.5h or 2d. Raises UserError for any other text."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smhd]?)", text.strip())
    if match is None or not float(match[1]) > 0:
        raise UserError(f"--time-limit must be a number above 0 of seconds, or one with m, h or d, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
