"""The file of best parameters: what is written is what is read, by a study and by the accelerator."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from accel import Accelerator
from study.analysis import NoChoice
from study.analysis.statistics.answer import answer
from study.analysis.statistics.best_document import best_document
from study.analysis.statistics.study_data import StudyData
from study.best.file import read_best, write_best_file
from study.errors import UserError

AXES = {"m": [2, 4], "s": [5, 10], "tolerance": [1e-6]}
TRAINING = {"optimizer": "sgd", "lr": 0.1, "epochs": 100}
FRESH = (1000, 1001, 1002)


def replicate(kind, cell, seed, train, test):
    """A replicate as a record holds it, without jumps: its losses are the same in every epoch."""
    losses = {"train": train, "test": test}
    return {
        "kind": kind,
        "cell": cell,
        "seed": seed,
        "status": "finished",
        "final_epoch": 100.0,
        "jump_epoch": [],
        "jump_train_before": [],
        **{f"final_loss_{split}": loss for split, loss in losses.items()},
        **{f"curve_{split}_epoch": [0, 100] for split in losses},
        **{f"curve_{split}": [loss, loss] for split, loss in losses.items()},
    }


def study_of(table, axes, seeds, *, rates=(0.1, 0.01), fresh=None, **options):
    """A study with this table, in which plain training ends at 1 with its first rate, which is the spec's, else at 2.

    ``fresh``: the loss at which every cell ends on every fresh seed.
    """
    rows = [
        replicate("baseline", {} if rate == rates[0] else {"training.lr": rate}, seed, loss, 2 * loss)
        for rate, loss in zip(rates, (1.0, 2.0), strict=False)
        for seed in (*seeds, *(FRESH if fresh else ()))
    ]
    for row in table.to_dict("records"):
        cell = {axis: row[axis] for axis in axes}
        rows.append(replicate("cell", cell, row["seed"], row["final_loss_train"], row["final_loss_test"]))
        if fresh:
            rows += [replicate("cell", cell, seed, fresh, fresh) for seed in FRESH]
    if fresh:
        options["fresh_seeds"] = FRESH
    return StudyData("a", table, axes, seeds, lambda: rows, training=TRAINING, **options)


def document_of(data, *, method=None, **options):
    return best_document(data, answer(data), spec_hash="12ab", method={"name": "dmd"} | (method or {}), **options)


def test_document_survives_yaml(make_table, tmp_path):
    table, axes, seeds = make_table(
        {"m": [2, 4], "s": [5, 10], "tolerance": [1e-6, 1e-10], "relaxation": [None]},
        lambda m, s, tolerance, relaxation: [np.float64(m * s * tolerance)] * 2,
        seeds=(0, 1),
    )
    table["final_loss_ratio_test"] = math.nan
    method = {
        "name": "dmd",
        "group": "layer",
        "form": "state",
        "candidates": (5, np.int64(10)),
        "noise": np.array([0.5]),
    }
    data = study_of(table, axes, seeds)
    document = document_of(data, method=method)
    path = write_best_file(tmp_path / "new" / "best.yaml", document)

    read = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert read == document
    assert [entry.name for entry in path.parent.iterdir()] == ["best.yaml"]  # nothing temporary stays
    assert list(read)[:7] == [
        *("format_version", "study", "spec_hash", "written_by", "recommended", "answer", "recommendation"),
    ]
    assert (read["chosen"], read["evidence"]) == (None, None)
    assert (read["format_version"], read["study"], read["spec_hash"]) == (2, "a", "12ab")
    assert read["method"] == {**method, "candidates": [5, 10], "noise": [0.5]}
    assert read["other_choices"]["mean_relative_error"]["question"] == "lowest error per jump"
    assert read["other_choices"]["mean_relative_error"]["minimum"] == {
        "parameters": {"m": 2, "s": 5, "tolerance": 1e-10, "relaxation": None},
        "value": 1e-9,
        "value_test": 0.01 + 1e-9,
        "spread": 0.0,
        "seeds": 2,
        "overhead": 1.05,
        "final_loss_ratio": 0.9,
        "of_cells": 8,
        # the same on both seeds, so that nothing is in doubt
        "low": pytest.approx(1e-9, rel=1e-12),
        "high": pytest.approx(1e-9, rel=1e-12),
    }
    # A reader that follows YAML 1.1 takes 1e-10 for a string: it must be written 1.0e-10.
    assert isinstance(read["other_choices"]["mean_relative_error"]["minimum"]["parameters"]["tolerance"], float)
    assert "at least 3 seeds" in read["other_choices"]["mean_relative_error"]["one-standard-error"]["unavailable"]
    assert read["other_choices"]["final_loss_ratio"]["question"] == "lowest final loss ratio"
    assert read["other_choices"]["final_loss_ratio"]["minimum"]["value_test"] is None


def test_the_recommendation_comes_with_its_evidence(make_table):
    """Cell (2, 10) ends at 0.6 of the best plain training on the study's seeds, and at 0.7 on fresh ones."""
    table = make_table(
        AXES,
        lambda **_: [0.9] * 3,
        final_loss_ratio=lambda m, s, **_: 0.6 if (m, s) == (2, 10) else 1.5,
        overhead=lambda m, **_: 1 + m / 100,
    )
    cell = {"m": 2, "s": 10, "tolerance": 1e-6}
    time = {"ratio": 1.25, "low": 1.0, "high": 2.0, "pairs": 5, "device": "1 CPU thread"}
    data = study_of(*table, fresh=0.7, timing={"cell": cell, "plain": {}, **time}, smallest_effect=0.05)
    document = document_of(data)
    assert document["recommended"] == "on"
    assert document["answer"] == list(answer(data).sentences)
    assert document["answer"][0].startswith("Yes: with m = 2, s = 10, tolerance = 1e-06, training ends 30 % lower")
    # exp(log(0.7)) may differ from 0.7 by rounding
    near = pytest.approx(0.7, rel=1e-12)
    estimate = {"ratio": near, "low": near, "high": near, "seeds": 3, "fresh": True, "verdict": "yes"}
    assert document["recommendation"] == {
        "parameters": cell,
        "trained_with": TRAINING,
        "best_plain_training": {"training.lr": 0.1},
        "plain_training_varied": {"training.lr": [0.01, 0.1]},
        "at_equal_steps": estimate,
        "at_equal_time": estimate,  # the losses never change, and so are the same after as much time
        "time_of_an_epoch": time,
        "test_ratio": pytest.approx(0.35, rel=1e-12),
        "overhead": 1.02,
        "smallest_effect": 0.05,
        "of_cells": 4,
    }
    assert document_of(study_of(*table))["recommendation"]["at_equal_time"] is None


