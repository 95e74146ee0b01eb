"""Reading the parameters that a study found best."""

import copy
import warnings

import pytest
import torch
import yaml
from torch import nn

from accel import DMD, Accelerator, Anderson, ByLoss, Decay, Koopman

GOOD = {
    "format_version": 2,
    "study": "quick",
    "spec_hash": "abc",
    "recommended": "on",
    "answer": ["Yes: it ends lower.", "Time was not measured."],
    "recommendation": {
        "parameters": {"m": 14, "s": 55, "tolerance": 1e-6},
        "trained_with": {"optimizer": "adam", "lr": 1e-3},
        "best_plain_training": {"training.lr": 1e-3},
    },
    "chosen": None,
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
    "other_choices": {
        "mean_relative_error": {
            "question": "lowest error per jump",
            "minimum": {"parameters": {"m": 5, "s": 7, "tolerance": 1e-6, "training.lr": 1e-2}, "value": 0.9},
            "one-standard-error": {"unavailable": "the rule needs at least 3 seeds"},
        },
        "final_loss_ratio": {
            "minimum": {"parameters": {"m": 4, "s": 9, "method.growth": "keep"}, "value": 0.7},
            "one-standard-error": {"parameters": {"m": 2, "s": 9}, "value": 0.7},
        },
    },
    "evidence": {"training": {"optimizer": "adam", "lr": 1e-4}},
}
LOWEST_ERROR = {"metric": "mean_relative_error", "rule": "minimum"}


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


