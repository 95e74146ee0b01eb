"""`dmd-study report`: from a record to a page, and what it says where there is nothing to show."""

import html
import re

import pytest
import yaml

from study import run
from study.cli import results
from study.errors import UserError
from study.record import create, open_study

SPEC = """\
name: small
problem: {name: quadratic}
network: {hidden: []}
training: {optimizer: sgd, lr: 0.05, epochs: 24}
axes: {m: [4, 6], s: [2, 5], tolerance: [1e-6, 1e-3]}
seeds: 2
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return run(yaml.safe_load(SPEC), tmp_path_factory.mktemp("study") / "out", executor="inline")


def test_it_is_written_into_the_studys_folder(record, capsys):
    results.report(record)
    path = record.folder / "report.html"
    assert str(path) in capsys.readouterr().out
    text = path.read_text()
    assert "<title>small: dmd on quadratic</title>" in text
    assert "Accelerator.from_best(model, " in text
    assert "format_version: 2" in text  # best.yaml, to be copied
    assert "recommended: not known" in text
    assert record.answer().sentences[0] in html.unescape(text)
    assert record.attributes["spec_hash"] in text
    assert re.search(r"trained by</th><td>dmd_study .*torch .*\(18 replicates\)", text)  # 8 cells and a baseline, twice


def test_it_is_the_same_for_the_same_record_and_names_no_path(record, tmp_path):
    results.report(record, tmp_path / "once.html")
    results.report(open_study(record.folder), tmp_path / "deeper" / "twice.html")
    once = (tmp_path / "once.html").read_bytes()
    assert once == (tmp_path / "deeper" / "twice.html").read_bytes()
    assert str(record.folder).encode() not in once


def test_progress_goes_to_the_log_and_the_path_to_standard_output(record, tmp_path, capsys, monkeypatch):
    results.report(record, tmp_path / "report.html")
    assert capsys.readouterr() == (f"{tmp_path / 'report.html'}\n", "")
    monkeypatch.setattr("study.execution.terminal_progress.LOG_INTERVAL_S", -1.0)  # as if it took long
    results.report(record, tmp_path / "report.html")
    said = capsys.readouterr().err.splitlines()
    packs = len(list((record.folder / "packs").glob("*.parquet")))
    for line in (f"packs read {packs}/{packs}", "replicates in the report 1/18", "replicates in the report 18/18"):
        assert any(one.startswith(line) for one in said)


def test_a_study_without_replicates_is_refused_and_nothing_written(small, tmp_path):
    empty = create(tmp_path / "out", small(), None, None)
    with pytest.raises(ValueError, match="no replicates yet: there is nothing to report"):
        results.report(empty)
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_study_in_which_all_diverged_says_so(tmp_path):
    raw = yaml.safe_load(SPEC) | {"training": {"optimizer": "sgd", "lr": 1e6, "epochs": 24}}
    results.report(run(raw, tmp_path / "out", executor="inline"))
    text = (tmp_path / "out" / "report.html").read_text()
    assert "No: every one of 8 cells diverged" in text
    assert "18 diverged" in text


def test_a_pack_that_cannot_be_read_is_told_on_the_page(tmp_path, capsys):
    record = run(yaml.safe_load(SPEC), tmp_path / "out", executor="inline")
    damaged = next(path for path in sorted((tmp_path / "out" / "packs").iterdir()) if path.suffix == ".parquet")
    damaged.write_bytes(b"not Parquet")
    results.report(record)
    text = (tmp_path / "out" / "report.html").read_text()
    said = f"left out, since they cannot be read: packs/{damaged.name}"
    assert said in text
    assert f"Warning: {said}" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["txt", "yaml"])
def test_only_a_page_is_written_over(record, tmp_path, suffix):
    from study.cli.report import report

    precious = tmp_path / f"spec.{suffix}"
    precious.write_text("precious")
    with pytest.raises(UserError, match=r"--to must end in \.html"):
        report(record.folder, precious)
    assert precious.read_text() == "precious"


def test_a_folder_that_cannot_be_written_to_is_a_users_mistake(record, tmp_path):
    from study.cli.report import report

    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"Not a directory|File exists"):
        report(record.folder, tmp_path / "file" / "report.html")
