"""The notes, shares and captions of the dashboard say what the study says."""

import math
from typing import Any

import pytest

from study.analysis import sensitivity
from study.analysis.pages.drivers import main_shares
from study.analysis.pages.optuna_dashboard import baseline_note_of, baseline_shown_of, note_of, shown_before, shown_of
from tests.dashboards._made_up import AXES, SEEDS, MadeUp, ratio_of

METRIC, OBJECTIVE = "mean_relative_error", "mean_relative_error_train"


def shown(record: MadeUp, **options: Any) -> Any:
    return shown_of("made-up", record.spec, OBJECTIVE, record.table, record.spec["axes"], **options)


def test_the_panel_has_the_shares_of_the_study() -> None:
    # the best s depends on m
    record = MadeUp(ratio=lambda cell, seed: ratio_of(cell, seed) * (cell["m"] / 8) ** (0.3 * math.log(cell["s"] / 10)))
    terms = sensitivity(record.table, AXES, SEEDS, metric=METRIC).shares
    assert terms is not None
    bars = shown(record).importances
    assert list(bars) == ["m", "s", "tolerance", "interactions", "noise"]
    for axis in AXES:
        assert bars[axis] == terms[axis].share
    assert sum(bars.values()) == pytest.approx(1)  # every term is in a bar
    assert min(bars["m"], bars["s"], bars["interactions"]) > 0.1
    assert abs(bars["tolerance"]) < 1e-3
    note = shown(record).note
    assert "shares of `mean_relative_error` on the training set, not Optuna's" in note
    assert "mean relative error" in shown(record).captions["Hyperparameter Importance"]


def test_one_axis_has_no_interactions_and_one_seed_no_noise() -> None:
    assert list(shown(MadeUp({"s": [5, 10, 20]})).importances) == ["s", "noise"]
    lonely = shown(MadeUp({"m": [2, 8], "s": [5, 10]}, seeds=[0]))
    assert list(lonely.importances) == ["m", "s", "interactions"]
    assert "one seed cannot tell noise" in lonely.note


def test_a_panel_without_shares_says_why() -> None:
    partial = MadeUp(status=lambda cell, seed: "missing" if cell["m"] == 2 else "finished")
    given = shown(partial)
    assert given.importances == {"no shares: see the note": 0.0}
    assert "24 of 72 replicates have no mean_relative_error (24 missing)" in given.note
    assert "24 missing" in given.captions["Hyperparameter Importance"]
    partial.spec["design"] = "search"
    assert "a search runs only the cells that it expects to be good" in shown(partial).note
    empty = shown_of("x", partial.spec, OBJECTIVE, partial.table.iloc[:0], AXES)
    assert empty.importances == {"no shares: see the note": 0.0}
    before = shown_before("x", partial.spec, OBJECTIVE)
    assert list(before.importances or {}) == ["not computed yet: load this page again"]


def test_samples_have_first_order_indices() -> None:
    from study.specification.saltelli import saltelli

    axes: dict[str, list[Any]] = {"m": [2, 8, 14], "s": [5, 10, 20, 40]}
    record = MadeUp(axes)
    sampled = saltelli(axes, 32)
    ran = {(cell["m"], cell["s"]) for cell in sampled}
    table = record.table[[(m, s) in ran for m, s in zip(record.table["m"], record.table["s"], strict=True)]]
    shares = main_shares(table, axes, SEEDS, METRIC, sampled)
    assert list(shares.bars) == ["m", "s"]
    assert 0.8 < sum(shares.bars.values()) < 1.2  # by construction there is no interaction; 32 samples tell it roughly
    assert "First-order Sobol' indices" in shares.caption


def test_the_best_trial_is_told_from_the_recommended_cell() -> None:
    record, sentence = MadeUp(), "Recommended: m = 8, s = 10 (plain_training)."
    plain, recommended = shown(record), shown(record, recommended=sentence)
    for given in (plain, recommended):
        assert given.objective == "mean_relative_error_train, of one seed"
        assert "not the recommended cell" in given.captions["Best Trial"]
        assert "**one seed**" in given.note
    assert recommended.captions["Best Trial"].endswith(sentence)
    assert recommended.attributes == {"recommended": sentence}
    assert recommended.note.split("\n\n")[1] == "**Recommended: m = 8, s = 10 (plain\\_training).**"
    assert plain.attributes == {}
    assert "Recommended:" not in plain.note


def test_the_note_of_the_baselines_is_about_baselines() -> None:
    spec = MadeUp({**AXES, "training.lr": [1e-3, 1e-2]}).spec
    note = baseline_note_of("made_up", spec, "final_loss_train")
    assert note.startswith("# made\\_up/baseline")
    assert "A baseline is plain training" in note
    assert "the training loss after the last epoch" in note
    assert "The cells are compared with it" in note
    assert "`baseline: {training.lr: [0.001, 0.01]}`" in note
    assert "| training.lr | learning rate | 0.001, 0.01 |" in note
    assert "| seed |" in note
    for of_cells in ("| m |", "| s |", "| tolerance |", "mean_relative_error", "overhead"):
        assert of_cells not in note
        assert of_cells in note_of("made_up", spec, OBJECTIVE)
    given = baseline_shown_of("made_up", spec, "final_loss_train", recommended="Recommended: m = 8.")
    assert given.note.split("\n\n")[1] == "**Recommended: m = 8.**"
    assert list(given.importances or {}) == ["none for baselines: see the note"]
    assert "recommended" not in given.captions["Best Trial"]


def test_values_of_baselines_alone_are_named() -> None:
    spec = MadeUp({**AXES, "training.lr": [1e-3]}).spec | {
        "baseline": {"training.lr": [1e-2, 1e-1], "training.batch": [32]}
    }
    note = baseline_note_of("made-up", spec, "final_loss_train")
    assert "| training.lr | learning rate | 0.001; 0.01, 0.1 (baselines alone) |" in note
    assert "`training.lr`: 0.01, 0.1, `training.batch`: 32" in note
    assert "A spec may have" not in note
