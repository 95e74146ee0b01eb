"""Measure on a GPU what only a GPU shows, in 8 minutes at most: ``python -m tests.benchmarks.gpu``, or ``make gpu``.

It needs torch, numpy and this folder only. The parts of `_parts.py` run one after another, each in a process of its
own; the time that is left trains the packs of `figure3-42`, which `dmd-study export-packs figure3-42` has written. As
soon as a part ends, its numbers are in the folder ``--out``, as JSON and in ``gpu.md``. Run the same command again
until everything has ended: it goes on where it stopped. Then ``dmd-study import build/gpu`` takes what was trained.

Exit status: 0 everything has ended; 124 something is left, run it again; 1 a part has failed; 2 a mistake, which the
message explains. ``--dry`` tries everything at tiny sizes on the CPU, with a file of small packs: ``make gpu-dry``.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from study.replicates.pack_files import BadFile, OutcomesFile, PacksFile
from study.replicates.provenance import versions_and_machine
from tests.benchmarks.gpu._page import describe_training, write_page
from tests.benchmarks.gpu._parts import PARTS

ROOT = Path(__file__).parents[3]
PACKS = Path("build/figure3-42.npz")
OUT = Path("build/gpu")
TIME_LIMIT_S = 460.0
"""Eight minutes, but for the start of Python and torch."""
LEAST_S = 5.0
"""Time that must be left for a part to begin."""
SAME = ("dry", "gpu", "torch", "commit", "study")
"""Keys that must be equal for the results of two runs to stand in one folder."""


class Mistake(Exception):
    """Raised for a mistake of the user's; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has not ended yet; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description="Measure on a GPU.")
    parser.add_argument("--packs", type=Path, default=PACKS, help=f"file of dmd-study export-packs ({PACKS})")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of the results ({OUT})")
    parser.add_argument("--time-limit", type=float, metavar="S", default=TIME_LIMIT_S, help="seconds (%(default)s)")
    parser.add_argument("--dry", action="store_true", help="try everything on the CPU; the numbers mean nothing")
    chosen = parser.parse_args(arguments)
    end_s = time.monotonic() + chosen.time_limit
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running part is stopped as well
    try:
        packs = _read_packs(chosen.packs, chosen.dry)
        _open_folder(chosen.out, packs, chosen.dry)
    except Mistake as mistake:
        print(f"make gpu: {mistake}", file=sys.stderr)
        return 2
    statuses = []
    for name in PARTS:
        if _status(chosen.out, name) != "finished":
            _measure(name, chosen.out, end_s, chosen.dry)
            write_page(chosen.out)
        statuses.append(_status(chosen.out, name))
    if _status(chosen.out, "training") != "finished":
        _train(packs, chosen.packs, chosen.out, end_s, chosen.dry)
        write_page(chosen.out)
    statuses.append(_status(chosen.out, "training"))
    print(f"\nresults: {chosen.out / 'gpu.md'}; trained packs: dmd-study import {chosen.out}")
    if "left" in statuses:
        print("something is left; run the same command again")
        return 124
    return 1 if "failed" in statuses or _values(chosen.out, "graphs")["failed"] or _failed_replicates(chosen.out) else 0


def _read_packs(path: Path, dry: bool) -> PacksFile:
    if not dry and not torch.cuda.is_available():
        raise Mistake(
            f"torch finds no CUDA device here. Copy this folder, with {path}, to a machine that has one and a torch "
            f"that sees it, and run `make gpu` there (GPU_PYTHON=PYTHON chooses another Python). "
            f"`make gpu-dry` tries everything on the CPU."
        )
    try:
        return PacksFile.read(path)
    except BadFile as error:
        raise Mistake(
            f"{error}. Where dmd-study is installed, `dmd-study export-packs figure3-42 --out {path}` writes it; "
            f"--packs names another file."
        ) from error


