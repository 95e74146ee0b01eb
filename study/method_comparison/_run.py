"""Running a comparison of methods: tuning, final trainings and timings, each a study of its own in the same folder.

What is recorded is not trained again, so that a comparison that was interrupted, or has got another method, goes on.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from study.analysis.statistics.equal_cost import Row
from study.errors import UserError
from study.execution.run import Only, run
from study.method_comparison._spec import MethodsFile
from study.method_comparison.standings import LOWER, PLAIN, Standing, best_cell, stand, stand_plain
from study.planning.cells import baselines, replicates
from study.record import row_name
from study.replicates.keys import replicate_key
from study.specification import Spec

Train = Callable[[Spec, str, Only], Sequence[Row]]
"""(spec, place in the folder, which of its replicates) -> their rows, in order."""


def run_methods(
    file: MethodsFile,
    out: str | Path,
    *,
    problems: Iterable[str] = (),
    executor: Literal["ray", "inline"] = "inline",
    address: str | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Iterator[Standing]:
    """Train what a comparison lacks, and tell how its methods stand, each as soon as that is known.

    Args:
        file: the comparison, as of `load_methods`.
        out: its folder; each study is in ``PROBLEM/METHOD/tuning``, ``final`` or ``timed`` there.
        problems: these alone; all by default.
        executor: as of `study.run`, and so is ``address``.
        address: see there.
        say: told in a line what begins.

    Yields:
        A standing for each method on each problem, in the file's order, plain training first, at two rates.

    Raises:
        UserError: an unknown problem, replicates that failed, or what `study.run` cannot do.
    """
    chosen = file.among(problems)

    def train(spec: Spec, where: str, only: Only) -> Sequence[Row]:
        say(where)
        folder = Path(out) / where
        with contextlib.closing(run(spec, folder, executor=executor, address=address, only=only)) as record:
            rows = {row_name(row): row for row in record.details()}
        wanted = [*([] if only == "cells" else baselines(spec)), *([] if only == "baselines" else replicates(spec))]
        found = [rows[name] for name in map(replicate_key, wanted) if name in rows]
        bad = [row for row in found if row["status"] not in ("finished", "diverged")]
        if bad or len(found) < len(wanted):
            count = len(bad) + len(wanted) - len(found)
            raise UserError(f"{folder}: {count} replicates failed or are missing; `dmd-study status {folder}` says why")
        return found

    for name in chosen:
        yield from _on_problem(file, name, train)


def _on_problem(file: MethodsFile, problem: str, train: Train) -> Iterator[Standing]:
    rows = train(file.plain(problem, file.problems[problem].rates, "tuning"), f"{problem}/{PLAIN}/tuning", "baselines")
    tuned, tried = best_cell(rows, file.epochs, None)
    if tuned is None:
        raise UserError(f"problems.{problem}: plain training diverges at every one of its rates; give lower ones")
    rate = float(tuned["training.lr"])
    near = file.rates(problem, rate)
    found = train(file.plain(problem, near, "final"), f"{problem}/{PLAIN}/final", "baselines")
    plain = [row for row in found if row["cell"] == tuned]
    yield stand_plain(problem, tuned, tried, plain)
    if lower := [row for row in found if row["cell"] != tuned]:
        cell = lower[0]["cell"]
        yield stand(problem, LOWER, True, 1, cell, {}, final=lower, timed=[], plain=plain, budget=file.epochs)
    for method in file.entrants(problem):
        control, place = file.methods[method].control, f"{problem}/{method}"
        spec = file.tuning(problem, method, near)
        section = spec.sections["method"]
        best, tried = best_cell(train(spec, f"{place}/tuning", "cells"), file.epochs, section)
        if best is None:
            yield Standing(problem, method, control, tried, None, {}, {})
            continue
        yield stand(
            problem,
            method,
            control,
            tried,
            best,
            section,
            final=train(file.chosen(problem, method, best, "final"), f"{place}/final", "cells"),
            # a method without jumps is timed against plain training, one with them against its own steps
            timed=train(
                file.chosen(problem, method, best, "timed"), f"{place}/timed", "cells" if spec.jumps else "all"
            ),
            plain=plain,
            budget=file.epochs,
        )
