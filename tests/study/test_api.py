"""The study from Python: what `from study import ...` gives, and what a record says, draws and writes."""

import html
import os
import subprocess
import sys

import matplotlib
import pandas as pd
import pytest
from matplotlib.figure import Figure

import study
from study import Record, open_study, run, write_best, write_figures, write_report
from study.analysis import FIGURES, Choice, NoChoice
from study.best.file import read_best
from study.record import create

PNG = b"\x89PNG\r\n\x1a\n"
HOSTILE = '<script>alert("x")</script>\x1b[2J\n' + "x" * 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study of eight cells and three seeds that has been run."""
    place = tmp_path_factory.mktemp("study") / "out"
    spec = {
        "name": "small",
        "problem": {"name": "quadratic"},
        "network": {"hidden": []},
        "training": {"optimizer": "sgd", "lr": 0.05, "epochs": 24},
        "axes": {"m": [4, 6], "s": [2, 5], "tolerance": [1e-6, 1e-3]},
        "seeds": 3,
        "resources": {"pack": 32},
    }
    assert isinstance(run(spec, place, executor="inline"), Record)
    return place


@pytest.fixture
def record(folder):
    with open_study(folder) as opened:
        yield opened


# names


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import study.adaptive_search._run",
        "import study.cli.search, study.products",
        "from study import *",
    ],
)
def test_search_is_the_function_whatever_was_imported_before(before):
    code = f"{before}\nfrom study import search\nimport study\nassert search is study.search and callable(search)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_name_is_there_and_found_by_completion():
    assert set(study.__all__) <= set(dir(study))
    for name in study.__all__:
        assert getattr(study, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'serch'"):
        study.serch  # noqa: B018


# what a record says


def test_the_answer_is_the_reports(record):
    answer = record.answer()
    assert 1 <= len(answer.sentences) <= 3
    assert str(answer) == " ".join(answer.sentences)
    page = html.unescape(record.report().html)
    for sentence in answer.sentences:
        assert sentence in page


def test_the_best_cell_by_metric_rule_and_place(record):
    table = record.table()
    best = record.best()
    assert isinstance(best, Choice)
    medians = table.groupby(["m", "s", "tolerance"])["mean_relative_error_train"].median()
    assert best.value == medians.min()
    assert tuple(best.parameters.values()) == medians.idxmin()
    assert record.best("final_loss_ratio", "one-standard-error", at={"m": 4}).parameters["m"] == 4
    with pytest.raises(ValueError, match="metric must be one of"):
        record.best("speed")


def test_the_line_says_what_the_study_is_and_how_much_has_ended_and_the_answer(record, folder):
    answer = record.answer().sentences[0].rstrip(".")
    assert repr(record) == f"<Record small: dmd on quadratic; 24 replicates: 24 finished; {answer}; {folder}>"


def test_a_notebook_gets_a_table_with_the_answer(record, folder):
    shown = html.unescape(record._repr_html_())
    for text in ("small", "dmd", "quadratic", "24 replicates: 24 finished", str(folder), str(record.answer())):
        assert text in shown


def test_a_study_that_has_just_begun_says_so(small, tmp_path):
    begun = create(tmp_path, small(), None, None)
    assert "8 replicates: 8 missing; No answer: " in repr(begun)
    assert "no replicates yet" in begun._repr_html_()
    with pytest.raises(ValueError, match="no replicates yet"):
        begun.answer()
    with pytest.raises(NoChoice, match="no replicates yet"):
        begun.best()
    with pytest.raises(ValueError, match="small has no replicates yet: there is nothing to recommend"):
        begun.recommendation()


def test_a_probe_recommends_nothing(small, tmp_path):
    method = {"name": "dmd", "mode": "probe", "probes": 2}
    probe = run(small({"method": method}), tmp_path / "out", executor="inline")
    with pytest.raises(ValueError, match="small took no jumps: there is nothing to recommend"):
        probe.recommendation()


def test_names_from_anybody_are_text(record):
    record.attributes["spec"] = record.spec | {"problem": {"name": HOSTILE}, "method": "not a section"}
    line = repr(record)
    assert line.isprintable()
    assert len(line) < 700
    shown = record._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_a_damaged_record_still_shows_itself(small, tmp_path):
    damaged = run(small(), tmp_path / "out", executor="inline")
    pack = next((tmp_path / "out" / "packs").glob("*.parquet"))
    pack.write_bytes(b"not Parquet")
    assert "8 finished" in repr(damaged)
    assert "; 1 packs cannot be read" in damaged._repr_html_()
    (tmp_path / "out" / "study.db").write_bytes(b"not SQLite" * 1000)
    damaged.close()
    assert "cannot be read" in repr(damaged)
    assert "cannot be read" in damaged._repr_html_()


# what it draws


def test_a_heatmap_is_a_figure_that_shows_itself(record):
    figure = record.heatmap("final_loss_ratio", x="tolerance", y="s", at={"m": 4})
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(PNG)
    assert figure._repr_png_() == figure._repr_png_()


def test_figures_are_all_that_the_record_allows(record):
    drawn = record.figures()
    assert set(drawn) == set(FIGURES) - {"eigenvalues"}  # which take a training
    assert all(isinstance(figure, Figure) for figure in drawn.values())
    assert set(record.figures(["slices", "plane"])) == {"slices", "plane"}
    assert set(record.figures("curves")) == {"curves"}


@pytest.mark.parametrize(
    ("only", "options", "why"),
    [
        ("map", {}, "only must be among heatmap, .*; got 'map'"),
        (["curves", "eigenvalues"], {}, "eigenvalues are not recorded"),
        ("heatmap", {"x": "width"}, "must be axes of the study"),
        (None, {"at": {"lr": 1}}, "no figure can be drawn"),
    ],
)
def test_a_figure_that_cannot_be_drawn_says_why(record, only, options, why):
    with pytest.raises(ValueError, match=why):
        record.figures(only, **options)


def test_pictures_neither_follow_nor_change_the_users_settings(record):
    plain = record.heatmap()._repr_png_()
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "savefig.dpi": 17, "text.color": "green"}):
        settings = dict(matplotlib.rcParams)
        figure = record.heatmap()
        assert figure._repr_png_() == plain
        assert dict(matplotlib.rcParams) == settings


def test_pictures_need_no_backend(folder, tmp_path):
    """A notebook's kernel names one in the environment, which a process that it starts may not have."""
    environment = {**os.environ, "MPLBACKEND": "module://nonexistent.backend"}
    code = f"from study import open_study\nopen_study({str(folder)!r}).heatmap()._repr_png_()"
    for command in (["-m", "study.cli", "figures", str(folder), "--to", str(tmp_path)], ["-c", code]):
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert {path.stem for path in tmp_path.glob("*.png")} == set(FIGURES) - {"eigenvalues"}


