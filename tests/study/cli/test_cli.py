import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points

import pandas as pd
import pytest
import yaml

from study import cli, open_study, run
from study.cli import results
from study.specification import presets

SPEC = """\
name: small
problem: {name: quadratic}
network: {hidden: []}
training: {optimizer: sgd, lr: 0.05, epochs: 24}
axes: {m: [4, 6], s: [2, 5], tolerance: [1e-6, 1e-3]}
seeds: 1
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory with a spec in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


@pytest.fixture
def no_pictures(monkeypatch):
    """Leave out what takes the longest, where it is not what is tested."""
    monkeypatch.setattr("study.cli.results.heatmap", lambda record, data: [])
    monkeypatch.setattr("study.cli.results.report", lambda record, data: [])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A study that has been run; commands that write are given a folder elsewhere."""
    folder = tmp_path_factory.mktemp("study") / "out"
    run(yaml.safe_load(SPEC), folder, executor="inline")
    return folder


def test_the_console_script_is_this():
    (script,) = (e for e in entry_points(group="console_scripts") if e.name == "dmd-study")
    assert script.load() is cli.main


# bad input


NO_STUDY = "holds no study: `dmd-study run SPEC --out "
BAD = {
    "unknown preset": (["run", "figure9"], ["figure9: a mistake", f"presets are {', '.join(presets())}"]),
    "unknown command": (["walk"], ["No such command 'walk'"]),
    "unknown option": (["run", "quick", "--fast"], ["No such option", "--fast"]),
    "unknown executor": (["run", "spec.yaml", "--executor", "slurm"], ["executor must be ray or inline, got 'slurm'"]),
    "ray client": (["run", "spec.yaml", "--address", "ray://head:1"], ["must not be that of a Ray Client, got ray://head:1"]),
    "no cluster": (["run", "spec.yaml", "--address", "127.0.0.1:1"], ["no Ray cluster at 127.0.0.1:1: "]),
    "a limit of what": (["run", "spec.yaml", "--time-limit", "soon"], ["--time-limit must be a number", "got 'soon'"]),
    "read-only": (["run", "spec.yaml", "--executor", "inline", "--out", "/proc/x"], ["/proc/x cannot be written to: "]),
    "template for what": (["cluster-template", "pbs"], ["must be one of slurm, kuberay, ray-up, compose, got 'pbs'"]),
    "template too small": (
        ["cluster-template", "slurm", "spec.yaml", "--set", "resources.cpu=4", "--cpus", "2"],
        ["must have what a pack asks for, 4 CPU and 0 GPU, got 2 and 0"],
    ),
    "no driver": (
        ["run", "spec.yaml", "--executor", "inline", "--storage", "mysql://me:hunter2@127.0.0.1/x"],
        ["MySQLdb"],
    ),
    "m below 2": (["run", "spec.yaml", "--set", "axes.m=[1]"], ["m[0]: must be greater than or equal to 2, got 1"]),
    "s below 1": (["run", "spec.yaml", "--set", "axes.s=[0]"], ["s[0]: must be greater than or equal to 1, got 0"]),
    "tolerance 1": (["run", "spec.yaml", "--set", "axes.tolerance=[1]"], ["tolerance[0]: must be less than 1, got 1"]),
    "empty axis": (["run", "spec.yaml", "--set", "axes.m=[]"], ["axes.m: must hold at least one value, got none"]),
    "duplicate": (["run", "spec.yaml", "--set", "axes.m=[4,4]"], ["axes.m: must not repeat a value, got 4 twice"]),
    "epochs below m": (["run", "spec.yaml", "--set", "training.epochs=5"], ["window m = 6", "no jump would happen"]),
    "unknown key": (["run", "spec.yaml", "--set", "training.learning=1"], ["training.learning: unknown key", "lr"]),
    "unknown problem": (["run", "spec.yaml", "--set", "problem.name=fluid"], ["unknown problem 'fluid'", "pollutant"]),
    "two mistakes": (["run", "spec.yaml", "--set", "seeds=0", "--set", "axes.m=[]"], ["2 mistakes", "seeds:", "m:"]),
    "broken override": (["run", "spec.yaml", "--set", "axes.m=[1"], ["axes.m=[1: not valid YAML"]),
    "broken YAML": (["run", "broken.yaml"], ["broken.yaml: a mistake", "not valid YAML", "line 1"]),
    "unsafe YAML": (["run", "unsafe.yaml"], ["not valid YAML: could not determine a constructor for the tag"]),
    "a name that leaves the folder": (["run", "spec.yaml", "--set", "name=../up"], ["name: must be", "got '../up'"]),
    "a dry run of nonsense": (["run", "spec.yaml", "--dry-run", "--set", "seeds=0"], ["seeds: must be"]),
    "time alone": (["run", "spec.yaml", "--time"], ["--time belongs to --dry-run"]),
    "out below a file": (["run", "spec.yaml", "--executor", "inline", "--out", "spec.yaml/x"], ["cannot be written"]),
    "out a file": (["run", "spec.yaml", "--executor", "inline", "--out", "spec.yaml"], ["cannot be written to"]),
    "no storage": (
        ["run", "spec.yaml", "--executor", "inline", "--storage", "postgresql://me:hunter2@127.0.0.1:1/x"],
        ["the storage could not be opened"],
    ),
    "status of nothing": (["status", "nowhere"], ["nowhere " + NO_STUDY]),
    "table of nothing": (["table", "."], [NO_STUDY]),
    "heatmap of nothing": (["heatmap", "spec.yaml"], [NO_STUDY]),
    "best of nothing": (["best", "x" * 5000], [NO_STUDY]),
    "dashboard of nothing": (["dashboard", "nowhere"], [NO_STUDY]),
    "table to what": (["table", "nowhere", "--to", "x.xlsx"], ["--to must end in .csv or .parquet, got x.xlsx"]),
    "problem without figures": (["problem", "quadratic", "--figures", "f"], ["pollutant only, got 'quadratic'"]),
    "check of nothing": (["check", "nowhere:Mine"], ["'nowhere:Mine' could not be imported"]),
    "check of what": (["check", "os:path"], ["must be a dataclass"]),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "expected"), BAD.values(), ids=BAD)
