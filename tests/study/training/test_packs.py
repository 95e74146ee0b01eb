import dataclasses
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from accel import DMD, Accelerator, ByLoss, Combination, Decay, Linear
from problems.quadratic import Quadratic
from study import load_spec
from study.planning.cells import baselines, replicates
from study.planning.tasks import make_tasks
from study.replicates.metrics import outcome_metrics
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import WITH_MOMENTUM, Pack, Recipe, Replicate, Task
from study.training.networks import Networks, build_loss, build_network
from study.training.optimizers import StackOptimizer
from study.training.packs import train as train_one
from study.training.packs import train_pack
from study.training.random_streams import STREAMS

NETWORK = {"network.hidden": [6, 5], "training.optimizer": "adam", "training.lr": 0.01}


@pytest.fixture(autouse=True)
def _one_thread():
    """As the packs: more would only wait for each other on networks of this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def numbers(outcome):
    """All of an outcome that must be reproduced bit for bit, as bytes."""
    found = {}
    for owner in (outcome, outcome.jumps, outcome.losses):
        for field in dataclasses.fields(owner):
            value = getattr(owner, field.name)
            if field.name not in ("seconds", "started_at", "ended_at", "replicate", "jumps", "losses"):
                name = f"{type(owner).__name__}.{field.name}"
                found[name] = value.tobytes() if isinstance(value, np.ndarray) else value
    return found


def only_task(spec):
    (task,) = make_tasks(spec, baselines(spec)).values()
    return task


def task_of(data, **own):
    return Task(data.train_inputs, data.train_targets, data.test_inputs, data.test_targets, **own)


# plain training


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, 0.05, weight_decay=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.01, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, 0.05, weight_decay=0.01, momentum=0.5, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.05, weight_decay=0.01, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.05, weight_decay=0.01, fused=True),
    "adadelta": lambda p: torch.optim.Adadelta(p, 0.05, weight_decay=0.01),
}


def plain_loop(task, recipe, seed, optimizer):
    """Training losses after each epoch, test losses likewise: torch and nothing of ours but the initial weights."""
    dtype = getattr(torch, recipe.dtype)
    x, y, x_test, y_test = (
        torch.tensor(a, dtype=dtype)
        for a in (task.train_inputs, task.train_targets, task.test_inputs, task.test_targets)
    )
    model = build_network(task, recipe, seed).to(dtype)
    optimizer = optimizer(model.parameters())
    order = torch.Generator().manual_seed(
        int(np.random.SeedSequence([seed, STREAMS["batches"]]).generate_state(1, np.uint64)[0] >> 1)
    )
    train, test = [mse_loss(model(x), y).item()], [mse_loss(model(x_test), y_test).item()]
    for _ in range(recipe.epochs):
        whole = torch.arange(len(x)) if recipe.batch is None else torch.randperm(len(x), generator=order)
        for start in range(0, len(x), recipe.batch or len(x)):
            index = whole[start : start + (recipe.batch or len(x))]
            optimizer.zero_grad()
            mse_loss(model(x[index]), y[index]).backward()
            optimizer.step()
        train.append(mse_loss(model(x), y).item())
        test.append(mse_loss(model(x_test), y_test).item())
    return train, test


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", ["full", 20])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_baseline_is_a_plain_torch_loop_bit_for_bit(small, train, optimizer, batch, dtype):
    momentum = 0.5 if optimizer in WITH_MOMENTUM else 0.0
    changes = {
        "training": {"optimizer": optimizer, "lr": 0.05, "weight_decay": 0.01, "momentum": momentum, "epochs": 12},
        "training.batch": batch,
        "training.dtype": dtype,
        "network.hidden": [6, 5],
    }
    spec = small(changes)
    baseline = baselines(spec)[1]
    outcome = train(spec, [baseline])[0]
    expected_train, expected_test = plain_loop(only_task(spec), baseline.recipe, 1, OPTIMIZERS[optimizer])
    assert outcome.status == "finished"
    assert outcome.losses.train_epoch.tolist() == outcome.losses.test_epoch.tolist() == list(range(13))
    assert outcome.losses.train.tolist() == expected_train
    assert outcome.losses.test.tolist() == expected_test
    assert (outcome.losses.final_train, outcome.losses.final_test) == (expected_train[-1], expected_test[-1])
    assert outcome.steps == 12 * (1 if batch == "full" else 4)
    assert len(outcome.jumps.epoch) == 0
    assert expected_train[-1] != expected_train[0]


def test_optimizers_are_torchs_own_with_the_recipes_options(small):
    model = torch.nn.Linear(2, 1)
    for name, expected in OPTIMIZERS.items():
        recipe = replicates(small({"training.optimizer": name}))[0].recipe
        made = StackOptimizer(Networks([model], mse_loss, own=False), [recipe], [False])._optimizer
        assert type(made) is type(expected(model.parameters()))
        assert [group["lr"] for group in made.param_groups] == [0.05]


@pytest.mark.parametrize("activation", ["softsign", "tanh", "relu", "sigmoid", "gelu"])
def test_the_network_is_dense_with_xavier_weights_and_zero_biases(small, activation):
    spec = small({"network.hidden": [300, 200], "network.activation": activation})
    network = build_network(only_task(spec), replicates(spec)[0].recipe, 0)
    linear = list(network)[::2]
    assert [type(layer).__name__.lower() for layer in list(network)[1::2]] == [activation] * 2
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(8, 300), (300, 200), (200, 4)]
    for layer in linear:
        assert layer.bias.count_nonzero() == 0
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert layer.weight.abs().max() <= bound
        # uniform: deviation bound / sqrt(3); of at least 800 draws the sample's is within 10 %
        assert abs(layer.weight.std().item() / (bound / 3**0.5) - 1) < 0.1


# streams


def test_a_replicate_and_its_baseline_share_weights_and_batches(small, train):
    """Whatever the method, training is the baseline's until the first jump, at epoch 5 of 20."""
    changes = {**NETWORK, "training.batch": 16, "training.epochs": 20, "seeds": 1}
    spec = small({**changes, "axes.m": [20], "axes.s": [3]})
    plain = train(spec, baselines(spec))[0]
    for method in ({}, {"method.form": "displacement"}, {"method.group": "model"}, {"method.moments": "reset"}):
        spec = small({**changes, **method, "axes.m": [20], "axes.s": [3]})
        outcome = train(spec, replicates(spec))[0]
        assert outcome.jumps.epoch.tolist() == [5, 10, 15, 20]
        assert outcome.losses.train[:5].tolist() == plain.losses.train[:5].tolist()
        assert outcome.jumps.train_before[0] == plain.losses.train[5] != outcome.losses.train[5]