def test_a_study_without_m_or_s_has_heatmaps_of_its_own_axes(small, tmp_path):
    fixed = {"method.s": 2, "method.tolerance": 1e-6, "seeds": 1}
    axes = {"training.lr": None, "axes": {"m": [4, 6], "training.lr": [0.02, 0.05]}}
    figure = run(small(fixed | axes), tmp_path / "two", executor="inline").heatmap("final_loss_ratio")
    assert {panel.get_xlabel() for panel in figure.axes} >= {"learning rate"}
    record = run(small(fixed | {"axes": {"m": [4, 6]}}), tmp_path / "one", executor="inline")
    assert record.heatmap().axes[0].get_xlabel() == "snapshots per jump $m$"
    assert set(record.figures()) == set(FIGURES) - {"spread", "eigenvalues"}  # of one seed


# what it writes


def test_what_python_writes_is_what_the_commands_write(record, folder, dmd_study, tmp_path):
    written = write_figures(record, tmp_path / "python", only=["heatmap", "sensitivity"], metric="final_loss_ratio")
    for command in ("heatmap", "sensitivity"):
        result = dmd_study(command, folder, "--metric", "final_loss_ratio", "--to", tmp_path / "command")
        assert result.status == 0, result.err
    assert written.left_out == {}
    assert len(written.paths) == 8
    for path in written.paths:
        assert path.read_bytes() == (tmp_path / "command" / path.name).read_bytes()

    page = write_report(record, tmp_path / "python.html")
    assert dmd_study("report", folder, "--to", tmp_path / "command.html").status == 0
    assert page.read_bytes() == (tmp_path / "command.html").read_bytes()

    assert dmd_study("best", folder).status == 0
    assert write_best(record, tmp_path / "best.yaml").read_bytes() == (folder / "best.yaml").read_bytes()


