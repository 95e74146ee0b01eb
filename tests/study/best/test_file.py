"""The file of best parameters: what is written is what is read, by a study and by the accelerator."""

import copy
import math

import numpy as np
import pytest
import yaml
from torch import nn

from accel import Accelerator
from study.analysis import NoChoice
from study.analysis.statistics.best_document import best_document
from study.best.file import read_best, write_best_file
from study.errors import UserError

AXES = {"m": [2, 4], "s": [5, 10], "tolerance": [1e-6]}


def test_document_survives_yaml(make_table, tmp_path):
    table, axes, seeds = make_table(
        {"m": np.array([2, 4]), "s": [5, 10], "tolerance": [1e-6, 1e-10], "relaxation": [None]},
        lambda m, s, tolerance, relaxation: [np.float64(m * s * tolerance)] * 2,
        seeds=(0, 1),
    )
    table["final_loss_ratio_test"] = math.nan
    method = {"name": "dmd", "group": "layer", "form": "state", "candidates": (5, 10)}
    document = best_document(table, axes, seeds, study="quick", spec_hash="12ab", method=method)
    path = write_best_file(tmp_path / "new" / "best.yaml", document)

    read = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert read == document
    assert [entry.name for entry in path.parent.iterdir()] == ["best.yaml"]  # nothing temporary stays
    assert read["chosen"] == {"metric": "mean_relative_error", "rule": "minimum"}
    assert read["evidence"] is None
    assert (read["format_version"], read["study"], read["spec_hash"]) == (1, "quick", "12ab")
    assert read["method"] == {**method, "candidates": [5, 10]}
    assert read["choices"]["mean_relative_error"]["minimum"] == {
        "parameters": {"m": 2, "s": 5, "tolerance": 1e-10, "relaxation": None},
        "value": 1e-9,
        "value_test": 0.01 + 1e-9,
        "spread": 0.0,
        "seeds": 2,
        "overhead": 1.05,
        "final_loss_ratio": 0.9,
        "improves": True,
        "beats_baseline": True,
    }
    # A reader that follows YAML 1.1 takes 1e-10 for a string: it must be written 1.0e-10.
    assert isinstance(read["choices"]["mean_relative_error"]["minimum"]["parameters"]["tolerance"], float)
    assert "at least 3 seeds" in read["choices"]["mean_relative_error"]["one-standard-error"]["unavailable"]
    assert read["choices"]["final_loss_ratio"]["minimum"]["value_test"] is None


def test_file_begins_with_how_to_use_it(make_table, tmp_path):
    document = best_document(*make_table(AXES, lambda **_: [0.9] * 3), study="a", spec_hash="b", method={})
    lines = write_best_file(tmp_path / "best.yaml", document).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# from accel import Accelerator"
    assert 'Accelerator.from_best(model, "best.yaml")' in lines[1]


def test_document_keeps_dotted_keys_and_says_what_is_not_available(make_table):
    axes = {"m": [2, 4], "training.lr": [1e-4, 1e-3]}
    table = make_table(axes, lambda **p: [0.9, 0.91, 0.9], final_loss_ratio=lambda **p: 1 + p["training.lr"])
    choices = best_document(*table, study="a", spec_hash="b", method={})["choices"]
    for rule in ("minimum", "one-standard-error"):
        assert "training.lr: 0.0001, 0.001" in choices["mean_relative_error"][rule]["unavailable"]
    minimum = choices["final_loss_ratio"]["minimum"]
    assert minimum["parameters"] == {"m": 2, "training.lr": 1e-4}
    assert (minimum["improves"], minimum["beats_baseline"]) == (False, False)
    chosen = best_document(*table, study="a", spec_hash="b", method={}, at={"training.lr": 1e-3})["choices"]
    assert chosen["mean_relative_error"]["minimum"]["parameters"] == {"m": 2, "training.lr": 1e-3}


def test_the_accelerator_reads_what_is_written(make_table, tmp_path):
    axes = {"m": [2, 14], "s": [5, 55], "tolerance": [1e-10, 1e-6], "training.lr": [1e-3]}
    table = make_table(axes, lambda **p: [0.8 if (p["m"], p["s"], p["tolerance"]) == (14, 55, 1e-6) else 0.9] * 3)
    method = {"name": "dmd", "mode": "train", "group": "layer", "form": "displacement", "accept": "always"}
    path = write_best_file(tmp_path / "best.yaml", best_document(*table, study="a", spec_hash="b", method=method))
    for choice in ("minimum", "one-standard-error"):
        accelerator = Accelerator.from_best(nn.Linear(3, 2), path, choice=choice)
        assert (accelerator.m, accelerator.s) == (14, 55)
        assert accelerator.rule.tolerance == 1e-6
        assert accelerator.rule.form == "displacement"


