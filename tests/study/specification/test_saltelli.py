"""Cells that are samples for Sobol' indices: how they are drawn, what a spec may say of them, and one study of them."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from study import load_spec, run
from study.analysis import FIGURES, FigureOptions, sobol_indices
from study.errors import SpecError, UserError
from study.planning.cells import baselines, cells, replicates
from study.record import create, open_study
from study.specification.axes import Range
from study.specification.saltelli import saltelli

AXES = {
    "m": {"from": 3, "to": 6, "log": False},
    "s": [2, 9, 5],
    "tolerance": {"from": 1e-8, "to": 1e-2, "log": True},
}
SAMPLED = {"axes": AXES, "design": "saltelli", "samples": 4}


# the cells


def test_samples_are_even_over_each_axis_on_its_own_scale():
    """A Sobol' sequence of n points has one in each n-th, and n/4 in each quarter, of every axis: exactly."""
    axes = {
        "whole": Range(3, 6),
        "real": Range(-1.0, 3.0),
        "log": Range(1e-8, 1.0, log=True),
        "list": ["a", "b", "a!", 7],
    }
    rows = saltelli(axes, 64)
    assert len(rows) == 64 * (2 * 4 + 2)
    plain = rows[::10]  # the first whole sample
    assert pd.Series([row["whole"] for row in plain]).value_counts().to_dict() == {3: 16, 4: 16, 5: 16, 6: 16}
    assert pd.Series([row["list"] for row in plain]).value_counts().to_dict() == {"a": 16, "b": 16, "a!": 16, 7: 16}
    assert all(type(row["whole"]) is int and type(row["real"]) is float for row in rows)
    real, log = (np.array([row[axis] for row in plain]) for axis in ("real", "log"))
    assert np.histogram(real, 64, (-1, 3))[0].tolist() == [1] * 64
    assert np.histogram(np.log10(log), 64, (-8, 0))[0].tolist() == [1] * 64
    assert all(float(f"{value:.6g}") == value for value in [*real, *log])


def test_whole_numbers_of_a_logarithmic_range_have_the_parts_that_round_to_them():
    drawn = [Range(1, 8, log=True).at(place) for place in np.linspace(0, 1, 100_001)[:-1]]
    parts = np.diff(np.log(np.arange(0.5, 9))) / np.log(17)
    assert np.bincount(drawn)[1:] / 1e5 == pytest.approx(parts, abs=2e-5)  # a place more or less at either end
    assert (Range(1, 8, log=True).at(0.0), Range(1, 8).at(1.0)) == (1, 8)


def test_rows_are_two_samples_and_their_mixtures():
    rows = saltelli({"x": Range(0.0, 1.0), "y": Range(0.0, 1.0), "fixed": [3]}, 8)
    for a, ab_x, ab_y, ba_x, ba_y, b in zip(*(rows[k::6] for k in range(6)), strict=True):
        assert ab_x == {**a, "x": b["x"]}
        assert ab_y == {**a, "y": b["y"]}
        assert ba_x == {**b, "x": a["x"]}
        assert ba_y == {**b, "y": a["y"]}
        assert a["fixed"] == b["fixed"] == 3


def test_more_samples_keep_those_there_are_and_every_version_draws_the_same():
    axes = {"x": Range(0.0, 1.0), "y": Range(1, 100)}
    few, many = saltelli(axes, 4), saltelli(axes, 16)
    assert many[: len(few)] == few
    # a record holds cells by their values, so other ones would not be found in it
    assert few[:3] == [{"x": 0.155465, "y": 59}, {"x": 0.607532, "y": 59}, {"x": 0.155465, "y": 25}]


def test_cells_are_trained_once_however_often_they_are_drawn(small):
    spec = small({**SAMPLED, "samples": 64, "axes": {"m": [4, 5], "s": [2, 5], "tolerance": [1e-6]}})
    assert len(cells(spec)) == 4  # of 64 * 6
    assert len(replicates(spec)) == 8
    assert len(baselines(spec)) == 2
    varied = small(
        {**SAMPLED, "axes": {**AXES, "training.lr": {"from": 0.01, "to": 0.1, "log": True}}, "training.lr": None}
    )
    rates = {cell["training.lr"] for cell in cells(varied)}
    assert 4 < len(rates) <= 8
    assert {own.parameters["training.lr"] for own in baselines(varied)} == rates
    assert len(baselines(varied)) == 2 * len(rates)


