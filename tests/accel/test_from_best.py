"""Reading the parameters that a study found best."""

import copy

import pytest
import torch
import yaml
from torch import nn

from accel import DMD, Accelerator, Anderson, ByLoss, Decay, Koopman

GOOD = {
    "format_version": 1,
    "study": "quick",
    "spec_hash": "abc",
    "method": {
        "name": "dmd",
        "mode": "train",
        "group": "model",
        "form": "displacement",
        "amplitudes": "least_squares",
        "modes": "exact",
        "growth": "clip",
        "accept": "improve",
        "moments": "keep",
        "snapshots": "step",
        "horizon": None,
    },
    "choices": {
        "mean_relative_error": {
            "minimum": {"parameters": {"m": 14, "s": 55, "tolerance": 1e-6, "training.lr": 1e-3}, "value": 0.9},
            "one-standard-error": {"unavailable": "the rule needs at least 3 seeds"},
        },
        "final_loss_ratio": {
            "minimum": {"parameters": {"m": 4, "s": 9, "method.growth": "keep"}, "value": 0.7},
            "one-standard-error": {"parameters": {"m": 2, "s": 9}, "value": 0.7},
        },
    },
}


@pytest.fixture
def model():
    return nn.Linear(3, 2)


@pytest.fixture
def write(tmp_path):
    def write_changed(*changes):
        document = copy.deepcopy(GOOD)
        for keys, value in changes:
            section = document
            for key in keys[:-1]:
                section = section[key]
            section[keys[-1]] = value
        path = tmp_path / "best.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write_changed


def test_reads_the_choice(model, write):
    options = Accelerator.from_best(model, write()).options
    assert options.rule == DMD(1e-6, form="displacement", modes="exact", growth="clip")
    assert (options.m, options.s, options.group, options.accept) == (14, 55, "model", "improve")
    other = Accelerator.from_best(model, write(), metric="final_loss_ratio", choice="one-standard-error").options
    assert (other.m, other.s) == (2, 9)
    assert Accelerator.from_best(model, str(write()), metric="final_loss_ratio").options.rule.growth == "keep"


def test_reads_policy_and_schedule(model, write):
    policy = {"candidates": [0.5, 2], "relaxation": 0.7, "noise": 0.1, "margin": 0.01, "start": 3, "stop": None}
    file = write(*((["method", key], value) for key, value in policy.items()), (["method", "horizon"], "decay"))
    with pytest.raises(ValueError, match="say how many with horizon_jumps="):
        Accelerator.from_best(model, file)
    options = Accelerator.from_best(model, file, horizon_jumps=10).options
    assert options.s == Decay(55, 10)
    assert (options.candidates, options.relaxation, options.noise) == ((0.5, 2), 0.7, 0.1)
    assert (options.margin, options.start, options.stop) == (0.01, 3, None)
    assert Accelerator.from_best(model, file, horizon="constant").options.s == 55
    assert Accelerator.from_best(model, file, horizon="loss").options.s == ByLoss(55)


@pytest.mark.parametrize(
    ("name", "own", "rule"),
    [("koopman", {"tolerance": 1e-3}, Koopman(1e-3)), ("anderson", {"mixing": 0.5}, Anderson(mixing=0.5))],
)
def test_reads_the_rule_that_the_method_names(model, write, tmp_path, name, own, rule):
    content = yaml.safe_load(write().read_text())
    cell = {"parameters": {"m": 5, "s": 1}}
    content |= {"method": {"name": name, **own}, "choices": {"mean_relative_error": {"minimum": cell}}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(content))
    accelerator = Accelerator.from_best(model, tmp_path / "other.yaml")
    assert (accelerator.rule, accelerator.m) == (rule, 5)
    with pytest.raises(ValueError, match=r"overrides must be among .*, got growth"):
        Accelerator.from_best(model, tmp_path / "other.yaml", growth="clip")


def test_one_truncation_displaces_the_other(model, write):
    rule = Accelerator.from_best(model, write(), rank=3).options.rule
    assert (rule.tolerance, rule.rank) == (None, 3)


def test_overrides_win(model, write):
    optimizer = torch.optim.Adam(model.parameters())
    accelerator = Accelerator.from_best(
        model, write(), s=3, tolerance=0.5, accept="always", moments="reset", optimizer=optimizer
    )
    options = accelerator.options
    assert (options.m, options.s, options.accept, options.moments) == (14, 3, "always", "reset")
    assert options.rule.tolerance == 0.5
    with pytest.raises(ValueError, match=r"overrides must be among accept, amplitudes, .*, got lr"):
        Accelerator.from_best(model, write(), lr=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([(["format_version"], 2)], "format_version must be 1, got 2"),
        (
            [(["method", "name"], "newton")],
            "method.name must be among anderson, average, dmd, koopman, line, got 'newton'",
        ),
        ([(["method", "momentum"], 0.5)], "must be among accept, .* got momentum"),
        ([(["method"], [1])], "must have a section 'method'; the sections there are choices"),
        ([(["choices", "mean_relative_error", "minimum", "parameters"], {"m": 3})], "s must be given"),
        (
            [(["choices", "mean_relative_error", "minimum", "parameters", "tolerance"], 2.0)],
            r"in \[0, 1\) or None, got 2.0",
        ),
        ([(["choices"], {})], "section 'mean_relative_error'; the sections there are none"),
    ],
)
def test_a_file_it_cannot_follow_is_an_error_that_says_why(model, write, changes, message):
    with pytest.raises(ValueError, match=message):
        Accelerator.from_best(model, write(*changes))


def test_choices_that_are_not_there(model, write):
    with pytest.raises(ValueError, match=r"no 'one-standard-error' choice .*: the rule needs at least 3 seeds"):
        Accelerator.from_best(model, write(), "one-standard-error")
    with pytest.raises(
        ValueError, match="section 'speed'; the sections there are final_loss_ratio, mean_relative_error"
    ):
        Accelerator.from_best(model, write(), metric="speed")
    with pytest.raises(ValueError, match="section 'best'; the sections there are minimum, one-standard-error"):
        Accelerator.from_best(model, write(), "best")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "must hold a mapping as a study writes it, got list"),
        ("", "must hold a mapping as a study writes it, got NoneType"),
        ("a: [", "must be YAML"),
        ("!!python/object/apply:os.getcwd []", "must be YAML: could not determine a constructor"),
    ],
)
def test_what_is_no_safe_mapping(model, tmp_path, text, message):
    path = tmp_path / "best.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"best\.yaml {message}"):
        Accelerator.from_best(model, path)


def test_snapshots_per_epoch_are_the_callers_to_take(model, write):
    with pytest.warns(UserWarning, match="call step\\(\\) once per epoch"):
        Accelerator.from_best(model, write((["method", "snapshots"], "epoch")))
