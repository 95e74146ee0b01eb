"""What a training has cost when, and the loss it had by then."""

import math

import numpy as np
import pytest

from study.analysis.statistics.equal_cost import (
    Price,
    evaluations_per_jump,
    jump_seconds,
    loss_within,
    price_in_epochs,
    price_in_time,
)


def test_copying_snapshots_is_part_of_a_jumps_time():
    # two jumps share 2 s, and 2 s of copying are as much again
    copied = {"seconds_recording": 2.0}
    once, twice = (price_in_time([row(seconds_judging=0.0, **more)], []).jump for more in ({}, copied))
    assert twice == pytest.approx(2 * once, rel=1e-12)
    assert jump_seconds(row(seconds_recording=None)) == 2.0  # an older row


def row(**changes):
    """A training of 10 epochs with jumps after the 4th and the 8th; a step costs 600 operations, a jump 60."""
    epochs = list(range(11))
    return {
        "epoch": 10,
        "steps": 10,
        "jump_epoch": [4, 8],
        "jump_train_after": [1.0, 1.0],
        "flops_training": 6000.0,
        "flops_jumps": 120.0,
        "flops_judging": 2 * 2 * 200.0,
        "seconds_training": 20.0,
        "seconds_jumps": 2.0,
        "seconds_judging": 8.0,
        "curve_train_epoch": epochs,
        "curve_train": [float(10 - epoch) for epoch in epochs],
        "curve_test_epoch": [0, 5, 10],
        "curve_test": [10.0, 5.0, 0.5],
    } | changes


def test_a_price_falls_due_when_it_is_spent():
    spent = Price(start=3, epoch=2, jump=10).spent([0, 3, 4, 5, 8], [4, 8])
    assert spent.tolist() == [3, 9, 21, 23, 39]


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [
        ({}, 0),
        ({"accept": "always"}, 0),
        ({"accept": "improve"}, 2),  # before, and after
        ({"accept": "improve", "candidates": (0.5, 1.0)}, 3),
        ({"accept": "always", "candidates": (0.5, 1.0)}, 2),  # which is lowest, whatever it was before
        ({"accept": "always", "horizon": "loss"}, 1),
        ({"accept": "improve", "horizon": "loss"}, 2),  # the same one before the jump
    ],
)
def test_what_a_policy_must_know_is_paid_for(method, evaluations):
    assert evaluations_per_jump(method) == evaluations


def test_operations_of_jumps_and_of_the_evaluations_they_need_are_counted_in_steps():
    assert price_in_epochs(row()) == Price(jump=60 / 600)
    # one of the two jumps was rejected unseen, so that nothing was evaluated for it
    half = row(jump_train_after=[1.0, math.nan])
    assert price_in_epochs(half, 2).jump == pytest.approx(60 / 600 + 2 / 3 / 2, rel=1e-12)


def test_a_method_without_jumps_costs_what_its_epochs_do():
    cheap = row(jump_epoch=[], jump_train_after=[], flops_jumps=-4500.0)
    assert price_in_epochs(cheap) == Price(epoch=0.25)


def test_time_is_that_of_steps_and_jumps_of_the_same_training():
    # judging took 8 s for 800 operations, of which 2 jumps x 2 evaluations x 200 are the policy's: all of it
    assert price_in_time([row()], []) == Price(jump=1.0 / 2)
    assert price_in_time([row()], [], 2).jump == pytest.approx((2 + 8) / 2 / 2)


def test_a_busy_machine_slows_steps_and_jumps_alike_and_the_median_run_counts():
    slow = row(seconds_training=60.0, seconds_jumps=6.0, seconds_judging=24.0)
    interrupted = row(seconds_jumps=400.0)
    assert price_in_time([row(), slow, interrupted], []) == price_in_time([row()], [])


def test_without_jumps_epochs_are_timed_against_plain_ones():
    plain = row(jump_epoch=[], seconds_training=40.0, seconds_jumps=0.0)
    other = row(jump_epoch=[], seconds_training=10.0, seconds_jumps=6.0)
    assert price_in_time([other], [plain]) == Price(start=6 / 4, epoch=1 / 4)


def test_plain_training_needs_no_timing_of_its_own():
    assert price_in_time([], []) == Price()


def test_the_loss_is_the_last_one_before_the_budget_is_spent():
    price = Price(jump=1.5)
    assert loss_within(row(), "train", price, 10) == 3  # 8 epochs and two jumps cost 11, 7 and one 8.5
    assert loss_within(row(), "train", price, 11) == 2
    assert loss_within(row(), "test", price, 10) == 5
    assert loss_within(row(), "train", Price(jump=0.1), 3 + 0.1 * 10) == 7  # 4 epochs and a jump: 4.1 > 4
    assert loss_within(row(), "train", Price(epoch=0.1), 0.3) == 7  # 3 x 0.1 is above 0.3 by rounding alone


def test_a_training_that_has_diverged_by_then_is_infinite_and_one_that_diverges_later_is_not():
    curve = [*map(float, range(10, 2, -1)), math.nan]
    diverged = row(curve_train=curve, curve_train_epoch=list(range(9)), status="diverged", epoch=8, jump_epoch=[])
    assert loss_within(diverged, "train", Price(), 10) == math.inf
    assert loss_within(diverged, "train", Price(), 7) == 3
    assert np.isinf(loss_within(row(curve_test=[1.0, 2.0, math.inf]), "test", Price(), 10))