def test_rejected_jumps_leave_training_as_the_baselines(small, train):
    # weights turned about and far too large: every jump is taken back
    spec = small({**NETWORK, "training.batch": 16, "method.accept": "improve", "seeds": 1})
    chosen = [named(r, "scaling", factor=-20.0) for r in replicates(spec)]
    plain = train(spec, baselines(spec))[0]
    for outcome in train(spec, chosen, {"scaling": Scaling}):
        assert not outcome.jumps.accepted.any()
        assert outcome.losses.train.tolist() == plain.losses.train.tolist()
        assert outcome.losses.final_test == plain.losses.final_test


def test_seeds_differ_in_weights_and_in_batches(small):
    spec = small({**NETWORK, "training.batch": 16})
    task, recipe = only_task(spec), baselines(spec)[0].recipe
    first, second = (build_network(task, recipe, seed)[0].weight for seed in (0, 1))
    assert not torch.equal(first, second)
    curves = []
    fixed = replace(task, network=lambda: torch.nn.Linear(8, 4).apply(zero))
    for baseline in baselines(spec):
        curves.append(train_one(baseline, fixed, {}, torch.device("cpu")).losses.train)
    assert curves[0][0] == curves[1][0]  # the same weights, all zero
    assert curves[0][1] != curves[1][1]  # other batches


def zero(module):
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)