@pytest.mark.parametrize(
    ("ratio", "rates", "recommended"),
    [(0.6, (0.1, 0.01), "on"), (1.5, (0.1, 0.01), "off"), (0.6, (0.1,), "not known"), (1.5, (0.1,), "off")],
)
def test_what_is_recommended_is_the_answers_verdict(make_table, ratio, rates, recommended):
    table = make_table(AXES, lambda **_: [0.9] * 3, final_loss_ratio=lambda m, s, **_: ratio + m / 100)
    document = document_of(study_of(*table, rates=rates))
    assert document["recommended"] == recommended
    # if plain training wins, it is the least bad cell
    assert document["recommendation"]["parameters"] == {"m": 2, "s": 5, "tolerance": 1e-6}


def test_axes_of_the_training_are_in_the_training_of_the_recommendation(make_table):
    axes = {"m": [2], "training.lr": [0.2, 0.3], "training.batch": [16], "network.hidden": [[8]]}
    table, *rest = make_table(axes, lambda **_: [0.9] * 3, final_loss_ratio=lambda **p: p["training.lr"])
    rows = [
        replicate("baseline", {axis: cell[axis] for axis in axes if axis != "m"}, seed, 1.0, 1.0)
        for cell in ({"training.lr": lr, "training.batch": 16, "network.hidden": [8]} for lr in axes["training.lr"])
        for seed in (0, 1, 2)
    ]
    rows += [
        replicate("cell", {a: row[a] for a in axes}, row["seed"], row["final_loss_train"], row["final_loss_test"])
        for row in table.to_dict("records")
    ]
    training = {"optimizer": "sgd", "epochs": 100}
    entry = document_of(StudyData("a", table, *rest, lambda: rows, training=training))["recommendation"]
    assert entry["trained_with"] == {**training, "lr": 0.2, "batch": 16}
    assert entry["parameters"] == {"m": 2, "training.lr": 0.2, "training.batch": 16, "network.hidden": [8]}


