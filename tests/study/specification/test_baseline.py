"""Values that baselines alone are trained with, and what else a spec says about its answer."""

import pytest

from study import load_spec as load
from study.errors import SpecError
from study.planning.cells import baselines, confirmations, plain_trainings, tuned_baselines
from study.planning.packs import plan
from study.replicates.keys import replicate_key
from tests.study.conftest import QUADRATIC


def small(**keys):
    return load({**QUADRATIC, **keys})


def test_baselines_alone_are_trained_with_the_values():
    spec = small(baseline={"training.lr": ["1e-3", 0.05, 0.5], "training.momentum": [0, 0.9]})
    assert spec.baseline == {"training.lr": (0.001, 0.05, 0.5), "training.momentum": (0.0, 0.9)}
    first = [r for r in tuned_baselines(spec) if r.seed == 0]
    pairs = [(r.recipe.lr, r.recipe.momentum) for r in first]
    # the spec's own pair, 0.05 and 0, is among the other baselines already
    assert pairs == [(0.001, 0.0), (0.001, 0.9), (0.05, 0.9), (0.5, 0.0), (0.5, 0.9)]
    assert first[0].parameters == {"training.lr": 0.001, "training.momentum": 0.0}
    assert plain_trainings(spec) == [*baselines(spec), *tuned_baselines(spec)]
    names = [replicate_key(r) for r in plain_trainings(spec)]
    assert len(set(names)) == len(names) == 2 * 6
    packs = plan(spec, plain_trainings(spec))
    assert sum(len(pack.replicates) for pack in packs) == 12


def test_values_go_with_every_value_of_a_plain_axis():
    axes = {"m": [4], "s": [2], "tolerance": [1e-6], "problem.seed": [0, 1]}
    spec = small(axes=axes, baseline={"training.lr": [0.5]}, seeds=1)
    assert [dict(r.parameters) for r in tuned_baselines(spec)] == [
        {"problem.seed": 0, "training.lr": 0.5},
        {"problem.seed": 1, "training.lr": 0.5},
    ]


def test_a_study_stays_the_same_with_other_values():
    spec, tuned = small(), small(baseline={"training.lr": [0.5]}, confirm=5, smallest_effect=0.1)
    assert tuned.hash() == spec.hash()
    assert tuned.to_dict() != spec.to_dict()
    assert load(tuned.to_dict()).to_dict() == tuned.to_dict()
    assert not {"baseline", "confirm", "smallest_effect"} & spec.to_dict().keys()


def test_fresh_seeds_are_none_of_the_study():
    assert small(confirm=3).fresh_seeds == (1000, 1001, 1002)
    assert small(confirm=3, seeds=[5, 1001]).fresh_seeds == (1000, 1002, 1003)
    assert small().fresh_seeds == ()


def test_a_choice_is_confirmed_with_its_cell_and_the_best_plain_training():
    spec = small(baseline={"training.lr": [0.5]}, confirm=2)
    cell = {"m": 4, "s": 5, "tolerance": 1e-6}
    made = confirmations(spec, cell, {"training.lr": 0.5})
    assert [(r.is_baseline, dict(r.parameters), r.seed, r.recipe.lr) for r in made] == [
        (True, {"training.lr": 0.5}, 1000, 0.5),
        (True, {"training.lr": 0.5}, 1001, 0.5),
        (False, cell, 1000, 0.05),
        (False, cell, 1001, 0.05),
    ]
    assert [r.recipe.lr for r in confirmations(spec, cell, {})] == [0.05] * 4


def test_the_best_plain_training_may_have_another_value_of_an_axis():
    axes = {"m": [4], "s": [2], "tolerance": [1e-6], "training.lr": [0.05, 0.5]}
    spec = small(axes=axes, training={"optimizer": "sgd", "epochs": 24}, confirm=2)
    cell = {"m": 4, "s": 2, "tolerance": 1e-6, "training.lr": 0.05}
    made = confirmations(spec, cell, {"training.lr": 0.5})
    assert [(r.is_baseline, r.recipe.lr) for r in made] == [(True, 0.5)] * 2 + [(False, 0.05)] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"m": [2]}, "baseline.m: must be a key of training, because a baseline has no method"),
        ({"method.m": [2]}, "baseline.method.m: must be a key of training, because a baseline has no method"),
        ({"training.rate": [2]}, "baseline.training.rate: unknown key; valid keys are training.optimizer, training.lr"),
        ({"problem.seed": [2]}, "because losses of another problem cannot be compared"),
        ({"network.hidden": [[2]]}, "because losses of another network cannot be compared"),
        ({"training.epochs": [2]}, "baseline.training.epochs: baselines train as long as the cells"),
        ({"training.lr": 0.1}, "baseline.training.lr: must be a list of values, got 0.1"),
        ({"training.lr": []}, "baseline.training.lr: must be a list of values, got []"),
        ({"training.lr": [0.1, -1]}, "baseline.training.lr[1]: must be greater than 0, got -1"),
        ({"training.lr": [0.1, "1e-1"]}, "baseline.training.lr: must not repeat a value, got '1e-1' twice"),
        ({"training.batch": [7.5]}, "baseline.training.batch[0]: must be 'full'"),
        ({"training.batch": [999]}, "baseline.training.batch: must be at most the 64 training samples, got 999"),
        ([1], "baseline: must be a mapping, got [1]"),
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(SpecError) as error:
        small(baseline=given)
    assert message in str(error.value)


def test_an_axis_of_the_grid_is_refused():
    with pytest.raises(SpecError, match=r"baseline\.training\.lr: is an axis as well"):
        small(axes={"m": [4], "s": [2], "training.lr": [0.05, 0.5]}, baseline={"training.lr": [1.0]})


def test_an_override_that_makes_it_an_axis_takes_its_place():
    spec = load("quick", {"axes.training.lr": [1e-3, 1e-2]})
    assert (spec.axes["training.lr"], spec.baseline) == ((1e-3, 1e-2), {})
    spec = load("quick", ["baseline.training.lr=[0.5]", "baseline.training.momentum=[0]"])
    assert spec.baseline == {"training.lr": (0.5,), "training.momentum": (0.0,)}
    with pytest.raises(SpecError, match="is an axis as well"):
        load("quick", {"axes.training.lr": [1e-3], "baseline.training.lr": [0.5]})


@pytest.mark.parametrize("confirm", [-1, 1, 1.5, True, "5", 101])
def test_a_number_of_fresh_seeds_is_whole(confirm):
    with pytest.raises(SpecError, match="confirm: must be a number of fresh seeds from 2 to 100, or 0"):
        small(confirm=confirm)


@pytest.mark.parametrize("effect", [0, 1, -0.1, True, "2 %", None])
def test_a_smallest_effect_is_a_part_of_the_loss(effect):
    with pytest.raises(SpecError, match="smallest_effect: must be a part of the final loss above 0 and below 1"):
        small(smallest_effect=effect)
