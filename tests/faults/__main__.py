"""Injects every kind of fault into a sweep, and into plain Ray Tune: ``python -m tests.faults [FOLDER]``.

Writes FOLDER/faults.csv and a page after each of the twelve, and goes on after those that are there. FOLDER is
results/faults by default, and its page is docs/results/faults.md; the page of another is FOLDER/faults.md.
Takes about an hour.
"""

import platform
import sys
import tempfile
from collections.abc import Callable, Hashable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import pandas as pd

from study.method_comparison.standings_text import markdown
from study.replicates.provenance import provenance
from study.replicates.replicate import Pack
from tests.faults import _faults
from tests.faults._faults import Result
from tests.faults._nodes import Nodes
from tests.faults._sweep import PlainTune, Sweep

FOLDER, PAGE = Path("results/faults"), Path("docs/results/faults.md")
DRIVER_KILLS, WORKER_KILLS = 20, 5
TEXT = """\
# faults

Made by `python -m tests.faults` at commit {commit} on {cores} cores of {processor} ({system}), Python {python}, Ray
{ray}, torch {torch}, no GPU; other programs may have run at the same time: counts are the result, times are rough.

Each line is one sweep of replicates that take {nap_s:g} s, on a Ray cluster of two CPUs. SIGKILL injects the faults.
It ends the driver at random moments (while it starts, trains or records; the same command then starts it again), a
process that trains, the process that runs a node (raylet), or a whole node, which another one then replaces.

{table}

* **lost**: replicates without a result at the end.
* **trained twice**: trainings that began although the same training had already ended. In a sweep these are packs that
  had ended but were not recorded yet, or packs in which some replicates had ended.
* **cut short**: trainings that a fault interrupted, and that began again.
* **recovered after**: time from a fault to the first training that began after it; median, and worst. For the driver it
  includes the start; after the loss of a worker or node, the training is by a worker started after it.

"plain Tune" is the same work with one Tune trial per replicate and `max_failures=2`, continued by `Tuner.restore`
(`tests/faults/_plain_tune.py`). Its results are those in the `ResultGrid` at the end.
"""


def main(to: Path = FOLDER) -> None:
    """Inject all faults and write the table."""
    lines = pd.read_csv(to / "faults.csv").to_dict("records") if (to / "faults.csv").exists() else []
    for name, pack in (("sweep, packs of 1", 1), ("sweep, packs of 5", 5), ("plain Tune", 0)):
        for kind, inject in FAULTS.items():
            if any((line["fault"], line["in"]) == (kind, name) for line in lines):
                continue
            with tempfile.TemporaryDirectory(prefix="dmdf") as folder:
                line: dict[Hashable, Any] = {"fault": kind, "in": name, **_line(inject(Path(folder), pack))}
            print(line, flush=True)
            lines.append(line)
            _write(lines, to)


def _write(lines: list[dict[Hashable, Any]], to: Path) -> None:
    frame = pd.DataFrame(lines).sort_values("fault", key=lambda kinds: kinds.map(list(FAULTS).index), kind="stable")
    to.mkdir(parents=True, exist_ok=True)
    frame.to_csv(to / "faults.csv", index=False)
    said = provenance(Pack("faults", (), 1, "cpu"))
    text = TEXT.format(
        table=markdown(list(frame.columns), frame.astype(str).values.tolist()),
        nap_s=NAP_S,
        ray=version("ray"),
        cores=joblib.cpu_count(),
        processor=said["processor"],
        system=platform.system(),
        **{key: said[key] for key in ("commit", "python", "torch")},
    )
    (PAGE if to == FOLDER else to / "faults.md").write_text(text)


NAP_S = 1.0


def _make(folder: Path, cells: int, pack: int, nodes: Nodes) -> Sweep:
    if pack == 0:
        return PlainTune(folder, cells, NAP_S, 1, nodes.environment, (nodes.address,))
    return Sweep(folder, cells, NAP_S, pack, nodes.environment, ("--address", nodes.address))


def _on_one_node(folder: Path, cells: int, pack: int, inject: Callable[[Sweep], Result]) -> Result:
    nodes = Nodes(head_cpus=2)
    sweep = _make(folder, cells, pack, nodes)
    try:
        return inject(sweep)
    finally:
        sweep.stop()
        nodes.stop()


def _driver(folder: Path, pack: int) -> Result:
    return _on_one_node(folder, 150, pack, lambda sweep: _faults.kill_driver(sweep, DRIVER_KILLS, seed=1))


def _worker(folder: Path, pack: int) -> Result:
    return _on_one_node(folder, 120, pack, lambda sweep: _faults.kill_workers(sweep, WORKER_KILLS, seed=1))


def _lose(kind: str) -> Callable[[Path, int], Result]:
    def inject(folder: Path, pack: int) -> Result:
        nodes = Nodes(head_cpus=0)
        numbers = [nodes.add(), nodes.add()]
        sweep = _make(folder, 60, pack, nodes)
        try:
            return _faults.lose_node(sweep, nodes, numbers[0], kind)
        finally:
            sweep.stop()
            nodes.stop()

    return inject


FAULTS: dict[str, Callable[[Path, int], Result]] = {
    "driver killed": _driver,
    "worker killed": _worker,
    "raylet killed": _lose("raylet killed"),
    "node removed": _lose("node removed"),
}


def _line(result: Result) -> dict[Hashable, Any]:
    return {
        "injected": result.injected,
        "lost": result.lost,
        "trained twice": result.trained_twice,
        "cut short": result.begun_again,
        "recovered after": f"{median(result.recover_s):.1f} s, {max(result.recover_s):.1f} s",
    }


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:2]))