def test_a_study_without_a_recommendation_says_why(make_table, tmp_path):
    table = make_table(AXES, lambda **_: [0.9] * 3)

    def entry(*parts, **options):
        document = document_of(study_of(*parts, **options))
        read = read_best(write_best_file(tmp_path / "best.yaml", document))
        with pytest.raises(
            UserError, match=f"a holds no choice of parameters: {document['recommendation'].popitem()[1]}"
        ):
            read.parameters()
        assert (read.trained_with, read.why_chosen) == ({}, f"recommended: {document['recommended']}")
        with pytest.raises(ValueError, match="the study has no recommendation: "):
            Accelerator.from_best(nn.Linear(3, 2), tmp_path / "best.yaml")
        return document["recommended"], read.recommendation.unavailable

    assert entry(*table, probed=True) == (
        "not known",
        "this study judged jumps, but took none, so that no final loss is known; `dmd-study best DIR --metric "
        "geometric_mean_relative_error` chooses by the jumps",
    )
    assert entry(*table, rates=()) == ("not known", "no plain training has finished on every seed yet")
    diverged = make_table(AXES, lambda **_: ["diverged"] * 3)
    assert entry(*diverged) == ("off", "every one of 4 cells diverged")


def test_file_begins_with_how_to_use_it(make_table, tmp_path):
    document = document_of(study_of(*make_table(AXES, lambda **_: [0.9] * 3)))
    lines = write_best_file(tmp_path / "best.yaml", document).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# from accel import Accelerator"
    assert 'Accelerator.from_best(model, "best.yaml", optimizer=optimizer)' in lines[1]


def test_document_keeps_dotted_keys_and_says_what_is_not_available(make_table):
    axes = {"m": [2, 4], "training.lr": [1e-4, 1e-3]}
    table = make_table(axes, lambda **p: [0.9, 0.91, 0.9], final_loss_ratio=lambda **p: 1 + p["training.lr"])
    data = study_of(*table, rates=())
    choices = document_of(data)["other_choices"]
    for rule in ("minimum", "one-standard-error"):
        assert "training.lr: 0.0001, 0.001" in choices["mean_relative_error"][rule]["unavailable"]
    minimum = choices["final_loss_ratio"]["minimum"]
    assert minimum["parameters"] == {"m": 2, "training.lr": 1e-4}
    assert minimum["low"] > 1
    chosen = document_of(data, at={"training.lr": 1e-3})
    assert chosen["other_choices"]["mean_relative_error"]["minimum"]["parameters"] == {"m": 2, "training.lr": 1e-3}
    assert chosen["chosen"] == {"metric": "mean_relative_error", "rule": "minimum"}


def test_the_accelerator_reads_what_is_written(make_table, tmp_path):
    axes = {"m": [2, 14], "s": [5, 55], "tolerance": [1e-10, 1e-6]}

    def best_is(m, s, tolerance):
        return lambda **p: 0.8 if (p["m"], p["s"], p["tolerance"]) == (m, s, tolerance) else 0.9

    lowest_error, lowest_loss = best_is(14, 55, 1e-6), best_is(2, 55, 1e-10)
    table = make_table(axes, lambda **p: [lowest_error(**p)] * 3, final_loss_ratio=lowest_loss)
    method = {"mode": "train", "group": "layer", "form": "displacement", "accept": "always"}
    path = write_best_file(tmp_path / "best.yaml", document_of(study_of(*table), method=method))
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    accelerator = Accelerator.from_best(model, path, optimizer=optimizer)
    assert (accelerator.m, accelerator.s, accelerator.rule.tolerance) == (2, 55, 1e-10)
    assert accelerator.rule.form == "displacement"
    for choice in ("minimum", "one-standard-error"):
        accelerator = Accelerator.from_best(model, path, choice=choice, metric="mean_relative_error")
        assert (accelerator.m, accelerator.s) == (14, 55)
        assert accelerator.rule.tolerance == 1e-6
        assert accelerator.rule.form == "displacement"


def test_document_without_baselines_says_so_and_wrong_arguments_still_raise(make_table):
    table, axes, seeds = make_table(AXES, lambda **_: [0.9] * 3)
    plain = table.drop(columns=["final_loss_ratio_train", "final_loss_ratio_test"])
    document = document_of(study_of(plain, axes, seeds, rates=()))
    assert document["recommendation"] == {"unavailable": "no plain training has finished on every seed yet"}
    choices = document["other_choices"]
    assert "no column final_loss_ratio_train" in choices["final_loss_ratio"]["minimum"]["unavailable"]
    assert choices["mean_relative_error"]["minimum"]["final_loss_ratio"] is None
    data = study_of(table, axes, seeds)
    with pytest.raises(ValueError, match="at must name an axis of the study"):
        document_of(data, at={"lr": 1e-3})
    with pytest.raises(ValueError, match="metric must be one of"):
        document_of(data, metric="speed")
    with pytest.raises(ValueError, match="rule must be one of"):
        document_of(data, rule="maximum")


