"""`dmd-study run` against what a user would write: ``python -m tests.benchmarks.bench_by_hand [--whole] [REPEATS]``.

Three programs make the heatmap of the preset `quick`, or about a tenth of it (36 of 336 replicates):

* `tests/benchmarks/by_hand/sequential.py`: a loop over the cells, and PyDMD;
* `tests/benchmarks/by_hand/ray_tune.py`: the same with Ray Tune (actors are reused) and an Optuna study as the record;
* `dmd-study run quick` on the same cells. It also trains one baseline a seed, judges by test losses as well, and writes
  the report and best.yaml.

Data, network, initial weights, optimiser (fused Adam), epochs, seeds and cells are the same, and data are made
beforehand. The three alternate. Printed are medians of processor time (of a command with all its descendants) and of
wall time; every process has one thread. The goal is a processor time of at most 0.6 of the loop's at a tenth, and 0.35
on the whole grid.

The heatmaps are compared cell by cell, as means over seeds. PyDMD decomposes float64 snapshots; accel does the same in
another order, and adds up the products of a stack in another order. Training enlarges such roundings in cells whose
jumps raise the loss; so only cells with an error below 1 must agree, within `CALM_TOLERANCE`.
"""

import argparse
import csv
import json
import os
import secrets
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from study import load_spec, open_study
from tests.benchmarks._processor_time import measure_command
from tests.benchmarks._setting import describe_machine

TENTH = {"m": [5, 14], "s": [2, 10, 40], "tolerance": [1e-3, 1e-6], "seed": [0, 1, 2]}
"""Axes of about a tenth of the grid of `quick`: calm and wild cells, at both tolerances."""
CALM_TOLERANCE = 0.02
"""Largest relative difference of a cell below 1; measured 6e-4 at a tenth, 5e-3 on the whole grid."""

Heatmap = dict[tuple[float, ...], float]
"""(m, s, tolerance) -> mean over seeds of the mean relative error."""


def main(
    grid: Mapping[str, Sequence[float]] | None = None, epochs: int | None = None, repeats: int = 3
) -> dict[str, float]:
    """Print the table.

    Args:
        grid: values of m, s, tolerance and seed; ``TENTH`` by default.
        epochs: epochs of a training; those of `quick` by default.
        repeats: runs of each program.

    Returns:
        Processor and wall time of each program over the loop's, and the largest difference of calm cells.

    Raises:
        AssertionError: the heatmaps differ by more than roundings explain.
    """
    print(describe_machine())
    grid = TENTH if grid is None else grid
    with tempfile.TemporaryDirectory(prefix="dmds") as place:
        study = _write_study(Path(place), grid, epochs)
        times, heatmaps = _run_in_turn(Path(place), study, repeats)
    print(f"{np.prod([len(values) for values in grid.values()])} replicates, median of {repeats}")
    print("                      processor s   wall s   processor / loop   wall / loop")
    found = {}
    medians = {name: np.median(measured, axis=0) for name, measured in times.items()}
    for name, (processor_s, wall_s) in medians.items():
        processor, wall = medians[name] / medians["loop"]
        print(f"{name:20} {processor_s:12.1f} {wall_s:8.1f} {processor:18.2f} {wall:13.2f}")
        found |= {f"{name} processor": float(processor), f"{name} wall": float(wall)}
    for name in ("Ray Tune", "dmd-study"):
        found[f"{name} difference"] = _compare(name, heatmaps["loop"], heatmaps[name])
    return found


def _write_study(folder: Path, grid: Mapping[str, Sequence[float]], epochs: int | None) -> Path:
    """Write the data and what the programs by hand need to know."""
    spec = load_spec("quick")
    data = spec.problem({}).data()
    np.savez(folder / "data.npz", inputs=data.train_inputs, targets=data.train_targets)
    study = {
        "data": str(folder / "data.npz"),
        "grid": {name: list(values) for name, values in grid.items()},
        "hidden": spec.sections["network"]["hidden"],
        "epochs": epochs or spec.sections["training"]["epochs"],
    }
    path = folder / "study.json"
    path.write_text(json.dumps(study))
    return path


def _run_in_turn(
    place: Path, study: Path, repeats: int
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, Heatmap]]:
    """Run the programs in turn; return (processor, wall) seconds of each run, and the last heatmaps."""
    by_hand = "tests.benchmarks.by_hand"
    commands = {
        "loop": [f"{by_hand}.sequential", str(study), "."],
        "Ray Tune": [f"{by_hand}.ray_tune", str(study), "."],
        "dmd-study": ["study.cli", *_arguments(json.loads(study.read_text()))],
    }
    (place / "token").write_text(secrets.token_hex(32))
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
        "RAY_TMPDIR": str(place),
        "RAY_AUTH_TOKEN_PATH": str(place / "token"),
    }
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    heatmaps = {}
    for repeat in range(repeats):
        for name, command in commands.items():
            folder = place / f"{name} {repeat}".replace(" ", "-")
            folder.mkdir()
            times[name].append(measure_command([sys.executable, "-m", *command], folder, environment))
            heatmaps[name] = _read_ours(folder / "study") if name == "dmd-study" else _read(folder / "heatmap.csv")
    return times, heatmaps


def _arguments(study: Mapping) -> list[str]:
    """Arguments of `dmd-study` for the same replicates, with plain training at the spec's own rate only."""
    axes, seeds = dict(study["grid"]), study["grid"]["seed"]
    del axes["seed"]
    changes = [f"axes.{axis}={json.dumps(values)}" for axis, values in axes.items()]
    changes += [f"seeds={json.dumps(seeds)}", f"training.epochs={study['epochs']}", "baseline={}", "confirm=0"]
    return ["run", "quick", "--out", "study", "--no-timing", *(word for each in changes for word in ("--set", each))]


def _read(path: Path) -> Heatmap:
    with path.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return _mean_by_cell((row["m"], row["s"], row["tolerance"], row["error"]) for row in rows)


def _read_ours(folder: Path) -> Heatmap:
    table = open_study(folder).table()
    columns = ["m", "s", "tolerance", "mean_relative_error_train"]
    return _mean_by_cell(table[columns].itertuples(index=False, name=None))


def _mean_by_cell(rows) -> Heatmap:
    cells = defaultdict(list)
    for *cell, error in rows:
        cells[tuple(cell)].append(error)
    return {cell: float(np.mean(errors)) for cell, errors in cells.items()}


def _compare(name: str, loop: Heatmap, other: Heatmap) -> float:
    """Print and return the largest relative difference of the cells below 1."""
    assert loop.keys() == other.keys(), f"the heatmap of {name} has other cells than the loop's"
    differences = {cell: abs(other[cell] / error - 1) if np.isfinite(error) else 0.0 for cell, error in loop.items()}
    calm = max((differences[cell] for cell, error in loop.items() if error < 1), default=0.0)
    close = sum(difference <= CALM_TOLERANCE for difference in differences.values())
    print(
        f"heatmap of {name}: cells below 1 differ from the loop's by at most {calm:.1e}, "
        f"{close} of all {len(loop)} cells by at most {CALM_TOLERANCE:.0%}"
    )
    assert calm <= CALM_TOLERANCE, f"calm cells of {name} must agree with the loop's within {CALM_TOLERANCE:.0%}"
    return calm


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("repeats", nargs="?", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="the whole grid of quick")
    chosen = parser.parse_args()
    whole = load_spec("quick")
    main({**whole.axes, "seed": whole.seeds} if chosen.whole else None, repeats=chosen.repeats)