# the spec


def test_what_is_sampled_makes_no_other_study_and_survives_the_record(small):
    spec = small(SAMPLED)
    assert (spec.hash(), spec.to_dict()["samples"]) == (small().hash(), 4)
    again = small({key: spec.to_dict()[key] for key in SAMPLED})
    assert cells(again) == cells(spec)
    assert "samples" not in small().to_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": None}, "samples: must be a power of two from 2 to 16384 .*got None"),
        *(({"samples": bad}, "samples: must be a power of two") for bad in (12, 1, 0, -4, 2**15, 4.0, True, "8", [8])),
        ({"design": "grid"}, "samples: must be left out with design: grid, got 4"),
        ({"axes": {"m": [4], "s": [2], "tolerance": [1e-6]}}, "saltelli needs an axis with two values or more"),
        ({"axes.growth": {"from": 1, "to": 2, "log": False}}, r"axes.growth\[0\]: must be 'keep', 'clip'"),
        ({"method.mode": "probe"}, "method.mode: must be train with design: saltelli"),
        ({"axes.tolerance": {"from": 0, "to": 1e-2, "log": True}}, "must have A < B, and A > 0 if log"),
    ],
)  # fmt: skip
def test_mistakes_are_said(small, changes, message):
    with pytest.raises(SpecError, match=message):
        small({**SAMPLED, **changes})


