"""`make gpu`: what it needs, that it goes on where it stopped, and its dry form as a whole."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from study.execution.offline import export_packs, import_outcomes
from study.trainer import main as train
from tests.benchmarks.gpu._parts import PARTS

ROOT = Path(__file__).parents[2]
gpu = importlib.import_module("tests.benchmarks.gpu.__main__")
STUDY = {
    "name": "small",
    "problem": {"name": "quadratic"},
    "network": {"hidden": [3]},
    "training": {"optimizer": "sgd", "lr": 0.05, "epochs": 24},
    "method": {"name": "dmd"},
    "axes": {"m": [4, 6], "s": [2, 5], "tolerance": [1e-6]},
    "seeds": 1,
    "resources": {"pack": 3},
}
ABSENT = """
from importlib.machinery import PathFinder
find_spec = PathFinder.find_spec
absent = {absent}
def find_present(name, *where):
    return None if name.partition(".")[0] in absent else find_spec(name, *where)
PathFinder.find_spec = staticmethod(find_present)
"""


@pytest.fixture
def packs(tmp_path):
    path = tmp_path / "packs.npz"
    export_packs(STUDY, path)
    return path


@pytest.fixture
def bare(tmp_path):
    """Environment of processes that find torch and numpy only, of what the project depends on."""
    absent = "ray optuna pydantic skfem pandas pyarrow yaml typer rich scipy sklearn joblib matplotlib seaborn pytest"
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(ABSENT.format(absent=absent.split()))
    return os.environ | {"PYTHONPATH": str(tmp_path / "bare"), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def started(monkeypatch):
    """On a machine with a GPU, parts do not run, and packs are trained on the CPU.

    What is started, and exit statuses that are not 0 (None: stopped).
    """
    names, statuses = [], {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "imagined GPU")

    def run(command, limit_s):
        if command[0] == "study.trainer":
            names.append("training")
            assert command[-2:] == ["--device", "cuda"]
            return train([*command[1:-1], "cpu"]), "trained\n", 1.0
        name, values = command[1], Path(command[3])
        names.append(name)
        values.write_text(json.dumps(numbers_of(name)))
        return statuses.get(name, 0), f"a table of {name}\n", 1.0

    monkeypatch.setattr(gpu, "_run", run)
    return names, statuses


def numbers_of(name):
    return {"numbers of": name, "failed": []}


def start(packs, *options):
    return gpu.main(["--packs", str(packs), "--out", str(packs.parent / "gpu"), *options])


def test_every_part_leaves_its_numbers_and_a_page_and_is_not_run_again(packs, started):
    names, _ = started
    assert start(packs) == 0
    assert names == [*PARTS, "training"]
    out = packs.parent / "gpu"
    for name in PARTS:
        result = json.loads((out / f"{name}.json").read_text())
        assert (result["status"], result["values"]) == ("finished", numbers_of(name))
    page = (out / "gpu.md").read_text()
    assert [part.title for part in PARTS.values() if f"## {part.title}\n" not in page] == []
    assert "a table of overhead-10" in page
    assert "on one imagined GPU (" in page
    assert "5 of 5 replicates of `small` have ended (5 finished), in 2 of 2 packs" in page
    assert not list(out.glob("*.values"))
    names.clear()
    assert start(packs) == 0
    assert names == []


def test_a_part_that_fails_or_hangs_keeps_no_other_from_running_and_is_tried_again(packs, started):
    names, statuses = started
    statuses |= {"graphs": 1, "overhead-1": None}
    assert start(packs) == 1
    assert names == [*PARTS, "training"]
    page = (packs.parent / "gpu" / "gpu.md").read_text()
    assert "This part has failed: it ended with exit status 1." in page
    assert f"This part has failed: it was stopped after {PARTS['overhead-1'].limit_s:g} s." in page
    statuses.clear()
    names.clear()
    assert start(packs) == 0
    assert names == ["graphs", "overhead-1"]


def test_a_graph_that_is_wrong_is_a_failure(packs, started):
    assert start(packs) == 0
    path = packs.parent / "gpu" / "graphs.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"values": {"failed": ["adam, full batches"]}}))
    assert start(packs) == 1


def test_a_replicate_that_fails_is_a_failure(packs, started, monkeypatch):
    monkeypatch.setattr("study.training.packs.train_stack", lambda *arguments, **options: 1 / 0)
    assert start(packs) == 1
    assert "5 of 5 replicates of `small` have ended (5 failed)" in (packs.parent / "gpu" / "gpu.md").read_text()


def test_it_ends_in_time_and_goes_on(packs, started, monkeypatch):
    names, statuses = started
    clock = iter(range(0, 10**6, 20))  # 20 s from one look at the time to the next
    statuses["packs-quick"] = None
    with monkeypatch.context() as patch:
        patch.setattr(gpu.time, "monotonic", lambda: float(next(clock)))
        # the second part has 20 of its 75 s and is stopped with the run: it counts as not begun
        assert start(packs, "--time-limit", "60") == 124
    assert names == ["graphs", "packs-quick"]
    assert "Not measured yet." in (packs.parent / "gpu" / "gpu.md").read_text()
    statuses.clear()
    names.clear()
    assert start(packs) == 0
    assert names == [*list(PARTS)[1:], "training"]


def test_packs_that_are_left_are_trained_by_the_next_run(packs, started, monkeypatch):
    now = iter(range(0, 10**6, 100))
    with monkeypatch.context() as patch:
        # each pack takes 100 s by this clock, more than is left after the first
        patch.setattr("study.trainer.time", type("Clock", (), {"monotonic": lambda: float(next(now))}))
        assert start(packs, "--time-limit", "155") == 124
    page = (packs.parent / "gpu" / "gpu.md").read_text()
    assert "in 1 of 2 packs" in page
    assert start(packs) == 0
    assert "in 2 of 2 packs" in (packs.parent / "gpu" / "gpu.md").read_text()


def test_a_part_is_stopped_with_its_own_processes(tmp_path):
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {_LOCKING!r}, {str(tmp_path)!r}]).wait()"
    status, _, _ = gpu._run(["timeit", "-n1", "-r1", code], 5)
    assert status is None
    # the lock is free again once the process that held it is gone
    assert (
        subprocess.run([sys.executable, "-c", _LOCKING, tmp_path, "at once"], check=False, timeout=60).returncode == 0
    )


_LOCKING = """
import fcntl, pathlib, sys, time
file = open(pathlib.Path(sys.argv[1]) / "lock", "w")
fcntl.flock(file, fcntl.LOCK_EX)
if len(sys.argv) == 2:
    time.sleep(1000)
