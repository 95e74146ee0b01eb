"""Results that a study's folder keeps: they are said again only while record, files and code are those they rest on."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from study import load_spec, open_study, run
from study.planning.cells import replicates
from study.planning.packs import plan
from study.record import _kept
from study.replicates.outcome import failed
from tests.study.cli import _small

SPEC = {**_small.SPEC, "seeds": 1}
COMMAND = ("run", "spec.yaml", "--out", "out", "--executor", "inline")
QUICK = (*COMMAND, "--no-timing")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "out"
    run(SPEC, folder, executor="inline", timing=False)
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """Names of the files that were drawn, by a stand-in for pictures and report that takes no time."""
    names: list[str] = []

    def draw(name):
        def step(record, data):
            names.append(name)
            (record.folder / name).write_text(name)
            return [record.folder / name]

        return step

    monkeypatch.setattr("study.cli.results.heatmap", draw("heatmap.png"))
    monkeypatch.setattr("study.cli.results.report", draw("report.html"))
    return names


@pytest.fixture
def ended(trained, tmp_path, monkeypatch, drawn, dmd_study):
    """A study whose results have just been written, in the folder ``out`` of the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(yaml.safe_dump(SPEC))
    shutil.copytree(trained, "out")
    result = dmd_study(*QUICK)
    assert (result.status, drawn) == (0, ["heatmap.png", "report.html"])
    drawn.clear()
    return result


def test_a_run_with_nothing_left_to_do_says_the_same_and_writes_nothing(
    ended, drawn, dmd_study, contents, monkeypatch
) -> None:
    def refuse(*arguments, **options):
        raise AssertionError("the record was read")

    before = contents(Path("out"))
    monkeypatch.setattr("study.record._record.Record.table", refuse)
    monkeypatch.setattr("study.specification._load.validate", refuse)  # which would import torch
    again = dmd_study(*QUICK)
    assert (again.status, again.out, again.err) == (0, ended.out, ended.err)
    assert drawn == []
    assert contents(Path("out")) == before


def test_status_repeats_the_counts_and_the_answer(ended, dmd_study, monkeypatch) -> None:
    lines = ended.out.splitlines()
    computed = Path("out").rename("elsewhere")  # where nothing is said again but what does not name the folder
    (computed / _kept.FILE).rename("kept.json")
    expected = dmd_study("status", computed).out
    Path("kept.json").rename(computed / _kept.FILE)
    monkeypatch.delattr("study.record._record.Record.table")
    assert dmd_study("status", computed).out == expected
    assert expected.splitlines() == [*lines[:2], lines[-1]]


def lose_a_file() -> None:
    Path("out/heatmap.png").unlink()


def edit_a_file() -> None:
    Path("out/best.yaml").write_text(Path("out/best.yaml").read_text() + "# mine\n")


def replace_a_file_by_one_of_its_size() -> None:
    state = Path("out/report.html").stat()
    Path("out/report.html").write_text("REPORT.html")
    os.utime("out/report.html", ns=(state.st_atime_ns, state.st_mtime_ns))


def lose_what_is_kept() -> None:
    Path("out", _kept.FILE).unlink()


def damage_what_is_kept() -> None:
    Path("out", _kept.FILE).write_text("{")


def keep_another_format() -> None:
    change_what_is_kept(format_version=0)


def keep_what_a_terminal_obeys() -> None:
    change_what_is_kept(results=[["out", "\x1b[2J"]])


def change_what_is_kept(**changes: object) -> None:
    path = Path("out", _kept.FILE)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def touch_a_pack() -> None:
    (pack,) = Path("out/packs").glob("*.parquet")
    os.utime(pack, ns=(0, 0))


def record_a_replicate() -> None:
    """As a sweep on another machine does that ends while this one's results are written."""
    spec = load_spec(SPEC)
    (pack,) = plan(spec, replicates(replace(spec, seeds=(7,)))[:1])
    with open_study("out") as record:
        record.add(pack, [failed(pack.replicates[0], "no reason")], {}, spec)


def change_an_attribute() -> None:
    with open_study("out") as record:
        record.study.set_user_attr("note", "mine")


CHANGES_OF_FILES = (lose_a_file, edit_a_file, replace_a_file_by_one_of_its_size)
CHANGES_OF_STATE = (
    *(lose_what_is_kept, damage_what_is_kept, keep_another_format, keep_what_a_terminal_obeys),
    *(touch_a_pack, record_a_replicate, change_an_attribute),
)


@pytest.mark.parametrize("change", [*CHANGES_OF_FILES, *CHANGES_OF_STATE], ids=lambda change: change.__name__)
def test_what_has_changed_is_made_again(ended, drawn, dmd_study, change) -> None:
    change()
    again = dmd_study(*QUICK)
    assert (again.status, drawn) == (0, ["heatmap.png", "report.html"])
    assert again.out == ended.out
    drawn.clear()
    assert dmd_study(*QUICK).out == ended.out
    assert drawn == []