def _open_folder(out: Path, packs: PacksFile, dry: bool) -> None:
    """Make the folder, or refuse one with results of something else."""
    about = {"dry": dry, **versions_and_machine(), "study": packs.study["hash"]}
    path = out / "machine.json"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        _write(path, about)
        return
    before = json.loads(path.read_text())
    for key in SAME:
        if before.get(key) != about[key]:
            raise Mistake(
                f"{out} holds results with {key} = {before.get(key)}, and here it is {about[key]}; "
                f"give another folder as --out, or remove this one"
            )


def _status(out: Path, name: str) -> str:
    path = out / f"{name}.json"
    return str(json.loads(path.read_text())["status"]) if path.exists() else "left"


def _values(out: Path, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / f"{name}.json").read_text())["values"]
    return values


def _failed_replicates(out: Path) -> int:
    count: int = _values(out, "training")["statuses"].get("failed", 0)
    return count


def _measure(name: str, out: Path, end_s: float, dry: bool) -> None:
    """Run one part, and write its result."""
    part, values = PARTS[name], out / f"{name}.values"
    left_s = end_s - time.monotonic()
    if left_s < LEAST_S:
        return
    print(f"\n{part.title}", flush=True)
    values.unlink(missing_ok=True)
    command = ["tests.benchmarks.gpu._parts", name, "--values", str(values.resolve()), *(["--dry"] if dry else [])]
    part_limit_s = math.inf if dry else part.limit_s
    limit_s = min(left_s, part_limit_s)
    status, printed, took_s = _run(command, limit_s)
    result: dict[str, Any] = {"printed": printed, "seconds": took_s}
    if status == 0:
        result |= {"status": "finished", "values": json.loads(values.read_text())}
    elif status is not None:
        result |= {"status": "failed", "reason": f"it ended with exit status {status}"}
    elif limit_s < part_limit_s:
        return  # the whole run is at its end: the part begins anew in the next
    else:
        result |= {"status": "failed", "reason": f"it was stopped after {part.limit_s:g} s"}
    _write(out / f"{name}.json", result)
    values.unlink(missing_ok=True)


def _train(packs: PacksFile, path: Path, out: Path, end_s: float, dry: bool) -> None:
    """Train as many packs as fit, and write how many."""
    left_s = end_s - time.monotonic()
    if left_s < LEAST_S:
        return
    print(f"\nTraining of {packs.study['spec']['name']}", flush=True)
    outcomes = out / "outcomes.npz"
    command = ["study.trainer", str(path.resolve()), "--out", str(outcomes.resolve())]
    command += ["--time-limit", f"{left_s - LEAST_S:.0f}", "--device", "cpu" if dry else "cuda"]
    status, printed, _ = _run(command, left_s)
    ended = OutcomesFile.read(outcomes).ended if outcomes.exists() else {}
    done = len(ended) == len(packs.packs)
    failed = status not in (0, 124, None)
    result = {
        "status": "finished" if done else "failed" if failed else "left",
        "printed": printed,
        "values": describe_training(packs, ended),
    }
    _write(out / "training.json", result | ({"reason": f"it ended with exit status {status}"} if failed else {}))


def _run(module: Sequence[str], limit_s: float) -> tuple[int | None, str, float]:
    """Run a module in a process; return its exit status (None: it was stopped), what it printed, and its seconds."""
    start_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a group of its own, so that its own processes are stopped with it
    )
    try:
        printed, _ = process.communicate(timeout=limit_s)
        status = process.returncode
    except subprocess.TimeoutExpired:
        _end(process)
        printed, status = process.communicate()[0], None
    finally:
        _end(process)
    print(printed, end="", flush=True)
    return status, printed, round(time.monotonic() - start_s, 1)


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _write(path: Path, values: Mapping[str, Any]) -> None:
    """Write the whole file or nothing."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values, indent=1) + "\n")
    os.replace(part, path)


if __name__ == "__main__":
    sys.exit(main())
