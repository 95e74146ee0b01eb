from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from study import load_spec
from study.planning.cells import baselines, cells, plain_training, plain_trainings, replicates
from study.planning.costs import count_jumps, predict_cost
from study.planning.packs import CPU_PACK, plan
from study.planning.tasks import make_tasks
from study.replicates.flops import dense_weights, evaluation_flops
from study.replicates.keys import key, replicate_key
from study.specification import MAX_CACHED_SECTIONS

TWO_PLAIN_AXES = {"axes.training.lr": [0.05, 0.02], "training.lr": None, "axes.problem.seed": [3, 4]}


def test_the_first_axis_varies_slowest(small):
    assert cells(small({"axes.tolerance": [1e-6, 1e-3], "axes.s": [2]})) == [
        {"m": 4, "s": 2, "tolerance": 1e-6},
        {"m": 4, "s": 2, "tolerance": 1e-3},
        {"m": 6, "s": 2, "tolerance": 1e-6},
        {"m": 6, "s": 2, "tolerance": 1e-3},
    ]


def test_every_cell_has_every_seed(small):
    spec = small({"seeds": [7, 3]})
    found = [(r.parameters, r.seed) for r in replicates(spec)]
    assert found == [(cell, seed) for cell in cells(spec) for seed in (7, 3)]


def test_a_replicate_says_how_it_is_trained(small):
    spec = small(
        {"training.batch": 16, "method.form": "displacement", "axes.network.hidden": [[8, 4]], "network": None}
    )
    found = replicates(spec)[0]
    assert (found.recipe.hidden, found.recipe.optimizer, found.recipe.batch) == ((8, 4), "sgd", 16)
    assert (found.extrapolation.m, found.extrapolation.s, found.extrapolation.rule) == (4, 2, "dmd")
    assert found.extrapolation.rule_options == {
        "tolerance": 1e-6,
        "form": "displacement",
        "amplitudes": "least_squares",
        "modes": "projected",
        "growth": "keep",
        "rank": None,
    }


def test_a_value_is_validated_once_and_not_in_every_cell(small):
    axes = {"axes.m": [4, 5, 6], "axes.s": [2, 3, 4], "axes.training.lr": [0.05, 0.02], "training.lr": None}
    spec, made = small(axes), []

    def counted(model):
        class Counted(model):
            def __init__(self, **values):
                made.append(values)
                super().__init__(**values)

        return Counted

    found = replicates(replace(spec, models={name: counted(model) for name, model in spec.models.items()}))
    assert found == replicates(spec)
    assert 3 <= len(made) <= 3 + len(spec.axes)  # network, training, method; and once more for a first value


def test_a_cell_among_many_is_as_it_would_be_alone(small):
    axes = {"m": [4, 6], "s": [2, 3], "candidates": [[1.0], [1, 0.5]], "tolerance": [1e-6], "training.lr": [0.05, 1]}
    spec = small({"axes": axes, "training.lr": None})
    alone = [
        replicate
        for cell in cells(spec)
        for replicate in replicates(small({"axes": {axis: [v] for axis, v in cell.items()}, "training.lr": None}))
    ]
    assert replicates(spec) == alone
    assert [predict_cost(spec, r) for r in replicates(spec)] == [predict_cost(spec, r) for r in alone]


@pytest.mark.parametrize("m", [1, 4.5, True, "four"])
def test_a_value_that_no_axis_holds_is_validated(small, m):
    spec = small({"axes.m": [2, 4]})
    assert spec.section("method", {"m": 3, "s": 2, "tolerance": 1e-6})["m"] == 3
    for _ in range(2):
        with pytest.raises(ValidationError):
            spec.section("method", {"m": m, "s": 2, "tolerance": 1e-6})


def test_cells_that_differ_in_the_method_alone_share_their_training(small):
    spec = small({**TWO_PLAIN_AXES, "axes.m": [2, 4]})
    trainings = {}
    for replicate in replicates(spec):
        trainings.setdefault(replicate.parameters["training.lr"], set()).add(id(replicate.recipe))
        assert replicate.recipe.lr == replicate.parameters["training.lr"]
    assert {lr: len(made) for lr, made in trainings.items()} == {0.05: 1, 0.02: 1}


def test_what_is_kept_of_cells_stays_bounded(small):
    spec = small({"axes.m": [2, 10_000], "training.epochs": 10_000})
    for m in range(2, 3 * MAX_CACHED_SECTIONS):
        assert spec.section("method", {"m": m, "s": 2, "tolerance": 1e-6})["m"] == m
    assert len(spec._made) <= MAX_CACHED_SECTIONS


def test_one_baseline_per_seed_and_combination_of_axes_that_are_not_the_methods(small):
    assert [(r.parameters, r.seed) for r in baselines(small())] == [({}, 0), ({}, 1)]
    spec = small({**TWO_PLAIN_AXES, "axes.form": ["state", "displacement"]})
    assert [(r.parameters, r.seed) for r in baselines(spec)] == [
        ({"training.lr": lr, "problem.seed": data}, seed) for lr in (0.05, 0.02) for data in (3, 4) for seed in (0, 1)
    ]
    assert all(r.extrapolation is None for r in baselines(spec))


