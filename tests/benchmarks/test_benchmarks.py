"""Every benchmark at a small size: it runs, and what it measures has sense. No number here is a promise."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from problems.pollutant import Pollutant

SMALL = Pollutant(samples=60, nodes_x=30, nodes_y=10)


def measure_overhead(main):
    ratios = main("cpu", windows=(2, 5), hidden=(8, 20), steps=10)
    # the network at its width and at 10 times that, each with two windows, and with all weights and a sample
    assert len(ratios) == 8
    assert all(0.5 < ratio < 100 for ratio in ratios)


def measure_sample(main):
    found = main(SMALL, (20, 200), samples=("all", 0.5), starts=(20,), rates=(1e-3,), horizons=(5,), tolerances=(1e-3,))
    assert found["all"] == (0, 0, 0)
    mean, low, high = found[0.5]
    assert low < mean < high
    assert abs(mean) < 1  # of a logarithm; measured 0.002


def measure_jump(main):
    found = main(SMALL, (20, 40), start=60, m=8, sizes=(1000, 1 << 20), windows=(2, 8), nodes=30, repeats=3)
    assert all(np.isfinite(value) and value > 0 for name, value in found.items() if name != "nodes_difference")
    assert found["jump_error"] < 1e-5  # float32 weights moved by 1e-2 of their size: measured 6e-8
    assert found["pydmd_float64_error"] < 1e-9  # the same formula in float64; measured 1e-13
    assert found["error whole, float32"] < found["error moves, float16"] < found["error moves, bfloat16"] < 0.1
    assert found["nodes_difference"] < 1e-6  # of weights of size 1, in float32
    assert found["nodes_times"] > 2  # measured 60
    assert found["ms n=1048576 m=8"] > found["ms n=1000 m=8"]
    assert 4 * 8 * (1 << 20) * 0.9 < found["peak_bytes"] < found["bound_bytes"]


def measure_accuracy(main):
    errors = main(SMALL, (20, 40), windows=(2, 8), horizons=(5, 55), starts=(20, 60))
    judged = [error for found in errors.values() for error in found if error is not None]
    assert len(errors) == 7
    assert all(len(found) == 8 for found in errors.values())
    assert len(judged) > 20
    assert max(judged) < 1e-3  # the promise; measured 1e-6


def measure_dataset(main):
    assert main(8) > 0


def measure_cluster(main):
    found = main(epochs=40, recorded=4, packs=16, sizes=(1, 2))
    assert found["data_bytes"] == pytest.approx(1000 * 2676 * 8, rel=0.01)  # float64; the rest is names
    assert found["result_bytes m=2"] > found["result_bytes m=14"] > 0
    assert all(0 < found[f"record_ms pack={size}"] < 10_000 for size in (1, 2))
    assert found["driver_ms"] < 10_000


def measure_packs(main):
    found = main("cpu", "quick", stacks=(1, 4), epochs=20, repeats=1)
    assert set(found) == {f"cpu quick {what}" for what in ("K=1", "K=4", "processes", "predicted/actual")}
    assert all(0.05 < value < 100 for value in found.values())


def measure_probe(main):
    found = main({"axes.m": [5, 14], "axes.s": [2, 10, 40], "axes.tolerance": [1e-3], "training.epochs": 60})
    assert found["operations"] > 1  # six trainings against one
    assert found["seconds"] > 0
    assert -1 <= found["correlation 0.001"] <= 1


def measure_scale(main):
    measured = main(cells=16, short=12, short_s=0.05, long=4, long_s=0.5, cpus=2)
    assert 0 < measured["plan_s"] < 600
    assert measured["look_s"] > measured["open_s"] + measured["missing_s"] + measured["heatmap_s"]
    assert measured["files"] < 12  # fewer than replicates, also with the figures, the report and best.yaml
    assert measured["driver_mb"] > 50
    assert measured["long_percent"] > -1  # a sleep is not shorter than it says, but for the clock's steps


def measure_koopman(main):
    found = main(nodes=200, m=300, s=20, repeats=2)
    assert found["loop_times"] > 5  # measured 30 with 1000 nodes
    assert found["authors_times"] > 0.5
    assert found["difference"] < 1e-6  # measured 4e-13
    assert found["ahead_times"] > found["ahead_times with recording"] > 0


def measure_mgrit(main):
    found = main(steps=(64, 256), repeats=1)
    assert len(found) == 2 * 2 * 7
    assert all(value < 1e-6 for name, value in found.items() if name.endswith("error"))  # residuals of 1e-9 sqrt(N)
    assert all(0 < value < 1000 for name, value in found.items() if not name.endswith("error"))


def measure_products(main):
    few = {"axes.m": [5], "axes.s": [5], "seeds": 1, "training.epochs": 30}
    found = main((((8, 20), 30, 40, 1), ((8, 20), 30, 40, 3)), steps=3, epochs=20, repeats=1, overrides=few)
    assert found["torch 8-20 K=1"] == found["torch training"] == 1
    for kind in ("onednn", "bf16"):
        assert all(0.01 < found[f"{kind} {what}"] < 100 for what in ("8-20 K=1", "8-20 K=3", "training"))
        assert 0.1 < found[f"{kind} mean_relative_error_train 0.001"] < 10
    assert 0 < found["seconds to choose"] < 30
    assert abs(found["loss onednn"]) < 1e-3  # roundings over 20 epochs; measured below 1e-6
    assert 0 < abs(found["loss bf16"]) < 0.5  # measured 1e-3


def measure_search(main):
    found = main({"random": 4, "tpe": 2}, metrics=("mean_relative_error",), at_once=(5,), epochs=20, trained=5)
    assert found["mean_relative_error grid"] == 210  # the 70th cell of the recorded grid, in its own order
    assert 3 <= found["mean_relative_error random"] <= 336
    assert 3 <= found["mean_relative_error tpe"] <= 336
    assert 15 <= found["mean_relative_error tpe x5"] <= 336  # the first five cells, with three seeds each
    assert all(0 < found[f"ms x{together}"] < 10_000 for together in (1, 5))


def measure_starting(main):
    found = main(repeats=1, epochs=20, sweep=False)
    assert all(0.05 < seconds < 100 for seconds in found.values())
    assert found["--help"] < found["status"] < found["status, anew"]  # measured 0.2, 0.5 and 1.7 s
    assert found["run"] < found["run, anew"]  # measured 0.6 and 6 s


def measure_by_hand(main):
    found = main({"m": [5], "s": [2, 5], "tolerance": [1e-3], "seed": [0]}, epochs=20, repeats=1)
    assert found["loop processor"] == found["loop wall"] == 1
    times = [found[f"{name} {time}"] for name in ("Ray Tune", "dmd-study") for time in ("processor", "wall")]
    assert all(0 < each < 100 for each in times)
    assert found["Ray Tune difference"] == 0  # the same program in another process
    assert found["dmd-study difference"] < 1e-5  # float32 roundings of 20 steps; measured 0


MEASURES = {
    "bench_by_hand": measure_by_hand,
    "bench_starting": measure_starting,
    "bench_search": measure_search,
    "bench_products": measure_products,
    "bench_mgrit": measure_mgrit,
    "bench_koopman": measure_koopman,
    "bench_scale": measure_scale,
    "bench_packs": measure_packs,
    "bench_probe": measure_probe,
    "bench_overhead": measure_overhead,
    "bench_sample": measure_sample,
    "bench_jump": measure_jump,
    "bench_accuracy": measure_accuracy,
    "bench_cluster": measure_cluster,
    "bench_dataset": measure_dataset,
}


def test_every_benchmark_is_run_here():
    files = {path.stem for path in Path(__file__).parent.glob("bench_*.py")}
    assert files == set(MEASURES)


@pytest.fixture
def _one_thread():
    """Other programs then cost these small runs their share of time, and not a wait at every operation."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("name", MEASURES)
def test_it_runs_and_its_numbers_have_sense(name, capsys):
    MEASURES[name](importlib.import_module(f"tests.benchmarks.{name}").main)
    printed = capsys.readouterr().out
    assert printed.startswith("machine: ")
    assert len(printed.splitlines()) > 3