def test_figures_that_are_left_out_come_with_the_reason(record, tmp_path):
    written = write_figures(record, tmp_path, x="width")
    assert set(written.left_out) == {"heatmap", "spread", "eigenvalues"}
    assert "'width'" in written.left_out["heatmap"]
    assert {path.stem for path in written.paths} == {"slices", "sensitivity", "curves", "jumps", "plane"}


def test_a_choice_that_is_asked_for_is_the_files(record, tmp_path):
    chosen = {"metric": "final_loss_ratio", "rule": "one-standard-error"}
    best = read_best(write_best(record, tmp_path / "best.yaml", **chosen, at={"m": 6}))
    assert best.chosen.model_dump() == chosen
    choice = record.best(**chosen, at={"m": 6})
    assert best.other_choices["final_loss_ratio"]["one-standard-error"] == choice
    assert best.parameters() == choice.parameters
    assert best.parameters()["m"] == 6


def test_the_files_own_choice_is_the_recommendation(record, tmp_path):
    best = read_best(write_best(record, tmp_path / "best.yaml"))
    recommendation = record.recommendation()
    assert (best.chosen, best.recommended, best.answer) == (None, "not known", list(record.answer().sentences))
    assert best.parameters() == recommendation.cell
    assert best.recommendation.at_equal_steps == recommendation.equal_steps
    assert record.answer().recommendation == recommendation
    assert best.recommendation.of_cells == recommendation.cells == 8


def test_progress_counts_the_work(record, tmp_path):
    told = []
    write_report(record, tmp_path / "report.html", progress=lambda what, done, total: told.append((what, done, total)))
    packs = len(list((record.folder / "packs").glob("*.parquet")))
    assert ("packs read", packs, packs) in told
    assert told[-1] == ("replicates in the report", 27, 27)  # baselines too


def test_a_report_shows_itself_in_a_frame_apart(record, tmp_path):
    report = record.report()
    frame = report._repr_html_()
    assert frame.startswith("<iframe ")
    assert "allow-same-origin" not in frame
    assert frame.count("<") == 2  # all of the page is escaped within the attribute
    assert html.unescape(frame).count(report.html) == 1
    saved = report.save(tmp_path / "deeper" / "report.html")
    assert saved.read_text(encoding="utf-8") == report.html


def test_packs_that_cannot_be_read_are_a_warning_and_on_the_page(small, tmp_path):
    record = run(small(), tmp_path / "out", executor="inline")
    pack = next((tmp_path / "out" / "packs").glob("*.parquet"))
    pack.write_bytes(b"not Parquet")
    with pytest.warns(UserWarning, match=f"left out, since they cannot be read: packs/{pack.name}"):
        report = record.report()
    assert f"packs/{pack.name}" in report.html


def test_the_table_is_one_row_per_replicate(record):
    table = record.table()
    assert isinstance(table, pd.DataFrame)
    assert len(table) == 24
    assert set(table["status"]) == {"finished"}