def test_a_baseline_shares_recipe_and_data_with_its_replicates(small):
    spec = small(TWO_PLAIN_AXES)
    for baseline in baselines(spec):
        own = [
            r
            for r in replicates(spec)
            if baseline.parameters.items() <= r.parameters.items() and r.seed == baseline.seed
        ]
        assert len(own) == 4  # two m, two s
        assert {(r.recipe, r.task) for r in own} == {(baseline.recipe, baseline.task)}


def test_a_plain_training_is_made_by_its_parameters_also_by_those_that_the_spec_no_longer_has(small):
    spec = small({**TWO_PLAIN_AXES, "baseline": {"training.batch": ["full", 32, 16]}})
    cell = cells(spec)[-1]
    listed = plain_trainings(spec)
    assert len(listed) == 4 * 3 * 2
    for wanted in listed:
        assert wanted == plain_training(spec, cell, wanted.parameters)[wanted.seed]
    left_out = {"training.lr": 0.3, "problem.seed": 5, "training.batch": 8, "training.momentum": 0.9}
    made = plain_training(small(TWO_PLAIN_AXES), cell, left_out)
    assert [(r.is_baseline, r.parameters, r.seed) for r in made] == [(True, left_out, 0), (True, left_out, 1)]
    assert {(r.recipe.lr, r.recipe.batch, r.recipe.momentum, r.task) for r in made} == {
        (0.3, 8, 0.9, '{"problem.seed": 5}')
    }


def test_names_of_replicates(small):
    assert key({"s": 2, "m": 4}, 0) == key({"m": 4, "s": 2}, 0) == '{"m": 4, "s": 2, "seed": 0}'
    spec = small({"axes.network.hidden": [[8]], "network": None})
    assert replicate_key(replicates(spec)[0]) == (
        'cell {"m": 4, "network.hidden": [8], "s": 2, "seed": 0, "tolerance": 1e-06}'
    )
    assert replicate_key(baselines(spec)[0]) == 'baseline {"network.hidden": [8], "seed": 0}'


@pytest.mark.parametrize(("size", "lengths"), [(1, [1] * 10), (3, [2, 3, 3, 2]), (100, [10]), ("auto", [10])])
def test_packs_hold_each_replicate_once_baselines_first(small, size, lengths):
    spec = small({"resources": {"pack": size}})
    waiting = [*replicates(spec), *baselines(spec)]
    packs = plan(spec, waiting)
    assert [len(pack.replicates) for pack in packs] == lengths
    planned = [r for pack in packs for r in pack.replicates]
    assert sorted(map(replicate_key, planned)) == sorted(map(replicate_key, waiting))
    assert planned[:2] == baselines(spec)
    assert len({pack.id for pack in packs}) == len(packs)


def test_packs_hold_one_architecture_and_neighbouring_windows_the_dearest_first(small):
    axes = {"m": [4, 6, 8], "s": [2, 5], "tolerance": [1e-6], "training.epochs": [24, 240], "training.lr": [0.1, 0.2]}
    spec = small({"axes": axes, "training.epochs": None, "training.lr": None, "resources": {"pack": 4}})
    packs = plan(spec, replicates(spec))
    assert all(len({replicate.architecture for replicate in pack.replicates}) == 1 for pack in packs)
    assert [pack.replicates[0].recipe.epochs for pack in packs] == [240] * 6 + [24] * 6
    windows = [{replicate.extrapolation.m for replicate in pack.replicates} for pack in packs]
    assert windows == [{4}, {4}, {6}, {6}, {8}, {8}] * 2  # smaller windows, more jumps to judge
    assert any(len({replicate.recipe.lr for replicate in pack.replicates}) == 2 for pack in packs)


def test_packs_pay_on_a_cpu_for_small_networks_only(small):
    spec = small({"resources": {"pack": "auto"}, "axes.s": list(range(1, 60))})
    sizes = [len(pack.replicates) for pack in plan(spec, replicates(spec))]
    assert max(sizes) <= CPU_PACK < sum(sizes)
    assert max(sizes) - min(sizes) <= 1
    large = load_spec("figure3", ["resources.gpu=0", "resources.pack=auto"])
    assert {len(pack.replicates) for pack in plan(large, replicates(large))} == {1}
    device = load_spec("figure3", ["resources.gpu=0.25", "resources.pack=auto"])
    assert {len(pack.replicates) for pack in plan(device, replicates(device))} == {63, 64}


def test_a_packs_id_is_its_study_and_its_replicates_alone(small):
    spec = small()
    one = plan(spec, replicates(spec)[3:4])[0]
    assert one.id in {pack.id for pack in plan(spec, replicates(spec))}
    wider = small({"axes.m": [4, 5, 6], "axes.tolerance": [0.1, 1e-6], "seeds": 4, "resources": {"cpu": 2}})
    assert one.id in {pack.id for pack in plan(wider, replicates(wider))}
    other = small({"training.epochs": 25})
    assert one.id not in {pack.id for pack in plan(other, replicates(other))}
    assert plan(spec, baselines(spec)[:1])[0].id not in {pack.id for pack in plan(spec, replicates(spec))}