def test_torchs_global_generator_neither_matters_nor_moves(small, train):
    spec = small({**NETWORK, "seeds": 1})
    dropout = replace(
        only_task(spec),
        network=lambda: torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Dropout(0.5), torch.nn.Linear(6, 4)),
    )
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        expected = torch.rand(3)
        torch.manual_seed(state)
        for task in (only_task(spec), dropout):
            found.append(numbers(train_one(replicates(spec)[0], task, {}, torch.device("cpu"))))
        assert torch.equal(torch.rand(3), expected)
    assert found[:2] == found[2:]
    assert found[0] != found[1]


# bit by bit


REPEATED = {**NETWORK, "training.batch": 16, "training.epochs": 9, "seeds": 2, "resources": {"pack": 8}}


def test_repeats_are_bit_identical(small, train):
    one, two = train(small(REPEATED)), train(small(REPEATED))
    assert [numbers(o) for o in one] == [numbers(o) for o in two]
    assert len({o.losses.final_train for o in one}) == len(one)


def test_a_fresh_process_is_bit_identical(raw, small, fresh_environment):
    code = f"""
from study import load_spec
from study.planning.cells import baselines, replicates
from study.planning.tasks import make_tasks
from study.replicates.replicate import Pack
from study.training.packs import train_pack
spec = load_spec({raw(REPEATED)!r})
chosen = (*baselines(spec), *replicates(spec))
for pack in (chosen, *((own,) for own in chosen)):
    for o in train_pack(Pack("test", pack, 1, "cpu"), make_tasks(spec, chosen), {{}}):
        print(o.losses.final_train.hex(), o.losses.final_test.hex(), *(v.hex() for v in o.jumps.train_after.tolist()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=fresh_environment, capture_output=True, text=True, check=True
    )
    spec = small(REPEATED)
    chosen = (*baselines(spec), *replicates(spec))
    expected = [
        [o.losses.final_train.hex(), o.losses.final_test.hex(), *(v.hex() for v in o.jumps.train_after.tolist())]
        for pack in (chosen, *((own,) for own in chosen))
        for o in train_pack(Pack("test", pack, 1, "cpu"), make_tasks(spec, chosen), {})
    ]
    assert [line.split() for line in done.stdout.splitlines()] == expected


# jumps


def test_jumps_on_a_quadratic_are_gradient_descent_ahead_of_time(small, train):
    """Gradient descent on a quadratic is linear with the eigenvalues 1 - lr λ; DMD finds them and leaps exactly.

    Five distinct eigenvalues, that of the weights' limit (1) included: any window of at least six spans them.
    """
    m, s, lr, problem = 8, 10, 0.4, Quadratic(inputs=4, outputs=2, condition=10.0)
    spec = small(
        {
            "problem": {"name": "quadratic", "inputs": 4, "outputs": 2, "condition": 10.0},
            "training": {"optimizer": "sgd", "lr": lr, "epochs": 2 * m, "dtype": "float64"},
            "axes": {"m": [m], "s": [s], "tolerance": [1e-12]},
            "method.group": "model",
            "seeds": 1,
        }
    )
    replicate = replicates(spec)[0]
    outcome = train(spec, [replicate])[0]
    data = problem.data()
    start = build_network(only_task(spec), replicate.recipe, 0)[0]
    x = np.hstack([data.train_inputs, np.ones((64, 1))])
    hessian = x.T @ x / 64  # 2 / outputs = 1 times the second moments of inputs and bias
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), sorted(problem.hessian_eigenvalues()), rtol=1e-12)
    w0 = torch.cat([start.weight.detach().T, start.bias.detach()[None]]).numpy()
    best = np.linalg.lstsq(x, data.train_targets, rcond=None)[0]

    def loss(steps, inputs, targets):
        weights = best + np.linalg.matrix_power(np.eye(5) - lr * hessian, steps) @ (w0 - best)
        return np.mean((np.hstack([inputs, np.ones((len(inputs), 1))]) @ weights - targets) ** 2)

    # the least mode kept is some 1e-6 of the first, and doubles carry 1e-16: ten digits, of which we ask for six
    for jump in (0, 1):
        before, after = m + jump * (m + s), (jump + 1) * (m + s)
        for split in ("train", "test"):
            inputs, targets = getattr(data, f"{split}_inputs"), getattr(data, f"{split}_targets")
            found = (getattr(outcome.jumps, f"{split}_before")[jump], getattr(outcome.jumps, f"{split}_after")[jump])
            assert found == pytest.approx((loss(before, inputs, targets), loss(after, inputs, targets)), rel=1e-6)
    assert outcome.jumps.rank[0].tolist() == [5]
    assert outcome.jumps.spectral_radius[0] == pytest.approx(1.0, abs=1e-9)  # the limit itself
    assert outcome.groups == ("all weights",)
    assert outcome.losses.final_train == outcome.jumps.train_after[-1]
    assert outcome.jumps.train_after[0] < 0.9 * outcome.jumps.train_before[0]


@pytest.mark.parametrize("accept", ["always", "improve"])
@pytest.mark.parametrize("moments", ["keep", "reset"])
@pytest.mark.parametrize("snapshots", ["step", "epoch"])
@pytest.mark.parametrize("batch", ["full", 20])
def test_jumps_are_those_of_an_accelerator_in_a_loop_of_ones_own(small, train, accept, moments, snapshots, batch):
    m, s = 5, 60
    spec = small(
        {
            **NETWORK,
            "training.epochs": 40,
            "training.batch": batch,
            "method.moments": moments,
            "method.snapshots": snapshots,
            "method.accept": accept,
            "axes": {"m": [m], "s": [s], "tolerance": [1e-4]},
            "seeds": 1,
        }
    )
    replicate, task = replicates(spec)[0], only_task(spec)
    recipe = replicate.recipe
    x, y = (torch.tensor(a, dtype=torch.float32) for a in (task.train_inputs, task.train_targets))
    model = build_network(task, recipe, 0).float()
    optimizer = torch.optim.Adam(model.parameters(), 0.01, fused=True)
    accelerator = Accelerator(model, DMD(tolerance=1e-4), m=m, s=s, accept=accept, moments=moments, optimizer=optimizer)
    order = torch.Generator().manual_seed(
        int(np.random.SeedSequence([0, STREAMS["batches"]]).generate_state(1, np.uint64)[0] >> 1)
    )
    jumps = []

    def closure():
        return mse_loss(model(x), y)

    for _ in range(recipe.epochs):
        parts = [slice(None)] if batch == "full" else torch.randperm(len(x), generator=order).split(batch)
        for index in parts:
            optimizer.zero_grad()
            mse_loss(model(x[index]), y[index]).backward()
            optimizer.step()
            if snapshots == "step":
                jumps.append(accelerator.step(closure))
        if snapshots == "epoch":
            jumps.append(accelerator.step(closure))
    jumps = [jump for jump in jumps if jump is not None]
    outcome = train(spec, [replicate])[0]
    assert outcome.status == "finished"
    assert outcome.jumps.train_before.tolist() == [jump.loss_before for jump in jumps]
    assert outcome.jumps.train_after.tolist() == [jump.loss_after for jump in jumps]
    assert outcome.jumps.accepted.tolist() == [jump.accepted for jump in jumps]
    assert outcome.jumps.rank.tolist() == [[group.rank for group in jump.groups] for jump in jumps]
    assert outcome.losses.final_train == closure().item()
    if accept == "improve":
        assert 0 < sum(outcome.jumps.accepted) < len(jumps)  # both happened
    else:
        assert outcome.jumps.accepted.all()


def test_loss_goes_on_from_where_a_jump_left_it(small, train):
    changes = {**NETWORK, "training.epochs": 40, "axes": {"m": [5], "s": [60], "tolerance": [1e-4]}, "seeds": 1}
    for accept in ("always", "improve"):
        spec = small({**changes, "method.accept": accept})
        outcome = train(spec, replicates(spec))[0]
        jumps = outcome.jumps
        assert jumps.epoch.tolist() == [5, 10, 15, 20, 25, 30, 35, 40]
        went_on = np.where(jumps.accepted, jumps.train_after, jumps.train_before)
        # full batches: the loss that a step starts from is evaluated by the same products as that after the jump
        assert outcome.losses.train[jumps.epoch].tolist() == went_on.tolist()
        if accept == "improve":
            assert (went_on <= jumps.train_before).all()


# what goes wrong


def test_a_learning_rate_beyond_the_stable_one_diverges_at_its_epoch(small, train):
    # the largest eigenvalue is 2 / outputs = 1/2: stable below lr = 4; at lr = 40 the loss grows 19^2 = 361-fold a step
    spec = small({"training.epochs": 60, "training.lr": 40.0})
    for outcome in train(spec, baselines(spec)):
        losses = outcome.losses.train
        overflow = np.log(np.finfo(np.float32).max / losses[0]) / np.log(361)
        assert outcome.status == "diverged"
        # the fastest mode holds a share of the loss only, which delays it by a step or two
        assert overflow <= outcome.epoch <= overflow + 3
        assert np.isfinite(losses[: outcome.epoch - 1]).all()
        assert not np.isfinite(losses[outcome.epoch - 1 :]).any()
        assert not np.isfinite(outcome.losses.final_train)
        assert outcome.steps == outcome.epoch
        assert outcome.reason == ""
    assert all(o.status == "finished" for o in train(small({"training.epochs": 60, "training.lr": 3.9}), None))


@pytest.mark.parametrize(("split", "epoch"), [("train_targets", 1), ("train_inputs", 1), ("test_targets", 24)])
@pytest.mark.parametrize("batch", ["full", 16])
def test_data_that_hold_nan_diverge(small, split, epoch, batch):
    spec = small({"training.batch": batch})
    task = only_task(spec)
    spoilt = getattr(task, split).copy()
    spoilt[:, 0] = np.nan
    for replicate in (baselines(spec)[0], replicates(spec)[0]):
        outcome = train_one(replicate, replace(task, **{split: spoilt}), {}, torch.device("cpu"))
        assert (outcome.status, outcome.epoch) == ("diverged", epoch)


@pytest.mark.parametrize("accept", ["always", "improve"])
def test_a_jump_that_overflows_is_refused_and_training_goes_on(small, train, accept):
    # lr 4.2: the fastest mode grows 1.1-fold a step, over 10^5 steps beyond every number
    changes = {"training.lr": 4.2, "axes": {"m": [8], "s": [100_000], "tolerance": [1e-4]}, "method.accept": accept}
    spec = small({**changes, "seeds": 1})
    outcome, plain = train(spec, replicates(spec))[0], train(spec, baselines(spec))[0]
    assert (outcome.status, outcome.epoch) == ("finished", 24)
    assert outcome.jumps.outcome.tolist() == ["not_finite"] * 3
    assert (outcome.jumps.train_after == np.inf).all()
    assert outcome.jumps.evaluated.all()  # its proposed ratio is known: infinite
    assert outcome.losses.train.tolist() == plain.losses.train.tolist()


NEUTRAL = {
    "method.rank": None,
    "method.horizon": "constant",
    "method.candidates": [1.0],
    "method.relaxation": 1.0,
    "method.noise": 0.0,
    "method.margin": 0.0,
    "method.start": 0,
    "method.max_residual": 1e9,
    "method.max_inconsistency": 1.0,
}


@pytest.mark.parametrize("accept", ["always", "improve"])
def test_policies_that_do_nothing_change_no_bit(small, train, accept):
    changes = {**NETWORK, "training.epochs": 20, "method.accept": accept, "seeds": 1, "axes.s": [40]}
    plain = train(small(changes), replicates(small(changes)))
    spec = small({**changes, **NEUTRAL, "method.stop": 20})
    neutral = train(spec, replicates(spec))
    assert [numbers(o) | {"parameters": None} for o in neutral] == [numbers(o) | {"parameters": None} for o in plain]
    assert all(len(o.jumps.epoch) for o in plain)


POLICIES = {
    "decaying horizon": {"method.horizon": "decay"},
    "linear horizon over given jumps": {"method.horizon": "linear", "method.horizon_jumps": 3},
    "horizon by loss": {"method.horizon": "loss"},
    "candidates": {"method.candidates": [0.1, 1, 4]},
    "relaxed and noisy": {"method.relaxation": 0.5, "method.noise": 0.3},
    "margin": {"method.accept": "improve", "method.margin": 0.05},
    "warm-up and last step": {"method.start": 7, "method.stop": 30},
    "fixed rank": {"axes.tolerance": None, "method.rank": 2},
    "nodes": {"method.group": "node"},
    "weights": {"method.group": "weight"},
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_policies_are_those_of_an_accelerator_in_a_loop_of_ones_own(small, train, policy):
    m, s, epochs = 5, 30, 40
    changes = {**NETWORK, "training.epochs": epochs, "axes.m": [m], "axes.s": [s], "axes.tolerance": [1e-4], "seeds": 1}
    spec = small({**changes, **policy})
    replicate, task = replicates(spec)[0], only_task(spec)
    outcome = train(spec, [replicate])[0]
    method = {key.removeprefix("method."): value for key, value in policy.items()}
    rule = DMD(rank=2) if "rank" in method else DMD(1e-4)
    horizon = {
        "decay": Decay(s, epochs // m),
        "linear": Linear(s, 3),
        "loss": ByLoss(s),
    }.get(method.get("horizon"), s)
    kept = ("candidates", "relaxation", "noise", "accept", "margin", "start", "stop", "group")
    options = {key: method[key] for key in kept if key in method}
    if "noise" in options:
        options["seed"] = int(np.random.SeedSequence([0, STREAMS["noise"]]).generate_state(1, np.uint64)[0] >> 1)
    x, y = (torch.tensor(a, dtype=torch.float32) for a in (task.train_inputs, task.train_targets))
    model = build_network(task, replicate.recipe, 0).float()
    optimizer = torch.optim.Adam(model.parameters(), 0.01, fused=True)
    accelerator = Accelerator(model, rule, m=m, s=horizon, **options)
    jumps = []
    for _ in range(epochs):
        optimizer.zero_grad()
        mse_loss(model(x), y).backward()
        optimizer.step()
        jumps.append(accelerator.step(lambda: mse_loss(model(x), y)))
    jumps = [jump for jump in jumps if jump is not None]
    assert outcome.status == "finished"
    assert outcome.jumps.epoch.tolist() == [jump.step for jump in jumps]
    assert outcome.jumps.s.tolist() == [jump.s for jump in jumps]
    assert outcome.jumps.train_before.tolist() == [jump.loss_before for jump in jumps]
    assert outcome.jumps.train_after.tolist() == [jump.loss_after for jump in jumps]
    assert outcome.jumps.accepted.tolist() == [jump.accepted for jump in jumps]
    assert outcome.jumps.rank.tolist() == [[family.rank for family in jump.groups.families] for jump in jumps]
    plain = train(spec2 := small(changes), replicates(spec2))[0]
    assert outcome.jumps.train_after.tolist() != plain.jumps.train_after.tolist()  # the policy does something


@pytest.mark.parametrize("key", ["max_residual", "max_inconsistency"])
def test_limits_reject_unseen_and_cost_no_evaluation(small, train, key):
    changes = {**NETWORK, "training.batch": 16, "axes.m": [5], "axes.s": [3], "axes.tolerance": [0.05], "seeds": 1}
    spec = small({**changes, f"method.{key}": 0.0})
    outcome, plain = train(spec, replicates(spec))[0], train(spec, baselines(spec))[0]
    jumps = outcome.jumps
    assert len(jumps.epoch) == 19  # 24 epochs of 4 batches
    assert not jumps.evaluated.any()
    assert not jumps.accepted.any()
    assert np.isnan([jumps.train_before, jumps.train_after, jumps.test_before, jumps.test_after]).all()
    assert outcome.losses.train.tolist() == plain.losses.train.tolist()
    assert outcome.flops.judging == plain.flops.judging
    metrics = outcome_metrics(outcome)
    assert metrics["acceptance"] == 0
    assert np.isnan(metrics["mean_relative_error_train"])
    # about the middle of what the jumps show here: some are seen, and only those have a ratio
    spec = small({**changes, f"method.{key}": {"max_residual": 0.015, "max_inconsistency": 4e-8}[key]})
    outcome = train(spec, replicates(spec))[0]
    seen = outcome.jumps.evaluated
    assert 0 < seen.sum() < len(seen)
    assert (outcome.jumps.accepted == seen).all()
    ratios = outcome.jumps.train_after[seen] / outcome.jumps.train_before[seen]
    assert outcome_metrics(outcome)["mean_relative_error_train"] == pytest.approx(ratios.mean(), rel=1e-12)


def test_a_prediction_that_is_not_finite_is_refused_among_candidates_too(small, train):
    spec = small({"seeds": 1, "method.candidates": [1, 2]})
    chosen = [named(r, "scaling", factor=np.inf) for r in replicates(spec)[:1]]
    (outcome,) = train(spec, chosen, {"scaling": Scaling})
    assert outcome.status == "finished"
    assert set(outcome.jumps.outcome.tolist()) == {"not_finite"}


def test_noise_is_the_seeds_own_stream(small, train):
    spec = small({**NETWORK, "method.noise": 0.5, "axes.m": [5], "axes.s": [3], "seeds": 2})
    one, two = train(spec, replicates(spec))
    again = train(spec, replicates(spec)[:1])[0]
    assert numbers(one) == numbers(again)
    clean = train(spec3 := small({**NETWORK, "axes.m": [5], "axes.s": [3], "seeds": 2}), replicates(spec3))
    for noisy, plain in zip((one, two), clean, strict=True):
        assert noisy.jumps.train_before[0] == plain.jumps.train_before[0]
        assert noisy.jumps.train_after[0] != plain.jumps.train_after[0]


@dataclass(frozen=True)
class Raising:
    tolerance: float = 0.0

    def __call__(self, window, s):
        raise ArithmeticError("no roots today")


@dataclass(frozen=True)
class Scaling:
    """A multiple of the newest snapshot."""

    factor: float = 2.0

    def __call__(self, window, s):
        count, m = window.shape[0], window.shape[-1]
        coefficients = torch.zeros(count, m, dtype=torch.float64)
        coefficients[:, -1] = self.factor
        return Combination(coefficients, torch.ones(count, dtype=torch.int64), torch.ones(count, dtype=torch.float64))


def named(replicate, rule, **options):
    return replace(replicate, method=replace(replicate.method, rule=rule, rule_options=options))


def test_a_rule_of_ones_own_is_used(small, train):
    spec = small({"seeds": 1, "training.epochs": 4, "axes.m": [4]})
    outcome = train(spec, [named(replicates(spec)[0], "mine")], {"mine": Scaling})[0]
    data, recipe = only_task(spec), replicates(spec)[0].recipe
    model = build_network(data, recipe, 0).float()
    x, y = (torch.tensor(a, dtype=torch.float32) for a in (data.train_inputs, data.train_targets))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(4):
        optimizer.zero_grad()
        mse_loss(model(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 2
        assert outcome.jumps.train_after.tolist() == [mse_loss(model(x), y).item()]


def test_what_raises_has_failed_with_its_reason_and_its_neighbours_have_not(small, train):
    spec = small({"seeds": 1})
    chosen = replicates(spec)
    alone = train(spec, [chosen[0], chosen[2]])
    broken = [
        chosen[0],
        named(chosen[1], "raising"),
        named(chosen[1], "nobody's"),
        replace(chosen[1], task="no such data"),
        replace(chosen[1], recipe=replace(chosen[1].recipe, hidden=(-1,))),
        chosen[2],
    ]
    tasks = make_tasks(spec, chosen)
    found = train_pack(Pack("test", tuple(broken), 1, "cpu"), tasks, {"raising": Raising})
    assert [o.status for o in found] == ["finished", "failed", "failed", "failed", "failed", "finished"]
    assert [o.replicate for o in found] == broken
    assert "ArithmeticError: no roots today" in found[1].reason
    assert 'in __call__\n    raise ArithmeticError("no roots today")' in found[1].reason
    assert 'KeyError: "nobody\'s"' in found[2].reason
    assert [numbers(found[0]), numbers(found[5])] == [numbers(o) for o in alone]


def test_threads_are_the_packs_and_given_back(small, train):
    seen = []

    @dataclass(frozen=True)
    class Counting(Scaling):
        def __call__(self, window, s):
            seen.append(torch.get_num_threads())
            raise ArithmeticError

    spec = small({"seeds": 1})
    pack = Pack("test", (named(replicates(spec)[0], "counting"),), 3, "cpu")
    before = torch.get_num_threads()
    assert before != 3
    train_pack(pack, make_tasks(spec, pack.replicates), {"counting": Counting})
    assert seen == [3]
    assert torch.get_num_threads() == before


def test_curves_of_long_training_are_thinned_for_evaluations_only(small, train):
    spec = small({"training.epochs": 1000, "seeds": 1})
    outcome = train(spec, baselines(spec))[0]
    assert outcome.losses.train_epoch.tolist() == list(range(1001))  # these losses come with the steps
    assert outcome.losses.test_epoch.tolist() == list(range(0, 1001, 5))


def test_a_problems_own_network_and_loss_are_used(small):
    spec = small({"seeds": 1, "training.epochs": 6, "axes.m": [6]})

    def loss(network, inputs, targets):
        return (network(inputs) - targets).abs().mean()

    task = task_of(Quadratic().data(), network=lambda: torch.nn.Linear(8, 4, bias=False), loss=loss)
    assert build_loss(task) is loss
    outcome = train_one(replicates(spec)[0], task, {}, torch.device("cpu"))
    assert outcome.flops.training == 6 * 6 * (8 * 4) * 64
    model = build_network(task, replicates(spec)[0].recipe, 0)
    x, y = (torch.tensor(a, dtype=torch.float32) for a in (task.train_inputs, task.train_targets))
    assert outcome.losses.train[0] == loss(model, x, y).item()


def test_a_cell_of_the_papers_own_size():
    """The paper's network on 800 random samples of its shape: 3 steps with windows of 2, so one jump."""
    draw = np.random.default_rng(0)
    task = Task(
        draw.uniform(-1, 1, (800, 6)),
        draw.uniform(-1, 1, (800, 2670)),
        draw.uniform(-1, 1, (200, 6)),
        draw.uniform(-1, 1, (200, 2670)),
    )
    spec = load_spec("figure3", ["training.epochs=3", "axes.m=[2]", "axes.s=[5]", "resources.gpu=0"])
    outcome = train_one(replicates(spec)[0], task, {}, torch.device("cpu"))
    assert outcome.status == "finished"
    assert outcome.jumps.epoch.tolist() == [2]
    assert outcome.groups == ("Linear 6→40", "Linear 40→200", "Linear 200→1000", "Linear 1000→2670")
    assert outcome.flops.training == 3 * 6 * 2_882_150 * 800
    # targets of variance 1/3 that inputs do not explain: three steps bring the loss down to about that
    assert 0.3 < outcome.losses.final_train < outcome.losses.train[0] < 2
    assert np.isfinite(outcome.jumps.train_after).all()


