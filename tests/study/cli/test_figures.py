"""The commands that draw, on a study of a quadratic that trains in milliseconds."""

import pandas as pd
import pytest

from study import run
from study.analysis import sensitivity

AXES = {"m": [4, 6], "s": [2, 5], "tolerance": [1e-6, 1e-3]}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A study of three seeds that has been run; commands are given a folder elsewhere."""
    folder = tmp_path_factory.mktemp("study") / "out"
    spec = {
        "name": "small",
        "problem": {"name": "quadratic"},
        "network": {"hidden": []},
        "training": {"optimizer": "sgd", "lr": 0.05, "epochs": 24},
        "axes": AXES,
        "seeds": 3,
        "resources": {"pack": 32},
    }
    run(spec, folder, executor="inline")
    return folder


def kinds(stem):
    return {f"{stem}.{kind}" for kind in ("png", "svg", "pdf", "csv")}


def test_sensitivity_prints_what_it_draws(dmd_study, recorded, tmp_path):
    result = dmd_study("sensitivity", recorded, "--metric", "final_loss_ratio", "--to", tmp_path / "pictures")
    assert (result.status, result.err) == (0, "")
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == kinds("sensitivity_final_loss_ratio")
    frame = pd.read_csv(tmp_path / "pictures" / "sensitivity_final_loss_ratio.csv")
    result_table = dmd_study("table", recorded).out
    (tmp_path / "table.csv").write_text(result_table)
    expected = sensitivity(pd.read_csv(tmp_path / "table.csv"), AXES, [0, 1, 2], metric="final_loss_ratio")
    assert frame["share"].tolist() == pytest.approx([s.share for s in expected.shares.shares], rel=1e-9)
    for share in expected.shares.shares:
        assert f"{share.share:.3f}" in result.out
    for words in ("m × s × tolerance", "fANOVA", "PED-ANOVA", "8 cells, 3 seeds", "too few for intervals"):
        assert words in result.out


BAD = {
    "metric": (["sensitivity", "--metric", "speed"], ["metric must be one of", "final_loss_ratio", "'speed'"]),
    "split": (["sensitivity", "--split", "both"], ["--split must be train or test, got 'both'"]),
    "at": (["sensitivity", "--at", "lr=1"], ["at must name an axis of the study (m, s, tolerance)", "'lr'"]),
    "one value": (
        ["sensitivity", "--at", "m=4", "--at", "s=2", "--at", "tolerance=1e-3"],
        ["needs an axis with two values or more; m, s and tolerance have one each"],
    ),
    "figure": (["figures", "--only", "map"], ["--only must be one of heatmap, spread, slices", "got 'map'"]),
    "no figure": (
        ["figures", "--at", "lr=1"],
        ["no figure can be drawn", "heatmap: at must name", "plane: at"],
    ),
    "one named": (["figures", "--only", "spread", "--metric", "speed"], ["metric must be one of", "'speed'"]),
    "compared metric": (["compare", "SAME", "--metric", "speed"], ["metric must be one of", "'speed'"]),
    "compared with nothing": (["compare", "nowhere"], ["nowhere holds no study"]),
    "constant": (["sensitivity", "--metric", "acceptance"], ["acceptance is the same in every cell"]),
}


@pytest.mark.parametrize(("arguments", "expected"), BAD.values(), ids=BAD)
def test_bad_questions(dmd_study, recorded, contents, arguments, expected):
    before = contents(recorded)
    arguments = [recorded if argument == "SAME" else argument for argument in arguments]
    result = dmd_study(arguments[0], recorded, *arguments[1:])
    assert (result.status, result.out) == (2, "")
    for text in expected:
        assert text in result.err
    assert "Traceback" not in result.err
    assert contents(recorded) == before


def test_figures_draw_what_the_record_allows_and_say_what_is_left_out(dmd_study, recorded, tmp_path):
    result = dmd_study("figures", recorded, "--x", "width", "--to", tmp_path / "pictures")
    assert result.status == 0
    drawn = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert drawn == set().union(*map(kinds, ("slices", "sensitivity", "curves", "jumps", "plane")))
    for name in ("heatmap", "spread"):
        assert (
            f"Left out: {name}: x, y and facet must be axes of the study (m, s, tolerance); got 'width'" in result.err
        )
    curves = pd.read_csv(tmp_path / "pictures" / "curves.csv")
    assert curves.loc[curves["line"] == "baseline", "seed"].unique().tolist() == [0, 1, 2]
    assert (curves.groupby(["line", "seed", "split"])["loss"].count() > 20).all()  # an epoch each, or nearly


def test_a_study_against_itself_is_equal(dmd_study, recorded, tmp_path):
    result = dmd_study("compare", recorded, recorded, "--metric", "final_loss_ratio", "--to", tmp_path)
    assert (result.status, result.err) == (0, "")
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == kinds("compared_final_loss_ratio")
    assert "8 cells and 3 seeds are in both" in result.out
    assert "8 cells not told apart" in result.out
    assert "0 cells better (by luck alone, 0.05 cells at most would be, in the mean)" in result.out
    assert "hold for all cells at once" in result.out
    assert pd.read_csv(tmp_path / "compared_final_loss_ratio.csv")["difference"].tolist() == pytest.approx([1] * 8)
