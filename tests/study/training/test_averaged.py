"""EMA and Lookahead against loops by hand, on the baseline's own initial weights and batches."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from study import load_spec, run
from study.errors import SpecError
from study.planning.cells import replicates
from study.planning.tasks import make_tasks
from study.replicates.metric_catalogue import TIMINGS
from study.replicates.replicate import Pack
from study.training.networks import build_network
from study.training.packs import train_pack
from study.training.random_streams import batch_orders

EPOCHS, BATCH = 8, 16
KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


def spec_of(method, **training):
    name, *options = method.values()
    return load_spec(
        {
            "name": "averaged",
            "problem": {"name": "quadratic", "samples": 64},
            "network": {"hidden": [3]},
            "training": {"optimizer": "adam", "lr": 0.05, "epochs": EPOCHS, "dtype": "float64", **training},
            "method": {"name": name},
            "axes": {list(method)[1]: options},
            "seeds": 1,
        }
    )


def by_hand(spec, after_step):
    """Train as the baseline does; ``after_step(step, network)``; losses of what it returns after each epoch."""
    replicate = replicates(spec)[0]
    task = make_tasks(spec, [replicate])[replicate.task]
    recipe = replicate.recipe
    network = build_network(task, recipe, replicate.seed).double()
    x, y, x_test, y_test = (torch.tensor(np.asarray(getattr(task, name))) for name in list(vars(task))[:4])
    optimizer = KINDS[recipe.optimizer](network.parameters(), lr=recipe.lr)
    orders, losses, step = batch_orders(recipe, replicate.seed, len(x)), [], 0
    for _ in range(recipe.epochs):
        rows = next(orders).split(recipe.batch) if recipe.batch else [slice(None)]
        for row in rows:
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(network(x[row]), y[row]).backward()
            optimizer.step()
            step += 1
            judged = after_step(step, network)
        with torch.no_grad():
            pairs = ((x, y), (x_test, y_test))
            losses.append([torch.nn.functional.mse_loss(judged(a), b).item() for a, b in pairs])
    return np.array(losses)


def outcome_of(spec):
    replicate = replicates(spec)[0]
    return train_pack(Pack("p", (replicate,), 1, "cpu"), make_tasks(spec, [replicate]), {})[0]


def same_losses(outcome, expected):
    # the same float64 operations in another order of products: some roundings, carried along a few steps
    np.testing.assert_allclose(outcome.losses.train[1:], expected[:, 0], rtol=1e-11)
    np.testing.assert_allclose(outcome.losses.test[1:], expected[:, 1], rtol=1e-11)
    assert list(outcome.losses.train_epoch) == list(outcome.losses.test_epoch) == list(range(EPOCHS + 1))
    assert (outcome.losses.final_train, outcome.losses.final_test) == (
        outcome.losses.train[-1],
        outcome.losses.test[-1],
    )


@pytest.mark.parametrize("batch", ["full", BATCH])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_moving_average_is_judged_in_place_of_the_weights(optimizer, batch):
    spec = spec_of({"name": "ema", "decay": 0.7}, optimizer=optimizer, batch=batch)
    average = []

    def after_step(step, network):
        if not average:
            average.append(copy.deepcopy(network))
        for own, new in zip(average[0].parameters(), network.parameters(), strict=True):
            own.data = 0.7 * own.data + 0.3 * new.data
        return average[0]

    outcome = outcome_of(spec)
    same_losses(outcome, by_hand(spec, after_step))
    weights = outcome.flops.jumps / 3 / outcome.steps
    assert weights == sum(p.numel() for p in average[0].parameters())


@pytest.mark.parametrize("batch", ["full", BATCH])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_lookahead_goes_a_part_of_the_way_of_every_k_steps(optimizer, batch):
    spec = spec_of({"name": "lookahead", "k": 3}, optimizer=optimizer, batch=batch)
    replicate = replicates(spec)[0]
    task = make_tasks(spec, [replicate])[replicate.task]
    slow = [p.detach().clone() for p in build_network(task, replicate.recipe, 0).double().parameters()]

    def after_step(step, network):
        if step % 3 == 0:
            for own, new in zip(slow, network.parameters(), strict=True):
                own += 0.5 * (new.data - own)
                new.data.copy_(own)
        return network

    outcome = outcome_of(spec)
    same_losses(outcome, by_hand(spec, after_step))
    assert outcome.flops.jumps == outcome.steps // 3 * 3 * sum(p.numel() for p in slow)


@pytest.mark.parametrize("method", [{"name": "ema", "decay": 0.0}, {"name": "lookahead", "k": 10**6}])
def test_without_averaging_they_are_the_baseline(method, tmp_path):
    table = run(spec_of(method, batch=BATCH), tmp_path / "out", executor="inline").table()
    # an average that is all of the newest weights may round them
    np.testing.assert_allclose(table[["final_loss_ratio_train", "final_loss_ratio_test"]], 1.0, rtol=1e-12)
    assert (table["overhead"] > 1).all() == (method["name"] == "ema")


def test_a_sweep_of_them_is_recorded_and_run_again_alike(tmp_path):
    spec = spec_of({"name": "ema", "decay": 0.9}, lr=0.3)
    one, two = (run(spec, tmp_path / name, executor="inline").table() for name in ("one", "two"))
    pd.testing.assert_frame_equal(one.drop(columns=list(TIMINGS)), two.drop(columns=list(TIMINGS)))
    assert one["mean_relative_error_test"].isna().all()
    assert (one["final_loss_ratio_test"] != 1).all()


def test_one_that_diverges_is_an_outcome():
    outcome = outcome_of(spec_of({"name": "lookahead", "k": 2}, optimizer="sgd", lr=1e200))
    assert outcome.status == "diverged"


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"name": "ema", "decay": 1.0}, r"axes.decay\[0\]: must be less than 1, got 1.0"),
        ({"name": "lookahead", "k": 0}, r"axes.k\[0\]: must be greater than or equal to 1, got 0"),
        ({"name": "lookahead", "alpha": 1.0}, r"axes.alpha\[0\]: must be less than 1, got 1.0"),
        ({"name": "ema", "dcay": 0.5}, "axes.dcay: unknown key.*decay"),
    ],
)
def test_options_that_cannot_be_are_told(method, said):
    with pytest.raises(SpecError, match=said):
        spec_of(method)
