"""Processor time of commands that train nothing: ``python -m tests.benchmarks.bench_starting [FOLDER]``.

Without a folder, the study ``quick`` is trained first, in this process, for 40 epochs: as many rows as in
``results/quick``, with shorter curves. Each command runs in a process of its own, on one thread, all commands in turn;
printed is the median of five, user and system time together. ``run`` has nothing left to do. ``status, anew`` and
``run, anew`` find no results that are kept, as while a study runs.

Then a sweep on Ray, with data that are made already: wall time from the data to the start of the first pack's training.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from study import run
from study.record._kept import FILE
from tests.benchmarks._setting import describe_machine

TARGETS = {"--help": 0.2, "status": 0.8, "run": 1.5, "heatmap": 2.5}
"""Processor seconds that a command may take."""
FIRST_PACK_S = 5.0
"""Seconds from the data to the first pack that a sweep on Ray may take."""
ANEW = ", anew"
COMMANDS = ("--help", "status", "status, anew", "run", "run, anew", "table", "best", "heatmap", "report")

_SWEEP = """
import sys
import time
import study.execution.run as sweep

made, make_tasks = [], sweep.make_tasks

def noted(*arguments):
    tasks = make_tasks(*arguments)
    made.append(time.time())
    return tasks

sweep.make_tasks = noted
record = sweep.run("quick", sys.argv[1], overrides=sys.argv[2:], timing=False)
print("FIRST", min(row["started_at"] for row in record.details()) - made[0])
"""


def main(folder: str | None = None, repeats: int = 5, epochs: int = 40, sweep: bool = True) -> dict[str, float]:
    """Print the processor time of every command beside its target.

    Args:
        folder: folder of the study ``quick``, which is run already; None to train it.
        repeats: number of times that each command runs.
        epochs: epochs of the study that is trained.
        sweep: time the start of a sweep on Ray as well.

    Returns:
        Median processor seconds by command; ``first pack``: seconds until a sweep's first pack starts.
    """
    print(describe_machine())
    with tempfile.TemporaryDirectory() as place:
        overrides = [] if folder else [f"training.epochs={epochs}"]
        study = Path(folder or Path(place) / "quick")
        if folder is None:
            run("quick", study, executor="inline", overrides=overrides)
        arguments = {
            "--help": ["--help"],
            "run": ["run", "quick", "--out", str(study), *(part for text in overrides for part in ("--set", text))],
        }
        found = _measure(COMMANDS, arguments, study, repeats)
        for name, seconds in found.items():
            target = TARGETS.get(name)
            print(f"{name:14} {seconds:6.2f} s of processor time" + (f" (target {target})" if target else ""))
        if sweep:
            found["first pack"] = _first_pack(Path(place) / "sweep")
            print(f"first pack     {found['first pack']:6.2f} s after the data, wall time (target {FIRST_PACK_S})")
    return found


def _measure(commands: Sequence[str], arguments: dict[str, list[str]], study: Path, repeats: int) -> dict[str, float]:
    """Median processor seconds of each command; the first round, which fills caches, does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(repeats + 1):
        for name in commands:
            plain = name.removesuffix(ANEW)
            if plain != name:
                (study / FILE).unlink(missing_ok=True)
            elif not (study / FILE).exists():
                _processor_s(arguments["run"])
            spent = _processor_s(arguments.get(plain, [plain, str(study)]))
            seconds[name] += [spent] if repeat else []
    return {name: statistics.median(spent) for name, spent in seconds.items()}


def _processor_s(arguments: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "study.cli", *arguments]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _first_pack(out: Path) -> float:
    short = ["training.epochs=20", "axes.s=[2]", "seeds=1", "confirm=0"]
    command = [sys.executable, "-c", _SWEEP, str(out), *short]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.rpartition("FIRST ")[2])


if __name__ == "__main__":
    main(*sys.argv[1:2])