def test_a_pack_is_given_its_resources(small):
    spec = small()
    pack = plan(small({"resources": {"cpu": 3, "gpu": 0.5}}), replicates(spec))[0]
    assert (pack.threads, pack.device) == (3, "cuda")
    pack = plan(small({"resources": {"cpu": 0.5}}), replicates(spec))[0]
    assert (pack.threads, pack.device) == (1, "cpu")


def test_data_are_made_once_for_every_combination_of_the_problems_axes(small):
    spec, calls = small(TWO_PLAIN_AXES), []
    needed = [*baselines(spec), *replicates(spec)]
    tasks = make_tasks(spec, needed, lambda done, total: calls.append((done, total)))
    assert set(tasks) == {r.task for r in needed} == {'{"problem.seed": 3}', '{"problem.seed": 4}'}
    assert calls == [(80, 80)] * 2
    expected = spec.problem({"problem.seed": 4}).data()
    np.testing.assert_array_equal(tasks['{"problem.seed": 4}'].train_targets, expected.train_targets)
    assert len(make_tasks(spec, needed[:1])) == 1


def test_a_problem_may_bring_its_network_and_loss(small):
    class Brings:
        def data(self, progress=None):
            return small().problem({}).data()

        def sizes(self):
            return small().problem({}).sizes()

        def network(self):
            raise NotImplementedError

        def loss(self, network, inputs, targets):
            raise NotImplementedError

    own = Brings()
    spec = replace(small(), problem_class=lambda **fields: own)
    task = make_tasks(spec, replicates(spec)[:1])[replicates(spec)[0].task]
    assert (task.network, task.loss) == (own.network, own.loss)
    assert predict_cost(spec, replicates(spec)[0]) is None


WAYS = {
    "full batch": {},
    "mini-batches": {"training.batch": 16},
    "a last batch that is smaller": {"training.batch": 20, "training.epochs": 7},
    "one snapshot an epoch": {"training.batch": 16, "method.snapshots": "epoch"},
    "epochs that are no multiple of m": {"training.epochs": 23, "axes.m": [4, 6, 23]},
    "hidden layers": {"network.hidden": [5, 3], "training.dtype": "float64"},
    "several candidates": {"method.candidates": [0.5, 1.0]},
    "nodes, a warm-up and a last step": {"method.group": "node", "method.start": 3, "method.stop": 20},
    "mini-batches with a last step": {"training.batch": 16, "method.start": 5, "method.stop": 30},
    "every jump rejected or not": {"method.accept": "improve", "axes.s": [100]},
}


@pytest.mark.parametrize("changes", WAYS.values(), ids=WAYS)
def test_predicted_cost_and_jumps_are_those_that_training_reports(small, train, changes):
    spec = small({**changes, "seeds": 1})
    problem = spec.problem({})
    chosen = [*baselines(spec), *replicates(spec)]
    for replicate, outcome in zip(chosen, train(spec, chosen), strict=True):
        assert outcome.status == "finished"
        cost = predict_cost(spec, replicate)
        assert len(outcome.jumps.epoch) == count_jumps(problem, replicate)
        assert (count_jumps(problem, replicate) > 0) == (replicate.extrapolation is not None)
        assert cost.training == outcome.flops.training
        # a best candidate that is not the last is combined once more
        extra = 2 * dense_weights(problem.inputs, replicate.recipe.hidden, problem.outputs)
        again = sum(outcome.jumps.s < (replicate.extrapolation.s if replicate.extrapolation else 0))
        m = replicate.extrapolation.m if replicate.extrapolation else 0
        assert cost.jumps == outcome.flops.jumps - again * extra * m
        # what is left are the points of the loss curves, which belong to no jump
        weights = dense_weights(problem.inputs, replicate.recipe.hidden, problem.outputs)
        points = evaluation_flops(weights, problem.test_samples) * (len(outcome.losses.test) - 1)
        if replicate.recipe.batch is not None:
            points += evaluation_flops(weights, problem.samples) * (len(outcome.losses.train) - 1)
        assert cost.judging == outcome.flops.judging - points
        assert cost.total == cost.training + cost.jumps + cost.judging


def test_the_cost_of_figure3():
    spec = load_spec("figure3")
    costs = [predict_cost(spec, r) for r in [*replicates(spec), *baselines(spec)]]
    total = sum((cost.training for cost in costs), 0.0)
    # 381 replicates of 3000 steps of 13.83 GFLOP: the 16 PFLOP that the figure is known to take
    assert total == 381 * 3000 * 6 * 2_882_150 * 800
    assert 15e15 < total < 17e15
    replicate = next(r for r in replicates(spec) if r.extrapolation.m == 2)
    assert count_jumps(spec.problem({}), replicate) == 1500  # the paper's number for m = 2
    longest = replace(replicate, method=replace(replicate.extrapolation, m=20))
    assert count_jumps(spec.problem({}), longest) == 150  # and for m = 20