# one study, from the spec to the indices


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The study, run with half of its samples first."""
    out = tmp_path_factory.mktemp("sampled") / "out"
    spec = {
        "name": "small",
        "problem": {"name": "quadratic"},
        "network": {"hidden": []},
        "training": {"optimizer": "sgd", "lr": 0.05, "epochs": 24},
        "seeds": 2,
        "resources": {"pack": 32},
        **SAMPLED,
    }
    run({**spec, "samples": 2}, out, executor="inline")
    half = packs(out)
    run(spec, out, executor="inline")
    assert half.items() < packs(out).items()
    whole = packs(out)
    run(spec, out, executor="inline")
    assert packs(out) == whole
    return out


def packs(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "packs").iterdir()}


def test_the_record_holds_the_cells_of_the_spec_and_no_others(folder, small):
    record = open_study(folder)
    wanted = cells(small(SAMPLED))
    assert list(record.grid.cells) == wanted
    assert [dict(cell) for cell in record.grid.sampled] == saltelli(
        {"m": Range(3, 6), "s": (2, 9, 5), "tolerance": Range(1e-8, 1e-2, log=True)}, 4
    )
    table = record.table()
    trained = table[[*AXES, "seed"]].to_dict("records")
    assert trained == [{**cell, "seed": seed} for cell in wanted for seed in (0, 1)]
    assert set(table["status"]) == {"finished"}
    assert table["final_loss_ratio_train"].notna().all()
    packs_hold = sum(len(pd.read_parquet(path)) for path in (folder / "packs").iterdir())
    assert packs_hold == 2 * len(wanted) + 2  # and the baselines, each once


def test_commands_count_the_cells_and_print_what_they_draw(folder, dmd_study, tmp_path):
    grid = open_study(folder).grid
    assert f"{2 * len(grid.cells)} replicates: {2 * len(grid.cells)} finished" in dmd_study("status", folder).out
    dry = dmd_study("run", folder / "spec.yaml", "--dry-run").out
    assert f"{len(grid.cells)} (saltelli, 4 samples of m, s, tolerance)" in dry
    result = dmd_study("sensitivity", folder, "--metric", "final_loss_ratio", "--to", tmp_path)
    assert (result.status, result.err) == (0, "")
    stem = "sensitivity_final_loss_ratio"
    assert {path.name for path in tmp_path.iterdir()} == {f"{stem}.{kind}" for kind in ("png", "svg", "pdf", "csv")}
    frame = pd.read_csv(tmp_path / f"{stem}.csv")
    assert frame["index"].tolist() == ["first"] * 3 + ["total"] * 3 + ["second"] * 3
    for value in frame["value"]:
        assert f" {value:.3f} " in result.out
    for words in ("logarithm of the final loss ratio", "m × tolerance", f"4 samples in {len(grid.cells)} cells",
                  "mean over 2 seeds", "SALib's bootstrap", "The noise left by 2 seeds"):  # fmt: skip
        assert words in result.out
    drawn = FIGURES["sensitivity"](open_study(folder).study_data(), FigureOptions(metric="final_loss_ratio"))
    assert drawn.stem == stem
    pd.testing.assert_frame_equal(drawn.frame, frame, rtol=1e-12)


def test_the_report_has_the_indices_as_bars(folder, dmd_study, tmp_path):
    page = tmp_path / "report.html"
    assert dmd_study("report", folder, "--to", page).status == 0
    text = " ".join(page.read_text(encoding="utf-8").split())
    record = open_study(folder)
    for metric in ("final_loss_ratio", "mean_relative_error"):
        found = sobol_indices(record.table(), record.grid.sampled, record.grid.axes, record.grid.seeds, metric=metric)
        for order, called in (("first", "each axis alone"), ("total", "all its interactions"), ("second", "pairs")):
            _, title, after = text.partition(f"{found.metric.title}: ")
            assert title
            bars, text = after.partition("</figure>")[0], after
            assert called in bars
            for index in found.of(order):
                said = f"{100 * index.value:.1f} % ({100 * index.low:.0f} to {100 * index.high:.0f})"
                assert index.name in bars
                assert said in bars


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["heatmap"], "a heatmap must have neighbouring cells, but the cells of small are samples, not a grid"),
        (["figures", "--only", "slices"], "slices must have neighbouring cells"),
        (["sensitivity", "--at", "m=4"], "at must be left out for Sobol' indices"),
        (["figures", "--only", "sensitivity", "--at", "m=4"], "at must be left out for Sobol' indices"),
        (["sensitivity", "--metric", "speed"], "metric must be one of"),
    ],
)
def test_what_samples_cannot_show_says_why(folder, dmd_study, tmp_path, command, words):
    result = dmd_study(command[0], folder, *command[1:], "--to", tmp_path / "out")
    assert result.status == 2
    assert words in " ".join(result.err.split())
    assert not (tmp_path / "out").exists()


def test_a_design_with_a_hole_has_no_indices_and_says_so(folder, dmd_study, tmp_path):
    """More samples are asked for than were run; a search of the same study asks for its own cells."""
    begun = tmp_path / "begun"
    shutil.copytree(folder, begun)
    spec = yaml.safe_load((begun / "spec.yaml").read_text())
    create(begun, load_spec({**spec, "samples": 8}), None, None).close()
    result = dmd_study("sensitivity", begun)
    missing = 2 * (len(open_study(begun).grid.cells) - len(open_study(folder).grid.cells))
    assert result.status == 2
    assert "no Sobol' indices of mean_relative_error" in result.err
    assert f"({missing} missing)" in result.err
    assert "on an incomplete design" in result.err
    assert f"{missing} missing" in dmd_study("status", begun).out
    assert dmd_study("report", begun, "--to", tmp_path / "report.html").status == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No Sobol" in page
    assert f"({missing} missing)" in page
    searched = dmd_study("search", begun / "spec.yaml", "--out", begun, "--trials", 4, "--executor", "inline")
    assert searched.status == 0
    assert open_study(begun).grid.sampled is None


def test_a_record_whose_samples_were_changed_by_hand_is_refused(folder, tmp_path):
    for changes in ({"samples": 12}, {"samples": None}, {"axes": {**AXES, "m": {"from": 6, "to": 3, "log": False}}}):
        copied = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(folder, copied)
        record = open_study(copied)
        record.study.set_user_attr("spec", {**record.spec, **changes})
        record.close()
        with pytest.raises(UserError, match="changed by hand"):
            open_study(copied)
