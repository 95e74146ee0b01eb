"""Execution of a comparison of methods: tuning, final trainings and timings, each a study of its own in one folder.

Recorded replicates are not trained again. So a comparison can go on after an interruption, or with a method added.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from study.analysis.statistics.equal_cost import Row
from study.errors import UserError
from study.execution.run import Only, run
from study.method_comparison._spec import MethodsFile
from study.method_comparison.standings import (
    PLAIN,
    PLAIN_LOWER_RATE,
    Standing,
    best_cell_within_budget,
    standing_of_method,
    standing_of_plain,
)
from study.planning.cells import baselines, replicates
from study.record import row_name
from study.replicates.keys import replicate_key
from study.specification import Spec

Train = Callable[[Spec, str, Only], Sequence[Row]]
"""Function of a spec, a subfolder, and the kind of replicates to train -> rows of these replicates, in order."""


def run_methods(
    file: MethodsFile,
    out: str | Path,
    *,
    problems: Iterable[str] = (),
    executor: Literal["ray", "inline"] = "inline",
    address: str | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Iterator[Standing]:
    """Train the replicates that a comparison lacks, and yield the standing of each method as soon as it is known.

    Args:
        file: Comparison, from `load_methods`.
        out: Folder of the comparison; each study is in ``PROBLEM/METHOD/tuning``, ``final`` or ``timed`` there.
        problems: Names of the problems to run; all by default.
        executor: ``ray`` or ``inline``, as in `study.run`.
        address: Address of a Ray cluster, as in `study.run`.
        say: Function that is told in one line which study begins.

    Yields:
        A standing for each method on each problem, in the file's order, after plain training at two learning rates.

    Raises:
        UserError: A problem is unknown, replicates failed, or `study.run` cannot run a study.
    """
    chosen = file.among(problems)

    def _train(spec: Spec, subfolder: str, only: Only) -> Sequence[Row]:
        say(subfolder)
        folder = Path(out) / subfolder
        with contextlib.closing(run(spec, folder, executor=executor, address=address, only=only)) as record:
            rows = {row_name(row): row for row in record.details()}
        wanted = [*([] if only == "cells" else baselines(spec)), *([] if only == "baselines" else replicates(spec))]
        trained = [rows[name] for name in map(replicate_key, wanted) if name in rows]
        bad = [row for row in trained if row["status"] not in ("finished", "diverged")]
        if bad or len(trained) < len(wanted):
            count = len(bad) + len(wanted) - len(trained)
            raise UserError(f"{folder}: {count} replicates failed or are missing; `dmd-study status {folder}` says why")
        return trained

    for name in chosen:
        yield from _standings_on_problem(file, name, _train)


def _standings_on_problem(file: MethodsFile, problem: str, train: Train) -> Iterator[Standing]:
    rows = train(file.plain(problem, file.problems[problem].rates, "tuning"), f"{problem}/{PLAIN}/tuning", "baselines")
    tuned, tried = best_cell_within_budget(rows, file.epochs, None)
    if tuned is None:
        raise UserError(f"problems.{problem}: plain training diverges at every one of its rates; give lower rates")
    rate = float(tuned["training.lr"])
    near = file.rates(problem, rate)
    baselines_near = train(file.plain(problem, near, "final"), f"{problem}/{PLAIN}/final", "baselines")
    plain = [row for row in baselines_near if row["cell"] == tuned]
    yield standing_of_plain(problem, tuned, tried, plain)
    if lower := [row for row in baselines_near if row["cell"] != tuned]:
        cell = lower[0]["cell"]
        yield standing_of_method(
            problem, PLAIN_LOWER_RATE, True, 1, cell, {}, final=lower, timed=[], plain=plain, budget=file.epochs
        )
    for method in file.entrants(problem):
        control, subfolder = file.methods[method].control, f"{problem}/{method}"
        spec = file.tuning(problem, method, near)
        section = spec.sections["method"]
        best, tried = best_cell_within_budget(train(spec, f"{subfolder}/tuning", "cells"), file.epochs, section)
        if best is None:
            yield Standing(problem, method, control, tried, None, {}, {})
            continue
        yield standing_of_method(
            problem,
            method,
            control,
            tried,
            best,
            section,
            final=train(file.chosen(problem, method, best, "final"), f"{subfolder}/final", "cells"),
            # a method with jumps is timed against its own steps, another method against plain training
            timed=train(
                file.chosen(problem, method, best, "timed"), f"{subfolder}/timed", "cells" if spec.jumps else "all"
            ),
            plain=plain,
            budget=file.epochs,
        )