@pytest.mark.parametrize("change", CHANGES_OF_STATE, ids=lambda change: change.__name__)
def test_status_does_not_repeat_what_rests_on_another_state(ended, change) -> None:
    assert _kept.kept_results(Path("out")) is not None
    change()
    assert _kept.kept_results(Path("out")) is None


def test_a_command_that_writes_the_same_file_again_changes_nothing(ended, drawn, dmd_study) -> None:
    assert dmd_study("best", "out").status == 0
    assert dmd_study(*QUICK).out == ended.out
    assert drawn == []


def test_new_code_makes_everything_again(ended, drawn, dmd_study, tmp_path, monkeypatch) -> None:
    """A file of any of the four packages is changed, or is new."""
    code = tmp_path / "site" / "study" / "record" / "_kept.py"
    for package in _kept._PACKAGES:
        (tmp_path / "site" / package).mkdir(parents=True)
        (tmp_path / "site" / package / "a.py").write_text("")
    monkeypatch.setattr(_kept, "__file__", str(code))
    assert dmd_study(*QUICK).status == 0
    drawn.clear()
    for number, package in enumerate(_kept._PACKAGES):
        (tmp_path / "site" / package / "a.py").write_text("a = 1")
        assert _kept.kept_results(Path("out")) is None
        assert dmd_study(*QUICK).status == 0
        (tmp_path / "site" / package / "__pycache__").mkdir()
        (tmp_path / "site" / package / "__pycache__" / "a.pyc").write_text("")  # which Python writes by itself
        assert _kept.kept_results(Path("out")) is not None
        assert len(drawn) == 2 * (number + 1)


def test_another_spec_is_run_and_the_old_one_again(ended, drawn, dmd_study) -> None:
    wider = dmd_study(*QUICK, "--set", "seeds=2")
    assert "small: 8 replicates: 8 finished" in wider.out
    assert len(drawn) == 2
    narrow = dmd_study(*QUICK)
    assert narrow.out.splitlines()[0] == ended.out.splitlines()[0]
    assert len(drawn) == 4


def test_a_spec_in_other_words_draws_nothing(ended, drawn, dmd_study) -> None:
    """It is validated once, and then known."""
    Path("spec.yaml").write_text(yaml.safe_dump({**SPEC, "smallest_effect": 0.02}))
    for _ in range(2):
        assert dmd_study(*QUICK).out == ended.out
    assert drawn == []


def test_a_study_that_lacks_its_time_is_not_at_its_end(ended, drawn, dmd_study, monkeypatch) -> None:
    """It was run without timing: a run that measures the time may not say that nothing is left."""
    measured: list[object] = []

    def measure(spec, cell, plain):
        measured.append(cell)
        parts = {"cell": cell, "plain": plain, "pairs": 5, "device": "1 CPU thread"}
        return parts | dict.fromkeys(("ratio", "low", "high"), 1.25)

    monkeypatch.setattr("study.execution.timing.measure", measure)
    timed = dmd_study(*COMMAND)
    assert (len(measured), len(drawn)) == (1, 2)
    assert "takes 1.25 times as long" in timed.out
    for command in (COMMAND, QUICK):
        assert dmd_study(*command).out == timed.out
    assert (len(measured), len(drawn)) == (1, 2)


def test_what_failed_is_trained_again_although_results_are_kept(ended, dmd_study, monkeypatch) -> None:
    seen: list[bool] = []

    def observed(*arguments, retry_failed=False, **options):
        seen.append(retry_failed)
        return run(*arguments, retry_failed=retry_failed, **options)

    monkeypatch.setattr("study.execution.run.run", observed)
    assert dmd_study(*QUICK).status == 0
    assert seen == []
    assert dmd_study(*QUICK, "--retry-failed").status == 0
    assert seen == [True]


def test_options_are_refused_as_ever(ended, dmd_study) -> None:
    assert "executor must be ray or inline" in dmd_study("run", "spec.yaml", "--out", "out", "--executor", "x").err
    assert "do not go with the executor inline" in dmd_study(*QUICK, "--nodes", "2").err
    assert "--time belongs to --dry-run" in dmd_study(*QUICK, "--time").err


def test_a_spec_with_code_of_ones_own_is_always_loaded(tmp_path, monkeypatch, drawn, dmd_study) -> None:
    """Its code may have changed, which only its import shows; but nothing is drawn again."""
    monkeypatch.chdir(tmp_path)
    Path("own_quadratic.py").write_text(
        "from dataclasses import dataclass\nfrom problems.quadratic import Quadratic\n\n"
        "@dataclass(frozen=True)\nclass Own(Quadratic):\n    pass\n"
    )
    Path("spec.yaml").write_text(yaml.safe_dump({**SPEC, "problem": {"name": "own_quadratic:Own"}}))
    monkeypatch.syspath_prepend(tmp_path)
    first = dmd_study(*QUICK)
    assert (first.status, len(drawn)) == (0, 2), first.err
    assert json.loads(Path("out", _kept.FILE).read_text())["request"] is None
    assert (dmd_study(*QUICK).out, len(drawn)) == (first.out, 2)
