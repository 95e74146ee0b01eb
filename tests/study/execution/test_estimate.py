from dataclasses import dataclass, replace

import pytest

from study import load_spec
from study.errors import UserError
from study.execution.estimate import estimate, timing
from study.replicates.outcome import failed


def test_figure3():
    assert estimate(load_spec("figure3")) == [
        ("cells", "380 (19 m x 20 s x 1 tolerance)"),
        ("replicates", "380 (1 seed)"),
        ("baselines", "6"),  # of six learning rates, one of which is that of the cells
        ("fresh replicates at the end", "2 x 5"),
        # sum over m of 3000 // m, for each of 20 s
        ("jumps", f"{20 * sum(3000 // m for m in range(2, 21)):,}"),
        # 386 trainings of 3000 steps: 6 operations for each of 2,882,150 weights and 800 samples
        ("training", f"{386 * 3000 * 6 * 2_882_150 * 800 / 1e15:.3g} PFLOP"),
        ("jumps", "45.9 TFLOP"),
        ("judging jumps", "1.8 PFLOP"),
        ("total", "17.9 PFLOP"),
    ]


def test_every_replicate_and_baseline_counts(small):
    found = dict(estimate(small({"axes.training.lr": [0.1, 0.2, 0.3], "training.lr": None})))
    assert found["cells"] == "12 (2 m x 2 s x 1 tolerance x 3 training.lr)"
    assert found["replicates"] == "24 (2 seeds)"
    assert found["baselines"] == "6"
    # 30 replicates of 24 epochs; 36 weights, 64 samples, 6 operations
    assert found["training"] == f"{30 * 24 * 6 * 36 * 64 / 1e6:.3g} MFLOP"


def test_plain_trainings_with_other_values_count_too(small):
    few, many = small(), small({"baseline": {"training.lr": [0.01, 0.05, 0.1], "training.batch": ["full", 32]}})
    few_counts, tuned = dict(estimate(few)), dict(estimate(many))
    # six combinations for each of two seeds; one of them is the spec's own
    assert (few_counts["baselines"], tuned["baselines"]) == ("2", "12")
    assert (few_counts["replicates"], few_counts["jumps"]) == (tuned["replicates"], tuned["jumps"])
    assert tuned["training"] == f"{(8 + 12) * 24 * 6 * 36 * 64 / 1e6:.3g} MFLOP"
    assert "fresh replicates at the end" not in tuned


@dataclass(frozen=True)
class Brings:
    """A problem with a network of its own, whose size is not known before it is built."""

    def sizes(self):
        from problems import Sizes

        return Sizes(3, 2, 40, 10)

    def data(self, progress=None):
        raise AssertionError("an estimate must not make data")

    def network(self):
        import torch

        return torch.nn.Linear(3, 2)


def test_a_network_of_the_problems_own_can_only_be_timed(small):
    spec = replace(small(), problem_class=lambda **fields: Brings())
    assert estimate(spec)[-1] == (
        "operations",
        "not known: the problem brings its own network; use --time to measure a few steps",
    )
    assert [what for what, _ in timing(spec)][-1] == "all replicates, one at a time"


@pytest.fixture
def measured(monkeypatch):
    """Training that claims 2 ms a step, 3 ms to judge a jump, and per snapshot of a window 0.06 ms of jumping and 0.04
    ms of recording it.
    """
    import numpy as np

    import study.training.packs
    from study.replicates.outcome import Breakdown, JumpHistory

    asked = []

    def train_pack(pack, tasks, rules):
        (replicate,) = pack.replicates
        asked.append((pack, tasks[replicate.task]))
        m, steps = replicate.extrapolation.m, replicate.recipe.epochs
        jumps = steps // m
        made = replace(
            failed(replicate, ""),
            status="finished",
            steps=steps,
            jumps=JumpHistory(epoch=np.arange(jumps)),
            seconds=Breakdown(0.002 * steps, 0.00006 * m * jumps, 0.003 * jumps, 0.00004 * m * jumps),
        )
        return [made]

    monkeypatch.setattr(study.training.packs, "train_pack", train_pack)
    return asked


def test_timing_scales_what_was_measured_up_to_the_whole_study(small, measured):
    spec = small({"axes.m": [4, 6, 8], "axes.s": [2], "training.epochs": 48, "seeds": 2, "resources": {"cpu": 2}})
    # per replicate 48 steps; 12, 8, 6 jumps at m = 4, 6, 8 of m / 10 + 3 ms, with the snapshots of their windows; two
    # seeds of them and of the baseline
    jumping_s = sum(48 // m * (0.0001 * m + 0.003) for m in (4, 6, 8))
    total_s = 2 * (4 * 48 * 0.002 + jumping_s)
    assert timing(spec) == [
        ("device", "CPU, 2 thread(s)"),
        ("one step", "2 ms"),
        ("one jump at m = 4", "0.4 ms, and 3 ms to judge it"),
        ("one jump at m = 8", "0.8 ms, and 3 ms to judge it"),
        ("all replicates, one at a time", f"{total_s:.3g} s"),
    ]
    assert {pack.replicates[0].extrapolation.m for pack, _ in measured} == {4, 8}
    assert all(pack.threads == 2 for pack, _ in measured)
    assert all(pack.replicates[0].recipe.epochs == 2 * pack.replicates[0].extrapolation.m for pack, _ in measured)
    task = measured[0][1]
    assert (task.train_inputs.shape, task.test_targets.shape) == ((64, 8), (16, 4))


@pytest.mark.parametrize(("epochs", "words"), [(48, "s"), (10**5, "minutes"), (10**7, "hours")])
def test_durations_have_readable_units(small, measured, epochs, words):
    assert dict(timing(small({"training.epochs": epochs})))["all replicates, one at a time"].split()[1] == words


def test_mini_batches_are_steps(small, measured):
    full, batches = (
        float(dict(timing(small({"training.batch": batch, "axes.m": [4], "method.snapshots": "epoch"})))[
            "all replicates, one at a time"
        ].split()[0])
        for batch in ("full", 16)
    )  # fmt: skip
    jumping_s = 4 * 6 * (0.0004 + 0.003)
    # rounded to three digits
    assert batches - jumping_s == pytest.approx(4 * (full - jumping_s), rel=0.02)


def test_a_study_that_cannot_train_cannot_be_timed(small, monkeypatch):
    import study.training.packs

    monkeypatch.setattr(
        study.training.packs, "train_pack", lambda pack, tasks, rules: [failed(pack.replicates[0], "the reason")]
    )
    with pytest.raises(UserError, match="cannot be timed, because its training fails:\nthe reason"):
        timing(small())


def test_real_timing_is_of_the_right_kind(small):
    found = dict(timing(small()))
    assert set(found) == {
        "device",
        "one step",
        "one jump at m = 4",
        "one jump at m = 6",
        "all replicates, one at a time",
    }
    assert float(found["one step"].split()[0]) > 0
