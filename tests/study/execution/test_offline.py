"""Packs trained where there is torch and numpy only, and their results taken in."""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from study import load_spec, open_study, run
from study.errors import UserError
from study.execution.offline import export_packs, import_outcomes
from study.planning.cells import baselines, replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.replicates.metric_catalogue import TIMINGS
from study.replicates.pack_files import BadFile, OutcomesFile, PacksFile
from study.trainer import main
from study.training.packs import train_pack

CHANGES = {"resources": {"pack": 3}, "axes.s": [2, 5], "method.candidates": [1, 2], "network.hidden": [3]}


@pytest.fixture
def exported(raw, tmp_path):
    path = tmp_path / "packs.npz"
    return path, export_packs(raw(CHANGES), path)


def without_timings(table):
    return table.drop(columns=list(TIMINGS))


def test_packs_and_data_come_back_as_they_were(exported):
    path, file = exported
    again = PacksFile.read(path)
    assert again.packs == file.packs
    assert again.study == file.study
    for key, task in file.tasks.items():
        for split in ("train_inputs", "train_targets", "test_inputs", "test_targets"):
            assert np.array_equal(getattr(again.tasks[key], split), getattr(task, split))


def test_outcomes_come_back_as_they_were(small, tmp_path):
    # one diverges, one fails, one has no jump: every kind of outcome
    spec = small({**CHANGES, "training.lr": None, "axes.training.lr": [0.05, 1e9]})
    pack = plan(spec, [*baselines(spec), *replicates(spec)])[0]
    broken = dataclasses.replace(pack.replicates[-1], task="none")
    pack = dataclasses.replace(pack, replicates=(*pack.replicates, broken))
    outcomes = train_pack(pack, make_tasks(spec, replicates(spec)), {})
    assert len({o.status for o in outcomes}) == 3 or {o.status for o in outcomes} >= {"failed", "finished"}
    OutcomesFile({"hash": "x"}, {pack.id: (pack, outcomes, {"torch": "2"})}).write(tmp_path / "f.npz")
    found, again, provenance = OutcomesFile.read(tmp_path / "f.npz").ended[pack.id]
    assert (found, provenance) == (pack, {"torch": "2"})
    for one, two in zip(outcomes, again, strict=True):
        for field in dataclasses.fields(one):
            own, other = getattr(one, field.name), getattr(two, field.name)
            if field.name in ("jumps", "losses"):
                own, other = dataclasses.asdict(own), dataclasses.asdict(other)
                assert own.keys() == other.keys()
                for key, value in own.items():
                    expected = np.asarray(other[key])
                    assert np.asarray(value).dtype == expected.dtype
                    assert np.array_equal(value, expected, equal_nan=expected.dtype.kind == "f"), key
            else:
                assert own == other or (own != own and other != other)


def test_outcomes_of_a_version_without_times_are_read(small, tmp_path):
    spec = small(CHANGES)
    pack = plan(spec, replicates(spec))[0]
    outcomes = train_pack(pack, make_tasks(spec, replicates(spec)), {})
    assert all(outcome.started_at > 0 for outcome in outcomes)
    OutcomesFile({"hash": "x"}, {pack.id: (pack, outcomes, {})}).write(tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays.pop("about")))
    for row in about["packs"][0]["outcomes"]:
        del row["started_at"], row["ended_at"]
    np.savez(tmp_path / "old.npz", about=np.array(json.dumps(about)), **arrays)
    again = OutcomesFile.read(tmp_path / "old.npz").ended[pack.id][1]
    assert [(each.started_at, each.ended_at) for each in again] == [(0.0, 0.0)] * len(outcomes)


def test_trained_there_and_imported_is_what_would_have_run_here(raw, exported, tmp_path, capsys):
    path, file = exported
    assert main([str(path), "--out", str(tmp_path / "f.npz")]) == 0
    assert f"all {len(file.packs)} packs have ended" in capsys.readouterr().out
    import_outcomes(tmp_path / "f.npz", tmp_path / "there")
    here = run(raw(CHANGES), tmp_path / "here", executor="inline")
    pd.testing.assert_frame_equal(
        without_timings(open_study(tmp_path / "there").table()), without_timings(here.table()), check_exact=True
    )
    # a folder of `make gpu` has the file under this name
    (tmp_path / "gpu").mkdir()
    shutil.copy(tmp_path / "f.npz", tmp_path / "gpu" / "outcomes.npz")
    assert len(import_outcomes(tmp_path / "gpu", tmp_path / "folder")[0].table()) == len(here.table())
    with pytest.raises(UserError, match=r"outcomes.npz must be a file of outcomes, but there is no such file"):
        import_outcomes(tmp_path / "folder", tmp_path / "none")
    # again changes nothing, and nothing is left to run or to export
    import_outcomes(tmp_path / "f.npz", tmp_path / "there")
    assert len(open_study(tmp_path / "there").study.get_trials()) == 8
    with pytest.raises(UserError, match="nothing is left to export"):
        export_packs(raw(CHANGES), path, done=tmp_path / "there")
    wider = export_packs(raw({**CHANGES, "axes.s": [2, 5, 9]}), path, done=tmp_path / "there")
    assert [r.parameters["s"] for pack in wider.packs for r in pack.replicates] == [9] * 4


