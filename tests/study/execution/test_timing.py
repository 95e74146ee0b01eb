"""Time of a cell against plain training: parts of short trainings, scaled to the whole one."""

from dataclasses import replace

import numpy as np
import pytest

from study import load_spec
from study.execution import timing
from study.planning.cells import replicates
from study.planning.tasks import make_tasks
from study.replicates.outcome import Breakdown, JumpHistory, ReplicateOutcome
from tests.study.conftest import MEASURE, QUADRATIC

CELL = {"m": 4, "s": 2, "tolerance": 1e-6}


def small(**keys):
    return load_spec({**QUADRATIC, **keys})


def made_up(replicate, tasks, *, step_s, snapshot_s=0.0, jump_s=0.0, judge_s=0.0):
    """The outcome of a training whose steps, snapshots, jumps and evaluations take these times."""
    epochs = replicate.recipe.epochs
    method = replicate.extrapolation
    jumps = 0 if method is None else epochs // method.m
    return ReplicateOutcome(
        replicate,
        "finished",
        epoch=epochs,
        steps=epochs,
        jumps=JumpHistory(
            epoch=np.arange(jumps),
            **{f"{split}_{when}": np.ones(jumps) for split in ("train", "test") for when in ("before", "after")},
        ),
        seconds=Breakdown(epochs * step_s, jumps * jump_s, judge_s * jumps, epochs * snapshot_s * (jumps > 0)),
        flops=Breakdown(3.0 * epochs, 1.0, 2.0 * jumps),  # two evaluations a jump, each a third of a step
    )


def ratio_of(monkeypatch, spec, cell=CELL, plain=None, **times):
    def train(spec, replicate, tasks):
        given = {"step_s": times["step_s"]} if replicate.is_baseline else times
        return made_up(replicate, tasks, **given)

    monkeypatch.setattr(timing, "_train", train)
    monkeypatch.setattr(timing, "PATIENCE_S", 0.0)
    return MEASURE(spec, cell, plain or {})


def test_steps_snapshots_and_jumps_add_up(monkeypatch):
    # a jump every 4 of 24 epochs: 1 + 0.1 + 2/4
    measured = ratio_of(monkeypatch, small(), step_s=1.0, snapshot_s=0.1, jump_s=2.0, judge_s=50.0)
    assert measured["ratio"] == pytest.approx(1.6, rel=1e-12)
    assert (measured["low"], measured["high"]) == pytest.approx((1.6, 1.6), rel=1e-12)
    assert measured["pairs"] == timing.MIN_PAIRS
    assert (measured["cell"], measured["plain"]) == (CELL, {})


def test_evaluations_count_where_the_policy_needs_them(monkeypatch):
    judged = small(method={"name": "dmd", "accept": "improve"})
    # the policy needs two evaluations a jump, which are all of the judging here: 1 + 0.1 + (2 + 3)/4
    measured = ratio_of(monkeypatch, judged, step_s=1.0, snapshot_s=0.1, jump_s=2.0, judge_s=3.0)
    assert measured["ratio"] == pytest.approx(2.35, rel=1e-12)


def test_a_training_that_jumps_for_a_while_only_pays_for_that(monkeypatch):
    late = small(method={"name": "dmd", "start": 12})
    # 12 of 24 epochs are recorded, with 3 jumps: 1 + 0.1 / 2 + 2 * 3/24
    measured = ratio_of(monkeypatch, late, step_s=1.0, snapshot_s=0.1, jump_s=2.0)
    assert measured["ratio"] == pytest.approx(1.3, rel=1e-12)


def test_real_trainings_are_timed(monkeypatch):
    monkeypatch.setattr(timing, "PATIENCE_S", 0.0)
    spec = small(baseline={"training.lr": [0.01]})
    measured = MEASURE(spec, CELL, {"training.lr": 0.01})
    # recording and jumping cost something, on the same steps; other programs may slow single pairs tenfold
    assert 1.0 < measured["ratio"] < 100


def test_a_study_for_a_gpu_is_not_timed_without_one(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert MEASURE(small(resources={"gpu": 0.5}), CELL, {}) is None


def test_a_training_that_fails_is_not_timed(monkeypatch):
    spec = small()
    replicate = replicates(spec)[0]
    tasks = make_tasks(spec, [replicate])
    failed = replace(made_up(replicate, tasks, step_s=1.0), status="diverged")
    monkeypatch.setattr(timing, "_train", lambda *arguments: failed)
    assert MEASURE(spec, CELL, {}) is None
