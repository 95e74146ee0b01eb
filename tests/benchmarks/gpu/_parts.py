"""Parts of the measurements on a GPU, and one of them in a process: ``python -m tests.benchmarks.gpu._parts NAME``.

Each part prints a table and returns its numbers, which go into the file ``--values``. The dry form of a part runs on
the CPU at a tiny size: it shows that the part works, and its numbers mean nothing.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from study.training import stack
from tests.benchmarks import bench_overhead, bench_packs
from tests.benchmarks._setting import describe_machine
from tests.study.training import _tape
from tests.study.training.graph_checks import CHECKS

Values = Mapping[str, object]


@dataclass(frozen=True)
class Part:
    """One part of the measurements, in a process of its own."""

    title: str
    meaning: str
    """Sentence for the page that says what the table shows."""
    measure: Callable[[bool], Values]
    """(True for the dry form) -> the numbers."""
    limit_s: float
    """Time after which it is stopped on a GPU: it hangs then, or the GPU is too slow for this."""


def _check_graphs(dry: bool) -> Values:
    device = torch.device("cpu" if dry else "cuda")
    print(describe_machine(device.type))
    results = {}
    with _tapes() if dry else mock.patch.dict({}):
        for name, check in CHECKS.items():
            try:
                check(device)
                results[name] = "passed"
            except Exception as error:  # a check that fails must not keep the others from being run
                results[name] = f"{type(error).__name__}: {str(error).strip()[:500]}"
            print(f"{name}: {results[name]}", flush=True)
    failed = [name for name, result in results.items() if result != "passed"]
    print(f"{len(results) - len(failed)} of {len(results)} checks passed")
    return {"checks": results, "failed": failed}


@contextmanager
def _tapes() -> Iterator[None]:
    """Let the CPU record steps on the tape of the tests."""
    _tape.Tapes.made = []
    with mock.patch.object(stack, "GRAPHS", {"cpu": _tape.Tapes}):
        yield


def _measure_packs(preset: str, dry: bool) -> Values:
    if not dry:
        return bench_packs.main("cuda", preset)
    return bench_packs.main("cpu", "quick", stacks=(1, 2), epochs=2, repeats=1)


def _measure_overhead(width: int, dry: bool) -> Values:
    windows = (2, 8, 14, 20)
    if not dry:
        ratios = bench_overhead.main("cuda", width, windows)
    else:
        windows = (2, 5)
        ratios = bench_overhead.main("cpu", width, windows, hidden=(8, 20), steps=10)
    samples = ("all" if sample == "all" else f"1/{round(1 / sample)}" for sample in bench_overhead.SAMPLES_OF_WEIGHTS)
    names = [f"m={m}, sample {sample}" for sample in samples for m in windows]
    return dict(zip(names, ratios, strict=True))


def _packs(preset: str, limit_s: float) -> Part:
    return Part(
        title=f"Packs, network of {preset}",
        meaning="K replicates side by side against one at a time, steps as a graph against launched steps, and one "
        "process with a pack against processes that share the device (`python -m tests.benchmarks.bench_packs cuda "
        f"{preset}`).",
        measure=lambda dry: _measure_packs(preset, dry),
        limit_s=limit_s,
    )


def _overhead(width: int, title: str) -> Part:
    return Part(
        title=title,
        meaning="Time of training with jumps / without jumps, for windows of m snapshots "
        f"(`python -m tests.benchmarks.bench_overhead cuda {width}`).",
        measure=lambda dry: _measure_overhead(width, dry),
        limit_s=45,
    )


PARTS: Mapping[str, Part] = {
    "graphs": Part(
        title="CUDA graphs",
        meaning="Steps replayed as a CUDA graph against launched steps and against the CPU's, in float64, until after "
        "the first jump (`tests/study/training/graph_checks.py`).",
        measure=_check_graphs,
        limit_s=90,
    ),
    "packs-quick": _packs("quick", 75),
    "overhead-1": _overhead(1, "Overhead at the paper's width"),
    "packs-figure3": _packs("figure3", 90),
    "overhead-10": _overhead(10, "Overhead at ten times the paper's width"),
}
"""Name of a part -> the part, in the order in which they run. Their limits leave two minutes of eight for training."""


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu._parts")
    parser.add_argument("name", choices=PARTS)
    parser.add_argument("--values", type=Path, required=True)
    parser.add_argument("--dry", action="store_true")
    chosen = parser.parse_args()
    if chosen.dry:
        torch.set_num_threads(1)  # other programs then cost these small runs a share of time, not a wait everywhere
    values = PARTS[chosen.name].measure(chosen.dry)
    chosen.values.write_text(json.dumps(values))


if __name__ == "__main__":
    main()