def test_a_table_without_replicates_has_no_recommendation(make_table):
    table, axes, seeds = make_table(AXES, lambda **_: [0.9] * 3)
    replied = answer(study_of(table, axes, seeds))
    document = best_document(
        StudyData("a", pd.DataFrame(), axes, seeds, lambda: ()), replied, spec_hash="b", method={"name": "dmd"}
    )
    assert document["recommendation"] == {"unavailable": "the table has no replicates yet"}


@pytest.fixture
def document(make_table):
    """Make a study of four cells: (4, 10) has the lowest error; (2, 5) trains best, and better than plain training."""
    table = make_table(
        AXES,
        lambda m, s, tolerance: [1 - m * s / 100] * 3,
        final_loss_ratio=lambda m, s, tolerance: m * s / 50,
    )
    table[0]["geometric_mean_relative_error_train"] = table[0]["mean_relative_error_train"]
    table[0]["geometric_mean_relative_error_test"] = table[0]["mean_relative_error_test"]

    def make(**options):
        return document_of(study_of(*table), **options)

    return make


def test_what_is_written_is_read(document, tmp_path):
    evidence = {"problem": {"name": "x"}, "network": {}, "training": {"lr": 0.1}, "axes": {"m": [2, 4]}}
    evidence["trained_with"] = [{"commit": "c", "torch": "2", "replicates": 12}]
    content = document(evidence=evidence)
    read = read_best(write_best_file(tmp_path / "best.yaml", content))
    assert read.evidence.trained_with == evidence["trained_with"]
    assert (read.recommended, read.answer, read.chosen) == ("on", content["answer"], None)
    assert read.parameters() == {"m": 2, "s": 5, "tolerance": 1e-6}
    assert read.recommendation.model_dump() == content["recommendation"]
    estimate = read.recommendation.at_equal_steps
    assert (estimate.ratio, estimate.seeds, estimate.fresh, estimate.verdict) == (
        pytest.approx(0.2, rel=1e-12),
        *(3, False, "yes"),
    )
    assert (read.trained_with, read.why_chosen) == (TRAINING, "recommended: on")
    choice = read.other_choices["mean_relative_error"]["minimum"]
    assert choice.parameters == {"m": 4, "s": 10, "tolerance": 1e-6}
    assert (choice.metric, choice.rule, choice.seeds, choice.of_cells) == ("mean_relative_error", "minimum", 3, 4)
    assert choice.value == pytest.approx(0.6, rel=1e-15)
    assert read.other_choices["mean_relative_error"]["question"] == "lowest error per jump"


def test_readers_take_the_choice_that_was_asked_for(document, tmp_path):
    path = write_best_file(tmp_path / "best.yaml", document(metric="mean_relative_error"))
    assert read_best(path).parameters() == {"m": 4, "s": 10, "tolerance": 1e-6}
    assert read_best(path).why_chosen == "mean_relative_error, minimum"
    assert Accelerator.from_best(nn.Linear(3, 2), path).s == 10
    assert Accelerator.from_best(nn.Linear(3, 2), path, metric="final_loss_ratio").s == 5
    write_best_file(path, document(metric="geometric_mean_relative_error", rule="one-standard-error"))
    assert read_best(path).chosen.metric == "geometric_mean_relative_error"
    # it has no question of its own, and so has its name
    question = read_best(path).other_choices["geometric_mean_relative_error"]["question"]
    assert question == "geometric mean relative error"
    assert Accelerator.from_best(nn.Linear(3, 2), path).s == 10
    write_best_file(path, document(rule="one-standard-error"))  # of the first metric
    assert read_best(path).chosen.model_dump() == {"metric": "mean_relative_error", "rule": "one-standard-error"}


