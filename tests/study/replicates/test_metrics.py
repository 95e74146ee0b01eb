import math
from dataclasses import replace

import numpy as np
import pytest

from study.planning.cells import replicates
from study.replicates.metric_catalogue import METRICS
from study.replicates.metrics import (
    OWN_METRICS,
    loss_after,
    outcome_metrics,
    proposed_ratios,
    ratio_metrics,
    settled_losses,
    steps_to_loss,
)
from study.replicates.outcome import Breakdown, JumpHistory, Losses, failed

INF, NAN = math.inf, math.nan


@pytest.fixture
def outcome(small):
    """An outcome with four jumps over ten epochs; the third jump was rejected."""
    nothing = failed(replicates(small())[0], "")
    return replace(
        nothing,
        status="finished",
        epoch=10,
        losses=Losses(final_train=0.25, final_test=0.5),
        jumps=JumpHistory(
            epoch=np.array([2, 4, 6, 8]),
            train_before=np.array([4.0, 2.0, 1.0, 1.0]),
            train_after=np.array([2.0, 0.5, 4.0, 1.0]),  # ratios 1/2, 1/4, 4, 1
            test_before=np.array([8.0, 1.0, 1.0, 2.0]),
            test_after=np.array([2.0, 2.0, 0.0, 1.0]),  # ratios 1/4, 2, 0, 1/2
            outcome=np.array(["accepted", "accepted", "rejected_loss", "accepted"]),
        ),
        flops=Breakdown(training=200.0, jumps=30.0, judging=1e9),
    )


def test_each_metric_by_hand(outcome):
    found = outcome_metrics(outcome)
    expected = {
        "mean_relative_error_train": (1 / 2 + 1 / 4 + 4 + 1) / 4,
        "geometric_mean_relative_error_train": (1 / 2 * 1 / 4 * 4 * 1) ** (1 / 4),
        "median_relative_error_train": (1 / 2 + 1) / 2,
        "worst_relative_error_train": 4.0,
        "fraction_improved_train": 2 / 4,
        # of the applied ratios 1/2, 1/4, 1 (the rejected jump counts as 1), 1
        "log_gain_per_epoch_train": (math.log(2) + math.log(4)) / 10,
        "mean_relative_error_test": (1 / 4 + 2 + 0 + 1 / 2) / 4,
        "geometric_mean_relative_error_test": 0.0,
        "median_relative_error_test": (1 / 4 + 1 / 2) / 2,
        "worst_relative_error_test": 2.0,
        "fraction_improved_test": 3 / 4,
        "log_gain_per_epoch_test": (math.log(4) - math.log(2) + math.log(2)) / 10,
        "final_loss_train": 0.25,
        "final_loss_test": 0.5,
        "end_loss_train": 0.25,
        "end_loss_test": 0.5,
        "final_epoch": 10.0,
        "acceptance": 3 / 4,
        "overhead": 230 / 200,
    } | dict.fromkeys(OWN_METRICS, math.nan)  # those of other methods and problems
    # sums of four numbers of size one: a few roundings of 1e-16
    assert found == pytest.approx(expected, rel=1e-14, nan_ok=True)


END = {"train": 0.25, "test": 0.5}


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (8, (8, 1.0, 2.0)),  # right after the last jump: read before it
        (9, (8, 1.0, 2.0)),  # one plain step of the two in a window
        (10, (10, 0.25, 0.5)),  # a whole window of plain steps
        (30, (30, 0.25, 0.5)),
    ],
)
def test_final_losses_follow_a_whole_window_of_plain_steps(outcome, epoch, expected):
    final = settled_losses(outcome.jumps, epoch, END)
    assert (final.epoch, final.loss["train"], final.loss["test"]) == expected


def test_a_rejected_last_jump_leaves_plain_steps(outcome):
    words = np.array(["accepted", "accepted", "accepted", "rejected_loss"])
    final = settled_losses(replace(outcome.jumps, outcome=words), 8, END)
    assert (final.epoch, final.loss) == (8, END)
    # the third jump was taken, at epoch 6, and a window of 2 follows it
    assert settled_losses(replace(outcome.jumps, outcome=words), 7, END).epoch == 6


def test_a_training_without_jumps_is_read_at_its_end(outcome):
    assert settled_losses(JumpHistory(), 7, END).epoch == 7
    probed = replace(outcome.jumps, outcome=np.array(["probed"] * 4))
    assert settled_losses(probed, 8, END).epoch == 8


def test_a_window_is_as_long_as_the_method_says(outcome):
    single = JumpHistory(outcome=np.array(["accepted"]))
    single = replace(single, epoch=np.array([44]), train_before=np.array([2.0]), test_before=np.array([2.0]))
    # a jump after 40 epochs without snapshots and 4 with them: 16 plain steps follow it
    assert settled_losses(single, 60, END, window=4).epoch == 60
    assert settled_losses(single, 46, END, window=4).epoch == 44


def test_several_jumps_in_the_last_epoch_are_read_before_the_last_of_them(outcome):
    jumps = replace(outcome.jumps, epoch=np.array([9, 9, 10, 10]), outcome=np.array(["accepted"] * 4))
    assert settled_losses(jumps, 10, END).loss == {"train": 1.0, "test": 2.0}