def test_the_recipe_and_the_outcome_hold_plain_data_only():
    """A worker needs torch, numpy and accel: nothing it is sent or sends back may ask for more."""
    for owner in (Recipe, Replicate, ReplicateOutcome):
        for field in dataclasses.fields(owner):
            text = str(field.type)
            assert not any(name in text for name in ("torch", "pandas", "pydantic", "optuna")), field


def test_outcomes_have_the_times_of_their_stacks(small):
    # one stack of jumps and one probed training; one replicate of another architecture fails
    spec = small()
    listed = replicates(spec)
    lost = replace(listed[0], task="none", recipe=replace(listed[0].recipe, hidden=(7,)))
    before = time.time()
    done = train_pack(Pack("x", (*listed, lost), 1, "cpu"), make_tasks(spec, listed), {})
    after = time.time()
    assert done[-1].status == "failed"
    assert {outcome.status for outcome in done[:-1]} == {"finished"}
    for outcome in done:
        assert before <= outcome.started_at <= outcome.ended_at <= after
    first, last = done[0], done[-1]
    assert first.ended_at <= last.started_at
    probed = replicates(small({"method.mode": "probe"}))
    (*_, shared) = train_pack(Pack("y", tuple(probed), 1, "cpu"), make_tasks(spec, listed), {})
    assert after <= shared.started_at < shared.ended_at