def test_bad_input_ends_with_status_2_and_a_message_and_leaves_nothing(dmd_study, here, contents, arguments, expected):
    (here / "broken.yaml").write_text("name: [1")
    (here / "unsafe.yaml").write_text("name: !!python/object/apply:os.mkdir [made]")
    before = contents(here)
    result = dmd_study(*arguments)
    assert result.status == 2
    assert result.out == ""
    for text in expected:
        assert text in result.err
    assert "Traceback" not in result.err
    assert "hunter2" not in result.err
    assert contents(here) == before


READ_BAD = {
    "unknown metric": (["heatmap", "--metric", "speed"], ["speed", "mean_relative_error", "final_loss_ratio"]),
    "unknown x": (["heatmap", "--x", "width"], ["width", "tolerance"]),
    "at nowhere": (["heatmap", "--at", "tolerance=0.5"], ["tolerance", "0.5"]),
    "at what": (["best", "--at", "tolerance"], ["--at tolerance: must be AXIS=VALUE"]),
    "at broken": (["best", "--at", "m=[4"], ["--at m=[4: not valid YAML"]),
    "no such folder for a table": (["table", "--to", "no/such/t.csv"], ["no/such/t.csv cannot be written"]),
    "a file in the way of figures": (["heatmap", "--to", "spec.yaml"], ["spec.yaml"]),
    "a port that cannot be": (["dashboard", "--port", "70000"], ["cannot listen on 127.0.0.1:70000: ", "0-65535"]),
}


@pytest.mark.parametrize(("arguments", "expected"), READ_BAD.values(), ids=READ_BAD)
def test_bad_questions_to_a_study_too(dmd_study, recorded, here, contents, arguments, expected):
    before = contents(here), contents(recorded)
    result = dmd_study(arguments[0], recorded, *arguments[1:])
    assert result.status == 2
    assert result.out == ""
    for text in expected:
        assert text in result.err
    assert "Traceback" not in result.err
    assert (contents(here), contents(recorded)) == before


def test_another_study_in_the_folder(dmd_study, recorded, here, contents):
    before = contents(recorded)
    for changes, expected in (
        (["--set", "training.epochs=25"], "training.epochs: 24 recorded, 25 now"),
        (["--set", "name=other"], "holds the study 'small', not 'other'"),
    ):
        result = dmd_study("run", "spec.yaml", "--executor", "inline", "--out", recorded, *changes)
        assert (result.status, result.out) == (2, "")
        assert expected in result.err
    assert contents(recorded) == before