def told(*arguments, **overrides):
    """Texts of the warnings of a call, which must point at the caller."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Accelerator.from_best(*arguments, **overrides)
    assert {warning.filename for warning in caught} <= {__file__}
    return [str(warning.message) for warning in caught]


def test_reads_the_recommendation_and_any_other_choice(model, write):
    options = Accelerator.from_best(model, write()).options
    assert options.rule == DMD(1e-6, form="displacement", modes="exact", growth="clip")
    assert (options.m, options.s, options.group, options.accept) == (14, 55, "model", "improve")
    other = Accelerator.from_best(model, write(), metric="final_loss_ratio", choice="one-standard-error").options
    assert (other.m, other.s) == (2, 9)
    lowest = Accelerator.from_best(model, str(write()), "minimum", "final_loss_ratio").options
    assert (lowest.m, lowest.rule.growth) == (4, "keep")


def test_a_choice_that_the_file_names_comes_before_the_recommendation(model, write):
    file = write((["chosen"], {"metric": "final_loss_ratio", "rule": "minimum"}))
    assert Accelerator.from_best(model, file).m == 4
    assert Accelerator.from_best(model, file, "one-standard-error").m == 2
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    assert Accelerator.from_best(model, file, metric="mean_relative_error", optimizer=optimizer).m == 5
    assert Accelerator.from_best(model, file, "minimum", "mean_relative_error", optimizer=optimizer).m == 5


def test_a_study_that_recommends_to_leave_it_off_is_a_warning_with_its_answer(model, write):
    off = (["recommended"], "off")
    file = write(off, (["answer"], ["No, plain training wins: it ends higher.", "Time was not measured."]))
    expected = f"{file}: the study recommends to leave the accelerator off. No, plain training wins: it ends higher."
    assert told(model, file) == [expected]
    assert told(model, file, "minimum", "final_loss_ratio") == [expected]  # which is no other study
    with pytest.warns(UserWarning, match="recommends to leave"):
        assert Accelerator.from_best(model, file).m == 14  # the least bad cell
    for answer in ([], None):
        assert told(model, write(off, (["answer"], answer)))[0].endswith("accelerator off. plain training wins")
    for recommended in ("on", "not known"):
        assert told(model, write((["recommended"], recommended))) == []


RATE, CLASS = "the learning rate 0.001, yours is {}", "the optimiser adam, yours is {}"
OPTIMISERS = {
    "the same": (torch.optim.Adam, {"lr": 1e-3}, []),
    "the same as a tensor of seven digits": (torch.optim.Adam, {"lr": torch.tensor(1e-3)}, []),
    "a rate that differs a little": (torch.optim.Adam, {"lr": 1.001e-3}, [RATE.format("0.001001")]),
    "a larger rate": (torch.optim.Adam, {"lr": 0.1}, [RATE.format("0.1")]),
    "another class": (torch.optim.AdamW, {"lr": 1e-3}, [CLASS.format("AdamW")]),
    "both": (torch.optim.SGD, {"lr": 0.1}, [CLASS.format("SGD"), RATE.format("0.1")]),
}


@pytest.mark.parametrize(("make", "settings", "differences"), OPTIMISERS.values(), ids=OPTIMISERS)
def test_an_optimiser_unlike_the_studys_is_a_warning(model, write, make, settings, differences):
    text = f"{write()}: the parameters were studied with {'; and with '.join(differences)}"
    assert told(model, write(), optimizer=make(model.parameters(), **settings)) == ([text] if differences else [])


def test_every_group_of_parameters_is_compared(model, write):
    groups = [{"params": [model.weight], "lr": 1e-3}, {"params": [model.bias], "lr": 1e-2}]
    optimizer = torch.optim.Adam(groups)
    assert told(model, write(), optimizer=optimizer)[0].endswith(RATE.format("0.001, 0.01"))
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = None  # an optimiser that finds its own
    assert told(model, write(), optimizer=optimizer) == []


def test_another_choice_is_compared_with_the_training_of_the_whole_study(model, write):
    def rates_told(*choice, lr, file=None):
        return told(model, file or write(), *choice, optimizer=torch.optim.Adam(model.parameters(), lr=lr))

    assert rates_told("minimum", "final_loss_ratio", lr=1e-4) == []
    assert rates_told("minimum", "final_loss_ratio", lr=1e-3)[0].endswith("the learning rate 0.0001, yours is 0.001")
    # the rate is an axis, whose value comes before the spec's own
    assert rates_told("minimum", "mean_relative_error", lr=1e-2) == []
    assert rates_told("minimum", "mean_relative_error", lr=1e-4)[0].endswith("the learning rate 0.01, yours is 0.0001")
    for nothing in (None, {}, {"training": None}, {"training": {"optimizer": "adam", "lr": "fast"}}):
        assert rates_told("minimum", "final_loss_ratio", lr=7.0, file=write((["evidence"], nothing))) == []


def test_parameters_that_hold_at_a_rate_ask_for_the_optimiser(model, write):
    chosen = ("minimum", "mean_relative_error")
    expected = f"{write()}: the parameters hold at training.lr = 0.01; pass optimizer= to compare it with yours"
    assert told(model, write(), *chosen) == [expected]
    assert told(model, write(), "minimum", "final_loss_ratio") == []  # method.growth is no setting of the training


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
    ("name", "settings", "rule"),
    [("koopman", {"tolerance": 1e-3}, Koopman(1e-3)), ("anderson", {"mixing": 0.5}, Anderson(mixing=0.5))],
)
def test_reads_the_rule_that_the_method_names(model, write, tmp_path, name, settings, rule):
    content = yaml.safe_load(write().read_text())
    cell = {"parameters": {"m": 5, "s": 1}}
    content |= {"method": {"name": name, **settings}, "recommendation": cell}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(content))
    accelerator = Accelerator.from_best(model, tmp_path / "other.yaml")
    assert (accelerator.rule, accelerator.m) == (rule, 5)
    with pytest.raises(ValueError, match=r"overrides must be among .*, got growth"):
        Accelerator.from_best(model, tmp_path / "other.yaml", growth="clip")


def test_one_truncation_displaces_the_other(model, write):
    rule = Accelerator.from_best(model, write(), rank=3).options.rule
    assert (rule.tolerance, rule.rank) == (None, 3)


def test_overrides_win(model, write):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    accelerator = Accelerator.from_best(
        model, write(), s=3, tolerance=0.5, accept="always", moments="reset", optimizer=optimizer
    )
    options = accelerator.options
    assert (options.m, options.s, options.accept, options.moments) == (14, 3, "always", "reset")
    assert options.rule.tolerance == 0.5
    assert options.optimizer is optimizer
    with pytest.raises(ValueError, match=r"overrides must be among accept, amplitudes, .*, got lr"):
        Accelerator.from_best(model, write(), lr=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([(["format_version"], 1)], "format_version must be 2, got 1; `dmd-study best DIR` writes the file anew"),
        ([(["format_version"], None)], "format_version must be 2, got None"),
        (
            [(["method", "name"], "newton")],
            "method.name must be among anderson, average, dmd, koopman, line, got 'newton'",
        ),
        ([(["method", "momentum"], 0.5)], "must be among accept, .* got momentum"),
        ([(["method"], [1])], "must have a section 'method'; the sections there are evidence, other_choices, rec"),
        ([(["recommendation", "parameters"], {"m": 3})], "s must be given"),
        ([(["recommendation", "parameters", "tolerance"], 2.0)], r"in \[0, 1\) or None, got 2.0"),
        ([(["recommendation"], None)], "section 'recommendation'; the sections there are evidence, method, other_ch"),
        ([(["recommendation"], {})], "section 'parameters'; the sections there are none"),
        ([(["recommendation"], {"unavailable": "all diverged"})], "the study has no recommendation: all diverged"),
        ([(["chosen"], LOWEST_ERROR), (["other_choices"], {})], "'mean_relative_error'; the sections there are none"),
        ([(["chosen"], "minimum")], "chosen must name a metric and a rule, or be left out, got 'minimum'"),
        ([(["chosen"], {"rule": "minimum"})], "chosen must name a metric and a rule, or be left out, got {'rule': "),
    ],
)
def test_a_file_it_cannot_follow_is_an_error_that_says_why(model, write, changes, message):
    with pytest.raises(ValueError, match=message):
        Accelerator.from_best(model, write(*changes))


def test_choices_that_are_not_there(model, write):
    with pytest.raises(ValueError, match=r"no 'one-standard-error' choice .*: the rule needs at least 3 seeds"):
        Accelerator.from_best(model, write(), "one-standard-error", "mean_relative_error")
    with pytest.raises(
        ValueError, match="section 'speed'; the sections there are final_loss_ratio, mean_relative_error"
    ):
        Accelerator.from_best(model, write(), "minimum", "speed")
    with pytest.raises(ValueError, match="section 'best'; the sections there are minimum, one-standard-error"):
        Accelerator.from_best(model, write(), "best", "mean_relative_error")
    for half in ({"metric": "mean_relative_error"}, {"choice": "minimum"}):
        with pytest.raises(ValueError, match=r"metric and choice must be given together, got .*None"):
            Accelerator.from_best(model, write(), **half)


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