"""


def test_mistakes_are_told_before_anything_runs(packs, started, monkeypatch, capsys):
    names, _ = started
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = packs.parent / "gpu"
    assert start(packs) == 2
    assert "torch finds no CUDA device here. Copy this folder, with" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert start(packs.with_name("none.npz")) == 2
    assert "there is no such file. Where dmd-study is installed, `dmd-study export-packs" in capsys.readouterr().err
    assert not out.exists()
    assert names == []
    assert start(packs) == 0
    export_packs({**STUDY, "seeds": 2, "training": {**STUDY["training"], "lr": 0.01}}, packs)
    assert start(packs) == 2
    assert f"{out} holds results with study = " in capsys.readouterr().err
    assert start(packs, "--dry") == 2
    assert f"{out} holds results with dry = False, and here it is True" in capsys.readouterr().err


def test_it_needs_torch_and_numpy_only(bare):
    code = "import tests.benchmarks.gpu.__main__, sys; assert 'torch' in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("there", [True, False])
def test_make_needs_no_environment_where_the_packs_are(tmp_path, there):
    packs = tmp_path / "packs.npz"
    if there:
        packs.touch()
    options = [f"VENV={tmp_path}/none", f"GPU_PACKS={packs}", "PYTHON=python9"]
    # not as a part of the make that may run the tests, which would tell the folders that it enters
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-n", "gpu", *options], cwd=ROOT, env=alone, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == f"python9 -m tests.benchmarks.gpu --packs {packs}"
    assert (len(lines) == 1) == there
    assert there or f"{tmp_path}/none/bin/dmd-study export-packs figure3-42 --out {packs}" in lines


@pytest.mark.slow
def test_the_dry_form_runs_with_torch_and_numpy_only_and_what_it_trained_is_imported(packs, bare):
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--dry", "--packs", packs, "--out", packs.parent / "gpu"]
    done = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, check=False, timeout=480)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 of 16 checks passed" in done.stdout
    for name in PARTS:
        assert json.loads((packs.parent / "gpu" / f"{name}.json").read_text())["values"]
    record, _ = import_outcomes(packs.parent / "gpu", packs.parent / "record")
    assert "no number here means anything" in (packs.parent / "gpu" / "gpu.md").read_text()
    assert list(record.table()["status"]) == ["finished"] * 4
