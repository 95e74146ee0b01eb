"""Commands that train."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from study.cli import outputs
from study.cli.console import Storage, err_console
from study.cli.signals import stop
from study.errors import UserError


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

        outputs.print_pairs(f"{loaded.name}: nothing is run", estimate(loaded))
        if time:
            outputs.print_pairs("Timed on random data of the right shape, on this machine", timing(loaded))
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
        stop(f"Stopped. What has ended is recorded in {folder}; {resume}")
    except OSError as error:
        raise UserError(f"{error}. What has ended is recorded in {folder}; when that is mended, {resume}") from error
    record = open_study(folder, storage)
    outputs.print_status(record)
    for what in (outputs.write_heatmap, outputs.write_best):
        try:
            what(record)
        except ValueError as error:
            err_console.print(f"Not written: {error}", soft_wrap=True, markup=False)
        except OSError as error:
            raise UserError(f"{error}. All replicates are recorded in {folder}; {resume}") from error