# dry runs


def test_a_dry_run_imports_nothing_heavy_and_makes_no_data(here, contents):
    before = contents(here)
    code = """
import sys
from study.cli import main
sys.argv = ["dmd-study", "run", "figure3", "--dry-run"]
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # torch comes with accel, whose rules and options say which keys a method has
    heavy = {"ray", "optuna", "pandas", "skfem", "scipy", "matplotlib", "seaborn", "pyarrow", "sqlalchemy"}
    assert not heavy & set(done.stderr.split())
    assert "numpy" in done.stderr.split()  # the list is one of modules
    for text in ("380 (19 m x 20 s x 1 tolerance)", "155,760", "17.9 PFLOP"):
        assert text in done.stdout
    assert contents(here) == before


def test_a_timed_dry_run_trains_on_random_data_and_leaves_nothing(dmd_study, here, contents, monkeypatch):
    from problems.quadratic import Quadratic

    def refuse(*arguments):
        raise AssertionError("data were made")

    monkeypatch.setattr(Quadratic, "data", refuse)
    before = contents(here)
    result = dmd_study("run", "spec.yaml", "--dry-run", "--time")
    assert (result.status, result.err) == (0, "")
    for text in ("nothing is run", "one step", "one jump at m = 4", "one jump at m = 6", "all replicates"):
        assert text in result.out
    assert contents(here) == before


# a study from beginning to end


def test_run_twice(dmd_study, here, contents, monkeypatch):
    first = dmd_study("run", "spec.yaml", "--executor", "inline")
    assert first.status == 0, first.err
    folder = here / "results" / "small"
    assert first.out.startswith("small: 8 replicates: 8 finished\n")
    assert "replicates 9/9" in first.err
    assert first.out.splitlines()[-1] == str(open_study(folder).answer())
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {"heatmap.png", "heatmap.svg", "heatmap.pdf", "heatmap.csv"}
    for name in ("best.yaml", *(f"figures/{n}" for n in names)):
        assert (folder / name).stat().st_size > 0
        assert os.path.join("results", "small", name) in first.out
    record = open_study(folder)
    before, table = contents(folder / "packs"), record.table()

    def refuse(*arguments):
        raise AssertionError("something was trained")

    monkeypatch.setattr("study.training.packs.train_pack", refuse)
    second = dmd_study("run", "spec.yaml", "--executor", "inline")
    assert second.status == 0, second.err
    assert second.out == first.out
    assert second.err == ""
    assert contents(folder / "packs") == before
    pd.testing.assert_frame_equal(open_study(folder).table(), table)

    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr("study.cli.results.heatmap", lambda record, data: [])
    monkeypatch.setattr("study.cli.results.report", lambda record, data: [])
    wider = dmd_study("run", "spec.yaml", "--executor", "inline", "--set", "axes.m=[4, 5]", "--set", "axes.s=[2]")
    assert "replicates 2/2" in wider.err  # m = 5 at both tolerances
    assert "small: 4 replicates: 4 finished" in wider.out


def test_timing_is_left_out_if_that_is_asked_for(dmd_study, here, monkeypatch, no_pictures):
    measured = []

    def measure(spec, cell, plain):
        measured.append((cell, plain))
        parts = {"cell": cell, "plain": plain, "pairs": 5, "device": "1 CPU thread"}
        return parts | dict.fromkeys(("ratio", "low", "high"), 1.25)

    monkeypatch.setattr("study.execution.timing.measure", measure)
    arguments = ("run", "spec.yaml", "--out", "out", "--executor", "inline")
    without = dmd_study(*arguments, "--no-timing")
    assert (without.status, measured) == (0, [])
    assert "Time was not measured." in without.out.splitlines()[-1]
    timed = dmd_study(*arguments)
    recommendation = open_study("out").recommendation()
    assert (timed.status, measured) == (0, [(recommendation.cell, recommendation.recorded_plain)])
    assert "An epoch with jumps takes 1.25 times as long as one without" in timed.out.splitlines()[-1]
    assert timed.out.splitlines()[-1] == str(open_study("out").answer())
    assert yaml.safe_load((here / "out" / "best.yaml").read_text())["recommendation"]["time_of_an_epoch"] == {
        **dict.fromkeys(("ratio", "low", "high"), 1.25),
        "pairs": 5,
        "device": "1 CPU thread",
    }


def test_what_a_run_leaves_behind_is_made_from_one_reading_of_the_table(dmd_study, recorded, tmp_path, monkeypatch):
    """And is what the commands make that read it each for itself."""
    folder = shutil.copytree(recorded, tmp_path / "out")
    record = open_study(folder)
    read, real = [], type(record).table
    monkeypatch.setattr(type(record), "table", lambda self: read.append(self) or real(self))
    results.everything(record)
    assert len(read) == 1
    at_once = {path: (folder / path).read_bytes() for path in ("figures/heatmap.csv", "best.yaml", "report.html")}
    for command in ("heatmap", "best", "report"):
        assert dmd_study(command, folder).status == 0
    assert {path: (folder / path).read_bytes() for path in at_once} == at_once


def test_status(dmd_study, recorded, here):
    result = dmd_study("status", recorded)
    assert (result.status, result.err) == (0, "")
    record = open_study(recorded)
    assert result.out == f"small: 8 replicates: 8 finished\n  jumps: 40 accepted\n{record.answer()}\n"
    assert str(record.answer()).startswith("Not known: plain training's learning rate was not varied; with m = ")


def test_status_and_best_name_a_pack_that_cannot_be_read_once(dmd_study, recorded, tmp_path):
    folder = shutil.copytree(recorded, tmp_path / "out")
    pack = open_study(folder).table()["pack"].iloc[0]
    (folder / "packs" / f"{pack}.parquet").write_bytes(b"not Parquet")
    status = dmd_study("status", folder)
    assert (status.status, status.err) == (0, "")
    assert status.out.count(f"cannot be read, and is trained again by the next run: {folder / 'packs' / pack}") == 1
    assert status.out.splitlines()[-1].startswith("Not known: ")
    best = dmd_study("best", folder)
    assert best.status == 0
    (line,) = best.err.splitlines()
    assert line.startswith(f"Warning: left out, since they cannot be read: {folder / 'packs' / pack}.parquet ")


def test_status_of_a_study_that_has_just_begun(dmd_study, small, tmp_path):
    from study.record import create

    create(tmp_path, small(), None, None)
    assert dmd_study("status", tmp_path).out == (
        "small: 8 replicates: 8 missing\nNo answer yet: the table has no replicates yet: there is nothing to report\n"
    )


def test_table(dmd_study, recorded, here):
    expected = open_study(recorded).table()
    printed = dmd_study("table", recorded)
    assert printed.err == ""
    written = dmd_study("table", recorded, "--to", "table.csv")
    assert written.out == "table.csv\n"
    assert (here / "table.csv").read_text() == printed.out
    # repr() of a double is read back as the same double
    found = pd.read_csv(here / "table.csv", keep_default_na=False, na_values=[""])
    numbers = expected.select_dtypes("number").columns
    pd.testing.assert_frame_equal(found[numbers], expected[numbers], check_exact=True)
    assert dmd_study("table", recorded, "--to", "table.parquet").status == 0
    pd.testing.assert_frame_equal(pd.read_parquet(here / "table.parquet"), expected, check_exact=True)


def test_heatmap(dmd_study, recorded, here):
    result = dmd_study(
        "heatmap", recorded, "--metric", "final_loss_ratio", "--at", "tolerance=1e-6", "--to", "pictures"
    )
    assert (result.status, result.err) == (0, "")
    names = [f"heatmap_final_loss_ratio.{kind}" for kind in ("png", "svg", "pdf", "csv")]
    assert sorted(path.name for path in (here / "pictures").iterdir()) == sorted(names)
    assert sorted(result.out.split()) == sorted(os.path.join("pictures", name) for name in names)
    frame = pd.read_csv(here / "pictures" / "heatmap_final_loss_ratio.csv")
    assert set(frame["tolerance"]) == {1e-6}


def test_best(dmd_study, recorded, here):
    result = dmd_study("best", recorded)
    assert (result.status, result.err) == (0, "")
    assert str(recorded / "best.yaml") in result.out
    document = yaml.safe_load((recorded / "best.yaml").read_text())
    table = open_study(recorded).table()
    chosen = document["other_choices"]["mean_relative_error"]["minimum"]
    assert chosen["value"] == table["mean_relative_error_train"].min()
    assert document["spec_hash"] == open_study(recorded).attributes["spec_hash"]
    cell = open_study(recorded).recommendation().cell
    assert (document["chosen"], document["recommended"]) == (None, "not known")
    assert document["recommendation"]["parameters"] == cell
    words = ", ".join(f"{axis} = {value}" for axis, value in cell.items())
    assert result.out.splitlines()[0] == f"* recommended: not known: {words}"
    assert result.out.splitlines()[-1] == str(open_study(recorded).answer()) == " ".join(document["answer"])


def test_best_marks_the_choice_that_was_asked_for(dmd_study, recorded, tmp_path):
    folder = shutil.copytree(recorded, tmp_path / "out")
    recommended = open_study(folder).recommendation().cell
    other = 10 - recommended["m"]
    result = dmd_study("best", folder, "--metric", "final_loss_ratio", "--at", f"m={other}")
    assert (result.status, result.err) == (0, "")
    document = yaml.safe_load((folder / "best.yaml").read_text())
    assert document["chosen"] == {"metric": "final_loss_ratio", "rule": "minimum"}
    parameters = document["other_choices"]["final_loss_ratio"]["minimum"]["parameters"]
    assert parameters["m"] == other
    assert document["recommendation"]["parameters"] == recommended  # of all cells
    lines = result.out.splitlines()
    assert lines[0].startswith(f"  recommended: not known: m = {recommended['m']}, ")
    place = lines.index("  lowest final loss ratio (final_loss_ratio):")
    words = ", ".join(f"{axis} = {value}" for axis, value in parameters.items())
    assert lines[place + 1].startswith(f"*   minimum:            {words}: final_loss_ratio ")
    assert "at least 3 seeds" in lines[place + 2]
    assert [line for line in lines if line.startswith("*")] == [lines[place + 1], "* is what these take:"]


def test_a_study_that_recommends_nothing_names_no_way_to_take_it(dmd_study, here, no_pictures):
    options = ("--executor", "inline", "--set", "method.mode=probe", "--set", "method.probes=2")
    result = dmd_study("run", "spec.yaml", "--out", "out", *options)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    why = "this study judged jumps, but took none, so that no final loss is known"
    assert any(line.startswith(f"  recommended: none: {why}; `dmd-study best DIR --metric ") for line in lines)
    assert os.path.join("out", "best.yaml") in lines
    assert "is what these take" not in result.out
    assert lines[-1].startswith("Not known: this study was a probe: ")
    chosen = dmd_study("best", "out", "--metric", "mean_relative_error")
    assert (chosen.status, chosen.err) == (0, "")
    assert "* is what these take:" in chosen.out


def test_a_diverged_study_says_why_there_is_no_best(dmd_study, here, no_pictures):
    result = dmd_study(
        *("run", "spec.yaml", "--out", "out", "--executor", "inline"),
        *("--set", "training.lr=40", "--set", "training.epochs=60", "--set", "axes.s=[2]"),
    )
    assert result.status == 0, result.err
    assert "small: 4 replicates: 4 diverged" in result.out
    assert "Traceback" not in result.err
    assert "  recommended: none: every one of 4 cells diverged\n" in result.out
    assert result.out.splitlines()[-1] == "No: every one of 4 cells diverged."
    assert yaml.safe_load((here / "out" / "best.yaml").read_text())["recommended"] == "off"


def test_check_reports_and_ends_with_its_verdict(dmd_study, here):
    result = dmd_study("check", "quadratic", "--set", "samples=1")
    assert result.status == 2
    assert "samples" in result.err


# the disk


@pytest.fixture
def limited(dmd_study):
    """Run a command while no file may grow beyond so many bytes, which stands for a full disk."""

    def call(limit_bytes, *arguments):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
            return dmd_study(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return call


def test_a_disk_that_is_full(limited, here):
    result = limited(1000, "run", "spec.yaml", "--out", "out", "--executor", "inline")
    assert result.status == 2
    assert "out cannot be written to: [Errno 27] File too large; choose another --out, or make room" in result.err
    assert "Traceback" not in result.err
    assert list((here / "out").iterdir()) == []


def test_a_disk_that_fills_up_keeps_what_is_recorded(dmd_study, here, monkeypatch, no_pictures):
    import study.training.packs

    arguments = ("run", "spec.yaml", "--out", "out", "--executor", "inline")
    limits, packs, real = resource.getrlimit(resource.RLIMIT_FSIZE), [], study.training.packs.train_pack

    def filling(pack, *others):
        packs.append(pack)
        if len(packs) == 4:
            # room for the rows of a pack, some 20,000 bytes, but not for all 143,360 of the database
            resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
        return real(pack, *others)

    monkeypatch.setattr(study.training.packs, "train_pack", filling)
    try:
        result = dmd_study(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.status == 2
    assert "study.db cannot be written to: " in result.err
    assert "What has ended is recorded in out. Fix the cause, then run the same command again" in result.err
    assert "Traceback" not in result.err
    before = open_study("out")
    table = before.table()
    assert len(before.done()) == 3  # a baseline and two cells

    assert dmd_study(*arguments).status == 0
    assert len(packs) == 4 + 5  # the rows of the fourth pack were written: its trial alone was missing
    after = open_study("out").table()
    assert len(after) == 8
    pd.testing.assert_frame_equal(after[:2], table)  # timings too: the very rows


def test_a_disk_that_is_full_when_pictures_are_drawn(limited, recorded, here):
    (here / "out").mkdir()
    result = limited(1000, "heatmap", recorded, "--to", "out")
    assert result.status == 2
    assert "File too large" in result.err
    assert "Traceback" not in result.err


# signals


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_cleanly_and_it_resumes(dmd_study, here, monkeypatch, no_pictures, number, status):
    import study.training.packs

    arguments = ("run", "spec.yaml", "--out", "out", "--executor", "inline")
    packs, real = [], study.training.packs.train_pack

    def interrupted(pack, *others):
        packs.append(pack)
        if len(packs) == 4:
            os.kill(os.getpid(), number)
        return real(pack, *others)

    monkeypatch.setattr(study.training.packs, "train_pack", interrupted)
    monkeypatch.setattr("study.cli.signals._received", [])
    result = dmd_study(*arguments)
    assert result.status == status
    assert "Stopped. What has ended is recorded in out; run the same command again" in result.err
    assert result.err.rstrip().endswith("dmd-study run spec.yaml --out out --executor inline")
    assert "Traceback" not in result.err
    assert result.out == ""
    assert len(open_study("out").done()) == 3
    assert dmd_study(*arguments).status == 0
    assert len(packs) == 4 + 6
    assert len(open_study("out").done()) == 9


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("arguments", "said"), [(("run", "spec.yaml", "--out", "out"), "8 finished"), (("heatmap", "out"), "")]
)
def test_a_signal_while_pictures_are_drawn(dmd_study, recorded, here, monkeypatch, number, status, arguments, said):
    def interrupted(*arguments, **options):
        os.kill(os.getpid(), number)

    shutil.copytree(recorded, here / "out")
    monkeypatch.setattr("study.analysis.figures.all_figures.draw_heatmaps", interrupted)
    monkeypatch.setattr("study.cli.signals._received", [])
    result = dmd_study(*arguments)
    assert result.status == status
    assert said in result.out
    assert result.err == "Stopped.\n"


@pytest.mark.slow
def test_signals_end_a_run_cleanly_and_it_resumes(here):
    """First Ctrl-C, then SIGTERM: each keeps what has ended, and nothing that has is trained again."""
    command = [
        *(sys.executable, "-m", "study.cli", "run", "spec.yaml", "--out", "out", "--executor", "inline"),
        *("--set", "training.epochs=500", "--set", "axes.s={from: 1, to: 20}"),
    ]
    packs, seen = here / "out" / "packs", set()
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            deadline, before = time.monotonic() + 60, len(list(packs.glob("*.parquet")))
            # rows come before trials, so a second new file says that a first new replicate is recorded
            while len(list(packs.glob("*.parquet"))) < before + 2:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == status, err
        assert "Stopped. What has ended is recorded in out; run the same command again" in err
        assert "Traceback" not in err
        assert "dmd-study" in err
        assert out == ""
        rows = {row["pack"]: row["seconds_training"] for row in open_study("out").details()}
        assert len(rows) > len(seen)
        assert dict(seen).items() <= rows.items()
        seen = set(rows.items())
        assert not list(packs.glob(".*"))