def test_both_readings_are_kept(outcome):
    row = outcome_metrics(replace(outcome, epoch=8))
    assert (row["final_loss_train"], row["end_loss_train"], row["final_epoch"]) == (1.0, 0.25, 8.0)
    assert (row["final_loss_test"], row["end_loss_test"]) == (2.0, 0.5)


def test_a_loss_between_two_points_lies_on_a_line_of_its_logarithm():
    epochs, losses = [0, 10, 30], [8.0, 4.0, 1.0]
    assert [loss_after(epochs, losses, epoch) for epoch in (0, 10, 30)] == losses
    # halfway from 4 to 1 in the logarithm
    assert loss_after(epochs, losses, 20) == pytest.approx(2.0, rel=1e-15)
    assert loss_after(epochs, [1.0, 0.0, 1.0], 5) == 0.5  # zero has no logarithm
    assert all(math.isnan(loss_after(epochs, losses, epoch)) for epoch in (-1, 31))
    assert math.isnan(loss_after([], [], 0))


def test_every_column_of_a_metric_is_filled_by_a_replicate_or_against_its_baseline(outcome):
    against_baseline = {"final_loss_ratio_train", "final_loss_ratio_test", "steps_to_baseline_loss", "seconds"}
    against_baseline |= {"measured_speedup"}
    columns = {c for metric in METRICS.values() for c in metric.columns} - against_baseline
    assert set(outcome_metrics(outcome)) == columns | {"final_epoch"}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (2.0, 1.0, 0.5),
        (2.0, 0.0, 0.0),
        (0.0, 0.0, 1.0),
        (0.0, 1.0, INF),
        (1.0, INF, INF),
        (1.0, NAN, INF),
        (NAN, 1.0, INF),
        (INF, 1.0, INF),  # not 0: a jump from a loss that overflowed is not a perfect one
        (INF, INF, INF),
        (1e-300, 1e300, INF),
        (5e-324, 5e-324, 1.0),
    ],
)
def test_proposed_ratio(before, after, expected):
    assert proposed_ratios(np.array([before]), np.array([after])).tolist() == [expected]


def test_one_infinite_ratio_rules_the_means_but_not_the_median():
    found = ratio_metrics(np.array([0.0, 0.5, INF]), np.array([True, True, True]), 1)
    assert found == {
        "mean_relative_error": INF,
        "geometric_mean_relative_error": INF,
        "median_relative_error": 0.5,
        "worst_relative_error": INF,
        "fraction_improved": 2 / 3,
        "log_gain_per_epoch": -INF,
    }


def test_a_rejected_jump_costs_no_gain():
    assert ratio_metrics(np.array([INF, 0.5]), np.array([False, True]), 2)["log_gain_per_epoch"] == math.log(2) / 2


def test_a_jump_to_loss_zero_is_an_infinite_gain():
    found = ratio_metrics(np.array([0.0, 0.5]), np.array([True, True]), 2)
    assert (found["log_gain_per_epoch"], found["geometric_mean_relative_error"]) == (INF, 0.0)


def test_ratios_whose_sum_overflows():
    found = ratio_metrics(np.array([1.5e308, 1.5e308]), np.array([True, True]), 1)
    assert found["mean_relative_error"] == INF
    # logarithms of size 710 with rounding 1e-13, exponentiated
    assert found["geometric_mean_relative_error"] == pytest.approx(1.5e308, rel=1e-12)


def test_without_a_jump_there_is_no_ratio(outcome):
    found = outcome_metrics(replace(outcome, jumps=JumpHistory(), flops=Breakdown(training=200.0)))
    assert (found["log_gain_per_epoch_train"], found["overhead"], found["final_loss_train"]) == (0.0, 1.0, 0.25)
    others = [c for c in found if c.startswith(("mean", "geometric", "median", "worst", "fraction", "acceptance"))]
    assert len(others) == 11
    assert all(math.isnan(found[column]) for column in others)


def test_a_diverged_replicate_is_the_worst_by_every_metric_that_selects(outcome):
    good, found = outcome_metrics(outcome), outcome_metrics(replace(outcome, status="diverged"))
    for name, metric in METRICS.items():
        for column in set(metric.columns) & set(found) - set(OWN_METRICS):
            if column in ("overhead", "acceptance") or name == "fraction_improved":
                assert found[column] == good[column]  # what happened until then
            else:
                assert found[column] == (INF if not metric.higher_is_better else -INF), column


def test_a_failed_replicate_has_no_numbers(outcome):
    found = outcome_metrics(failed(outcome.replicate, "why"))
    assert set(found) == set(outcome_metrics(outcome))
    assert all(math.isnan(value) for value in found.values())


def test_steps_to_loss():
    epochs, losses = np.array([0, 10, 20, 30]), np.array([4.0, 2.0, 1.0, 0.5])
    assert steps_to_loss(epochs, losses, 1.0, 1.0) == 20
    assert steps_to_loss(epochs, losses, 1.5, 4.0) == 80  # four mini-batches an epoch
    assert steps_to_loss(epochs, losses, 4.0, 1.0) == 0
    assert steps_to_loss(epochs, losses, 0.1, 1.0) == INF
    assert steps_to_loss(epochs, losses, NAN, 1.0) == INF
    assert steps_to_loss(epochs, np.array([NAN, INF, 1.0, 0.5]), 1.0, 1.0) == 20