def test_document_without_baselines_says_so_and_wrong_arguments_still_raise(make_table):
    table, axes, seeds = make_table(AXES, lambda **_: [0.9] * 3)
    plain = table.drop(columns=["final_loss_ratio_train", "final_loss_ratio_test"])
    choices = best_document(plain, axes, seeds, study="a", spec_hash="b", method={})["choices"]
    assert "no column final_loss_ratio_train" in choices["final_loss_ratio"]["minimum"]["unavailable"]
    minimum = choices["mean_relative_error"]["minimum"]
    assert (minimum["final_loss_ratio"], minimum["beats_baseline"]) == (None, None)
    with pytest.raises(ValueError, match="at must name an axis of the study"):
        best_document(table, axes, seeds, study="a", spec_hash="b", method={}, at={"lr": 1e-3})


@pytest.fixture
def document(make_table):
    """Of four cells, of which (4, 10) has the lowest error and (2, 5) trains best."""
    table = make_table(
        AXES,
        lambda m, s, tolerance: [1 - m * s / 100] * 3,
        final_loss_ratio=lambda m, s, tolerance: m * s / 50,
    )
    table[0]["geometric_mean_relative_error_train"] = table[0]["mean_relative_error_train"]
    table[0]["geometric_mean_relative_error_test"] = table[0]["mean_relative_error_test"]

    def make(**options):
        return best_document(*table, study="a", spec_hash="b", method={"name": "dmd"}, **options)

    return make


def test_what_is_written_is_read(document, tmp_path):
    evidence = {"problem": {"name": "x"}, "network": {}, "training": {"lr": 0.1}, "axes": {"m": [2, 4]}}
    evidence["trained_with"] = [{"commit": "c", "torch": "2", "replicates": 12}]
    found = read_best(write_best_file(tmp_path / "best.yaml", document(evidence=evidence)))
    assert found.evidence.trained_with == evidence["trained_with"]
    assert found.choice().parameters == {"m": 4, "s": 10, "tolerance": 1e-6}
    assert (found.choice().metric, found.choice().rule, found.choice().seeds) == ("mean_relative_error", "minimum", 3)
    assert found.choice().value == pytest.approx(0.6, rel=1e-15)


def test_readers_take_the_choice_that_was_asked_for(document, tmp_path):
    path = write_best_file(tmp_path / "best.yaml", document(metric="final_loss_ratio"))
    assert read_best(path).choice().parameters == {"m": 2, "s": 5, "tolerance": 1e-6}
    assert Accelerator.from_best(nn.Linear(3, 2), path).s == 5
    assert Accelerator.from_best(nn.Linear(3, 2), path, metric="mean_relative_error").s == 10
    write_best_file(path, document(metric="geometric_mean_relative_error", rule="one-standard-error"))
    assert read_best(path).choice().metric == "geometric_mean_relative_error"
    assert Accelerator.from_best(nn.Linear(3, 2), path).s == 10


def test_the_first_possible_choice_is_taken_where_none_is_asked_for(make_table, tmp_path):
    table = make_table({"m": [2, 4], "s": [5], "training.lr": [1e-4, 1e-3]}, lambda **_: [0.9] * 2, seeds=(0, 1))
    made = {"study": "a", "spec_hash": "b", "method": {"name": "dmd"}}
    path = write_best_file(tmp_path / "best.yaml", best_document(*table, **made))
    assert read_best(path).chosen.model_dump() == {"metric": "final_loss_ratio", "rule": "minimum"}
    with pytest.raises(NoChoice, match="choose one value with at"):
        best_document(*table, **made, metric="mean_relative_error")

    nothing = make_table({"m": [2, 4], "s": [5]}, lambda **_: ["diverged"] * 2, seeds=(0, 1))
    write_best_file(path, best_document(*nothing, **made))
    with pytest.raises(UserError, match="holds no choice of parameters"):
        read_best(path).choice()
    with pytest.raises(ValueError, match="the study allowed no choice"):
        Accelerator.from_best(nn.Linear(3, 2), path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["format_version"], 2, "format_version must be 1, got 2. Another version of dmd-study"),
        (["format_version"], None, "format_version must be 1, got None"),
        (["method"], [1], "method: must be a valid dictionary"),
        (["chosen", "rule"], None, "chosen.rule: must be a valid string"),
        (["choices"], [1], "choices: must map metrics to rules"),
        (["choices", "final_loss_ratio", "minimum", "value"], "low", r"choices.final_loss_ratio.minimum.value: must"),
        (["choices", "final_loss_ratio", "minimum", "seeds"], None, r"choices.final_loss_ratio.minimum.seeds: must be"),
        (["choices", "final_loss_ratio", "minimum", "luck"], 1, r"choices.final_loss_ratio.minimum.luck: unexpected"),
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