def test_a_choice_was_trained_with_the_studys_training_and_its_own_axes(document, tmp_path):
    evidence = {"problem": {}, "network": {}, "training": {"optimizer": "adam", "lr": 0.5}, "axes": {}}
    content = document(metric="final_loss_ratio", evidence={**evidence, "trained_with": []})
    assert read_best(write_best_file(tmp_path / "best.yaml", content)).trained_with == {"optimizer": "adam", "lr": 0.5}
    parameters = content["other_choices"]["final_loss_ratio"]["minimum"]["parameters"]
    parameters |= {"training.lr": 0.25, "network.hidden": [3]}
    read = read_best(write_best_file(tmp_path / "best.yaml", content))
    assert read.trained_with == {"optimizer": "adam", "lr": 0.25}
    content["evidence"] = None  # a file that was made from a table alone
    assert read_best(write_best_file(tmp_path / "best.yaml", content)).trained_with == {}


def test_a_choice_that_is_not_possible_is_refused_and_one_that_is_not_there_told(document, make_table, tmp_path):
    table = make_table({"m": [2, 4], "s": [5], "training.lr": [1e-4, 1e-3]}, lambda **_: [0.9] * 2, seeds=(0, 1))
    with pytest.raises(NoChoice, match="choose one value with at"):
        document_of(study_of(*table, rates=()), metric="mean_relative_error")
    content = document(metric="final_loss_ratio")
    content["chosen"]["rule"] = "magic"
    path = write_best_file(tmp_path / "best.yaml", content)
    with pytest.raises(UserError, match="a holds no choice of parameters: it lacks the choice that it names"):
        read_best(path).parameters()
    assert read_best(path).trained_with == {}
    content["chosen"]["rule"] = "minimum"
    content["other_choices"]["final_loss_ratio"]["minimum"] = {"unavailable": "too few seeds"}
    with pytest.raises(UserError, match="a holds no choice of parameters: too few seeds"):
        read_best(write_best_file(path, content)).parameters()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["format_version"], 1, "format_version must be 2, got 1. Another version .*; `dmd-study best DIR` writes it"),
        (["format_version"], None, "format_version must be 2, got None"),
        (["method"], [1], "method: must be a valid dictionary"),
        (["recommended"], "yes", "recommended: must be 'on', 'off' or 'not known'"),
        (["answer"], "Yes.", "answer: must be a valid list"),
        (["chosen"], {"metric": "final_loss_ratio", "rule": None}, "chosen.rule: must be a valid string"),
        (["other_choices"], [1], "other_choices: must map metrics to rules"),
        (["other_choices", "final_loss_ratio", "minimum", "value"], "low", r"final_loss_ratio.minimum.value: must"),
        (["other_choices", "final_loss_ratio", "minimum", "seeds"], None, r"final_loss_ratio.minimum.seeds: must be"),
        (["other_choices", "final_loss_ratio", "minimum", "luck"], 1, r"final_loss_ratio.minimum.luck: unexpected"),
        (["recommendation"], None, "recommendation: must be a valid dictionary"),
        (["recommendation", "of_cells"], None, "recommendation.of_cells: must be a valid integer"),
        (["recommendation", "at_equal_steps", "ratio"], "low", "recommendation.at_equal_steps.ratio: must be a valid"),
        (["recommendation", "str"], 1, "recommendation.str: extra inputs are not permitted"),
        (["fortune"], 1, "fortune: extra inputs are not permitted"),
    ],
)
def test_a_file_that_no_study_wrote_is_one_clear_line(document, tmp_path, place, value, message):
    content = copy.deepcopy(document())
    section = content
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    with pytest.raises(UserError, match=message) as raised:
        read_best(write_best_file(tmp_path / "best.yaml", content))
    assert "\n" not in str(raised.value)
    assert str(tmp_path / "best.yaml") in str(raised.value)
    assert "more mistakes" not in str(raised.value)


def test_several_mistakes_are_counted(document, tmp_path):
    content = document()
    content["recommendation"] |= {"luck": 1, "of_cells": "many"}
    content["other_choices"]["final_loss_ratio"]["minimum"]["seeds"] = "few"
    with pytest.raises(UserError, match=r"recommendation.of_cells: must be a valid integer.*; and 2 more mistakes"):
        read_best(write_best_file(tmp_path / "best.yaml", content))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "must hold what `dmd-study best` writes, got NoneType"),
        (b"a: [", "not valid YAML"),
        (b"\xff\xfe", "cannot be read"),
        (b"!!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_what_is_no_yaml_of_ours(tmp_path, text, message):
    (tmp_path / "best.yaml").write_bytes(text)
    with pytest.raises(UserError, match=message):
        read_best(tmp_path / "best.yaml")
    with pytest.raises(UserError, match=r"cannot be read: .*No such file"):
        read_best(tmp_path / "absent.yaml")
