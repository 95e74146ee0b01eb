"""A study's jumps are judged as those of a user's own loop: alone in a pack, and beside others."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from accel import DMD, Accelerator, Decay
from study.planning.cells import replicates
from study.planning.tasks import make_tasks
from study.replicates.flops import evaluation_flops
from study.replicates.metrics import outcome_metrics
from study.training.loop import train_stack
from study.training.networks import build_network

CPU = torch.device("cpu")
EPOCHS, M = 40, 8
# lr 4.2: the fastest mode grows 1.1-fold a step. A leap of 10,000 steps has no finite prediction, one of 1,000 has none
# in float32, one of 600 has no finite loss, and shorter ones raise the loss or are good
CHANGES = {
    "training": {"optimizer": "sgd", "lr": 4.2, "epochs": EPOCHS},
    "axes": {"m": [M], "s": [600], "tolerance": [1e-4]},
    "seeds": 1,
}
SETTINGS = {
    "coefficients overflow": {"s": 10_000},
    "weights overflow": {"s": 1000},
    "loss overflows": {"s": 600},
    "shrinking": {"s": 600, "horizon": "decay"},
    "improve": {"s": 600, "horizon": "decay", "accept": "improve"},
    "margin": {"lr": 0.05, "s": 20, "accept": "improve", "margin": 0.45, "candidates": (0.5, 2.0)},
    "no direction": {"lr": 1e-30, "s": 6},
    "candidates": {"s": 600, "candidates": (0.01, 1.0, 20.0)},
    "candidates, last": {"s": 600, "candidates": (20.0, 1.0, 0.01), "accept": "improve"},
    "no candidate": {"s": 1000, "candidates": (1.0, 10.0)},
    "limit": {"s": 10, "max_residual": 0.0},
    "limit and overflow": {"s": 10_000, "max_inconsistency": 0.0},
}


def accelerated(replicate, setting):
    options = dict(setting)
    recipe = replace(replicate.recipe, lr=options.pop("lr", replicate.recipe.lr))
    return replace(replicate, recipe=recipe, acceleration=replace(replicate.acceleration, **options))


@pytest.fixture
def given(small):
    spec = small(CHANGES)
    (replicate,) = replicates(spec)
    return replicate, make_tasks(spec, [replicate])[replicate.task]


def in_a_loop(replicate, task, setting):
    """The jumps of the same training in a loop of one's own, its final loss, and test losses by training loss."""
    x, y = (torch.tensor(a, dtype=torch.float32) for a in (task.train_inputs, task.train_targets))
    test = [torch.tensor(a, dtype=torch.float32) for a in (task.test_inputs, task.test_targets)]
    test_losses = {}
    model = build_network(task, replicate.recipe, replicate.seed).float()
    options = dict(setting)
    optimizer = torch.optim.SGD(model.parameters(), options.pop("lr", replicate.recipe.lr))
    s = options.pop("s")
    if options.pop("horizon", None):
        s = Decay(s, EPOCHS // M)
    accelerator, jumps = Accelerator(model, DMD(1e-4), m=M, s=s, **options), []

    def closure():
        loss = mse_loss(model(x), y)
        test_losses[loss.item()] = mse_loss(model(test[0]), test[1]).item()
        return loss

    for _ in range(EPOCHS):
        optimizer.zero_grad()
        mse_loss(model(x), y).backward()
        optimizer.step()
        jumps.append(accelerator.step(closure))
    return [jump for jump in jumps if jump is not None], mse_loss(model(x), y).item(), test_losses


def told(jumps):
    """Losses before and after as a record holds them."""
    unseen = [jump.outcome.value.startswith(("rejected_r", "rejected_i", "rank")) for jump in jumps]
    before = [math.nan if jump.loss_before is None else jump.loss_before for jump in jumps]
    after = [
        (math.nan if out else math.inf) if jump.loss_after is None else jump.loss_after
        for jump, out in zip(jumps, unseen, strict=True)
    ]
    return before, after


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_study_judges_as_a_loop_of_ones_own(given, setting):
    replicate, task = given
    jumps, final, test_losses = in_a_loop(replicate, task, setting)
    assert len(jumps) == EPOCHS // M
    (outcome,) = train_stack([accelerated(replicate, setting)], task, {}, CPU)
    assert outcome.jumps.outcome.tolist() == [jump.outcome.value for jump in jumps]
    assert outcome.jumps.accepted.tolist() == [jump.accepted for jump in jumps]
    assert outcome.jumps.s.tolist() == [jump.s for jump in jumps]
    before, after = told(jumps)
    np.testing.assert_array_equal(outcome.jumps.train_before, before)
    np.testing.assert_array_equal(outcome.jumps.train_after, after)
    np.testing.assert_array_equal(outcome.final_loss_train, final)
    assert outcome.status == ("finished" if math.isfinite(final) else "diverged")
    for column, losses in (("test_before", before), ("test_after", after)):  # of several candidates, of the best
        known = [k for k, loss in enumerate(losses) if math.isfinite(loss)]
        found = getattr(outcome.jumps, column)[known]
        np.testing.assert_array_equal(found, [test_losses[losses[k]] for k in known], err_msg=column)
    assert np.isnan(outcome.jumps.test_before).tolist() == np.isnan(before).tolist()
    assert np.isnan(outcome.jumps.test_after).tolist() == np.isnan(after).tolist()
    (plain,) = train_stack([replace(accelerated(replicate, setting), acceleration=None)], task, {}, CPU)
    if outcome.status == "finished":
        test = sum((jump.loss_before is not None) + (jump.loss_after is not None) for jump in jumps)
        samples, test_samples = len(task.train_inputs), len(task.test_inputs)
        weights = sum(p.numel() for p in build_network(task, replicate.recipe, 0).parameters())
        spent = sum(jump.evaluations for jump in jumps) * evaluation_flops(weights, samples)
        assert outcome.flops_judging - plain.flops_judging == spent + test * evaluation_flops(weights, test_samples)


def test_no_replicate_of_a_pack_notices_how_others_are_judged(given):
    replicate, task = given
    together = train_stack([accelerated(replicate, setting) for setting in SETTINGS.values()], task, {}, CPU)
    outcomes = set()
    for setting, outcome in zip(SETTINGS.values(), together, strict=True):
        (alone,) = train_stack([accelerated(replicate, setting)], task, {}, CPU)
        assert outcome.jumps.outcome.tolist() == alone.jumps.outcome.tolist()
        assert outcome.jumps.s.tolist() == alone.jumps.s.tolist()
        assert (outcome.status, outcome.epoch, outcome.stacked) == (alone.status, alone.epoch, len(SETTINGS))
        assert outcome.flops_judging == alone.flops_judging
        assert outcome.flops_jumps == alone.flops_jumps
        np.testing.assert_allclose(outcome.jumps.train_before, alone.jumps.train_before, rtol=1e-3)
        outcomes |= set(outcome.jumps.outcome.tolist())
    judged = {"accepted", "rejected_loss", "not_finite", "rejected_residual", "rank_deficient"}
    assert outcomes == judged


def test_a_jump_that_overflows_is_refused_and_training_goes_on(given):
    replicate, task = given
    (plain,) = train_stack([replace(replicate, acceleration=None)], task, {}, CPU)
    for name in ("coefficients overflow", "weights overflow", "loss overflows"):
        (outcome,) = train_stack([accelerated(replicate, SETTINGS[name])], task, {}, CPU)
        assert (outcome.status, outcome.epoch) == ("finished", EPOCHS)
        assert outcome.curve_train.tolist() == plain.curve_train.tolist()  # from the newest snapshot, bit for bit
        metrics = outcome_metrics(outcome)
        assert metrics["mean_relative_error_train"] == metrics["worst_relative_error_test"] == math.inf
        assert metrics["acceptance"] == metrics["log_gain_per_epoch_train"] == metrics["fraction_improved_train"] == 0


def test_a_jump_without_direction_has_no_ratio(given):
    replicate, task = given
    (outcome,) = train_stack([accelerated(replicate, SETTINGS["no direction"])], task, {}, CPU)
    assert outcome.jumps.outcome.tolist() == ["rank_deficient"] * (EPOCHS // M)
    assert not outcome.jumps.evaluated.any()
    metrics = outcome_metrics(outcome)
    assert math.isnan(metrics["mean_relative_error_train"])
    assert metrics["acceptance"] == 0


def test_a_loss_that_is_no_number_at_the_newest_snapshot_ends_its_own_replicate_alone(given):
    replicate, task = given
    # lr 3e37: the first step already leaves the range of float32
    rates = (0.05, 3e37, 4.0)
    pack = [replace(replicate, recipe=replace(replicate.recipe, lr=lr)) for lr in rates]
    pack = [accelerated(one, {"lr": one.recipe.lr, "s": 3, "m": 2}) for one in pack]
    together = train_stack(pack, task, {}, CPU, check_every=1000)  # losses are looked at when a jump is due
    assert [outcome.status for outcome in together] == ["finished", "diverged", "finished"]
    alone = train_stack([pack[0], pack[2]], task, {}, CPU, check_every=1000)
    for one, other in zip((together[0], together[2]), alone, strict=True):
        assert one.jumps.outcome.tolist() == other.jumps.outcome.tolist()
        np.testing.assert_allclose(one.curve_train, other.curve_train, rtol=1e-5)