def test_it_stops_in_time_and_goes_on(exported, tmp_path, capsys, monkeypatch):
    path, file = exported
    out = tmp_path / "f.npz"
    now = iter(range(0, 10**6, 100))
    monkeypatch.setattr("study.trainer.time.monotonic", lambda: float(next(now)))
    # each pack takes 100 s by this clock, and two readings pass between packs
    trained = []
    for _ in range(len(file.packs)):
        status = main([str(path), "--out", str(out), "--time-limit", "250"])
        trained.append(len(OutcomesFile.read(out).ended))
    assert trained == [1, 2, 3, 4]
    assert status == 0
    assert "3 of 4 packs are left; run the same command again" in capsys.readouterr().out


def test_it_needs_torch_and_numpy_only(exported, tmp_path):
    path, _ = exported
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in "ray optuna pydantic skfem pandas pyarrow yaml typer rich scipy".split():
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import runpy
sys.argv = ["trainer", {str(path)!r}, "--out", {str(tmp_path / "f.npz")!r}]
runpy.run_module("study.trainer", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "all 4 packs have ended" in done.stdout


@pytest.mark.parametrize("name", ["missing", "text", "cut", "outcomes"])
def test_a_file_that_is_something_else_is_refused(exported, tmp_path, capsys, name):
    path, _ = exported
    bad = tmp_path / f"{name}.npz"
    if name == "text":
        bad.write_text("name: quick")
    elif name == "cut":
        bad.write_bytes(path.read_bytes()[:-200])
    elif name == "outcomes":
        OutcomesFile({"hash": "x"}, {}).write(bad)
    assert main([str(bad), "--out", str(tmp_path / "f.npz")]) == 2
    assert f"study.trainer: {bad} must be a file of packs" in capsys.readouterr().err
    assert not (tmp_path / "f.npz").exists()
    with pytest.raises(UserError, match="must be a file of outcomes" if name != "outcomes" else "spec"):
        import_outcomes(bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_of_another_study_are_refused(raw, exported, tmp_path, contents, capsys):
    path, _ = exported
    out = tmp_path / "f.npz"
    main([str(path), "--out", str(out)])
    folder = tmp_path / "there"
    run(raw({**CHANGES, "training.lr": 0.01}), folder, executor="inline")
    before = contents(folder)
    with pytest.raises(UserError, match=r"training.lr"):
        import_outcomes(out, folder)
    assert contents(folder) == before
    export_packs(raw({**CHANGES, "training.lr": 0.01}), path)
    assert main([str(path), "--out", str(out)]) == 2
    assert "holds the outcomes of another study" in capsys.readouterr().err


def test_a_gpu_that_is_not_there(raw, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = tmp_path / "packs.npz"
    export_packs(raw({**CHANGES, "resources": {"gpu": 0.5}}), path)
    assert main([str(path), "--out", str(tmp_path / "f.npz")]) == 2
    assert "torch finds no CUDA device here; use --device cpu to train on the CPU" in capsys.readouterr().err
    assert main([str(path), "--out", str(tmp_path / "f.npz"), "--device", "cpu"]) == 0


def test_code_of_ones_own_neither_leaves_nor_enters(raw, exported, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="whose code a file cannot carry"):
        export_packs(raw({"problem": {"name": "problems.quadratic:Quadratic"}}), tmp_path / "own.npz")
    path, _ = exported
    out = tmp_path / "f.npz"
    main([str(path), "--out", str(out)])
    file = OutcomesFile.read(out)
    spec = json.loads(json.dumps(file.study["spec"]))
    spec["problem"]["name"] = "antigravity:Trap"
    OutcomesFile({**file.study, "spec": spec}, file.ended).write(out)
    with pytest.raises(UserError, match="importing results never runs"):
        import_outcomes(out, tmp_path / "there")
    assert "antigravity" not in sys.modules


def test_another_versions_file_is_refused(exported, tmp_path, monkeypatch):
    path, _ = exported
    monkeypatch.setattr("study.replicates.pack_files.READABLE_FORMATS", (4, 5))
    with pytest.raises(BadFile, match="must have format 4 or 5, got 3"):
        PacksFile.read(path)


def test_figure3_is_exported_for_a_gpu(tmp_path):
    spec = load_spec("figure3", ["problem.samples=40", "resources.pack=auto"])
    file = export_packs(spec, tmp_path / "p.npz")
    exported = [replicate for pack in file.packs for replicate in pack.replicates]
    rates = [replicate.recipe.lr for replicate in exported if replicate.is_baseline]
    assert (len(exported), sorted(rates)) == (386, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2])
    assert {(pack.device, pack.gpu) for pack in PacksFile.read(tmp_path / "p.npz").packs} == {("cuda", 0.25)}


@pytest.mark.parametrize("name", ["xor", "digits_conv"])
def test_a_problem_with_code_of_its_own_is_named_before_its_data_are_made(raw, tmp_path, name, dmd_study, monkeypatch):
    monkeypatch.setattr("study.execution.offline.make_tasks", None)
    spec = raw({"problem": {"name": name}, "network": None})
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    result = dmd_study("export-packs", tmp_path / "spec.yaml", "--out", tmp_path / "p.npz")
    assert result.status == 2
    message = " ".join(result.err.split())
    assert (
        f"the problem {name} of small brings a network or a loss of its own, whose code a file cannot carry" in message
    )
    assert "use `dmd-study run` there" in message
    assert not (tmp_path / "p.npz").exists()
