"""Every place that names a study's best cell names the same one, or says which other question it answers."""

import json
import re

import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from study import open_study, run, write_best, write_figures, write_report
from study.analysis.statistics.cells import describe_cell
from study.products import _recommended

SPEC = {
    "name": "one-choice",
    "problem": {"name": "quadratic", "noise": 1.0},
    "network": {"hidden": [6]},
    "training": {"optimizer": "adam", "epochs": 30},
    "method": {"name": "dmd"},
    "axes": {"m": [3, 5, 6], "s": [2, 5, 10], "tolerance": [1e-6, 1e-3], "training.lr": [1e-3, 1e-2]},
    "seeds": 3,
    "confirm": 2,
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return run(SPEC, tmp_path_factory.mktemp("choice") / "out", executor="inline")


@pytest.fixture(scope="module")
def cell(record):
    chosen = record.recommendation().cell
    # otherwise this file would show nothing: another question has another answer here
    assert record.best("mean_relative_error", at={"training.lr": chosen["training.lr"]}).parameters != chosen
    return chosen


def text_of(figure: Figure) -> str:
    texts = [text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))]
    return " ".join(" ".join(texts).split())


def test_best_yaml(record, cell):
    content = yaml.safe_load(write_best(record).read_text())
    assert content["recommendation"]["parameters"] == cell
    assert content["chosen"] is None
    for metric, entries in content["other_choices"].items():
        assert entries["question"] in ("lowest error per jump", "lowest final loss ratio"), metric
    assert content["answer"] == list(record.answer().sentences)


def test_terminal(record, cell, dmd_study):
    words = ", ".join(f"{axis} = {value}" for axis, value in cell.items())
    out = dmd_study("best", record.folder).out
    assert f"* recommended: {yaml.safe_load((record.folder / 'best.yaml').read_text())['recommended']}: {words}" in out
    answer = str(record.answer())
    assert describe_cell(cell) in answer
    for command in ("best", "status"):
        assert dmd_study(command, record.folder).out.rstrip().endswith(answer)


def test_report(record, cell):
    page = write_report(record).read_text()
    data = json.loads(re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    place = data["recommended"]
    values = []
    for axis in reversed(data["axes"]):
        place, k = divmod(place, len(axis["values"]))
        values.insert(0, axis["values"][k])
    assert dict(zip([axis["key"] for axis in data["axes"]], map(float, values), strict=True)) == cell
    assert data["first"] == data["recommended"]
    assert all(metric["lowest_as"].endswith("value of all cells") for metric in data["metrics"])


@pytest.mark.parametrize("metric", ["mean_relative_error", "final_loss_ratio"])
def test_heatmap(record, cell, metric):
    at = {"training.lr": cell["training.lr"]}
    written = write_figures(record, record.folder / "pictures", only="heatmap", metric=metric, at=at)
    frame = pd.read_csv(next(path for path in written.paths if path.suffix == ".csv"))
    starred = frame[frame["recommended"] & (frame["split"] == "train")]
    assert starred[list(cell)].to_dict("records") == [cell]
    other = {"training.lr": 1e-2 if cell["training.lr"] == 1e-3 else 1e-3}
    assert not pd.DataFrame(
        [row for row in _frame(record, metric, other).to_dict("records") if row["recommended"]]
    ).size


def _frame(record, metric, at):
    written = write_figures(record, record.folder / "pictures", only="heatmap", metric=metric, at=at)
    return pd.read_csv(next(path for path in written.paths if path.suffix == ".csv"))


def test_figures_of_single_cells(record, cell):
    figures = record.figures(["slices", "curves", "jumps", "plane"], metric="final_loss_ratio")
    label = f"{record.study_data().recommended_as}: "
    for name in ("slices", "curves", "jumps"):
        words = text_of(figures[name])
        assert label in words, name
        named = words.split(label)[1]
        for axis, value in cell.items():
            assert re.search(rf"{re.escape(axis.split('.')[-1])} ?= ?{value:g}\b", named.replace("$", "")), (name, axis)
    assert record.study_data().recommended_as in text_of(figures["plane"])


def test_dashboard(record, cell):
    from study.analysis.pages.optuna_dashboard import shown_of

    data, answer = record.study_data(), str(record.answer())
    shown = shown_of(
        record.name,
        record.spec,
        "mean_relative_error_train",
        data.table,
        data.axes,
        headline=data.headline,
        sampled=data.sampled,
        recommended=_recommended(data),
    )
    assert describe_cell(cell) in answer
    assert answer in shown.note.replace("\\", "")
    assert "of one seed" in shown.objective


def test_notebook(record, cell):
    assert describe_cell(cell) in record._repr_html_()
    assert describe_cell(cell) in repr(record)


def test_python(record, cell):
    with open_study(record.folder) as again:
        assert again.recommendation().cell == cell
        assert again.best_document()["recommendation"]["parameters"] == cell
