"""What is known of each replicate of a stack while it is trained, and the outcome it ends as."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from study.replicates.flops import combination_flops, evaluation_flops, jump_flops, step_flops
from study.replicates.metrics import value_so_far
from study.replicates.outcome import JumpHistory, ReplicateOutcome
from study.replicates.replicate import Acceleration, Replicate


@dataclass(eq=False)
class ReplicateState:
    """One replicate in training."""

    replicate: Replicate
    place_in_pack: int
    status: str = "running"
    epoch: int = 0
    steps: int = 0
    jumps: list[dict[str, Any]] = field(default_factory=list)
    train_curve: list[tuple[int, float]] = field(default_factory=list)
    test_curve: list[tuple[int, float]] = field(default_factory=list)
    groups: tuple[str, ...] = ()
    evaluations: dict[str, int] = field(default_factory=lambda: {"train": 0, "test": 0})
    combinations: int = 0
    """Of snapshots, beside the first of every jump."""
    own_metrics: dict[str, float] = field(default_factory=dict)
    prediction_errors: list[float] = field(default_factory=list)
    """Of each probe whose s steps were trained."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Its share of the stack's."""

    @property
    def acceleration(self) -> Acceleration:
        """How it is accelerated; a baseline is not asked."""
        assert self.replicate.acceleration is not None
        return self.replicate.acceleration

    def charge(self, seconds: Mapping[str, float], among: int) -> None:
        """Count an equal share of what so many replicates have cost."""
        for part, spent_s in seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + spent_s / among

    def is_hopeless(self, epoch: int) -> bool:
        """Whether one of its stops ends it after this epoch."""
        own = {key: [jump[key] for jump in self.jumps] for key in ("epoch", "train_before", "train_after")}
        curve_epoch, curve = zip(*self.train_curve, strict=True) if self.train_curve else ((), ())
        return any(
            value_so_far(stop.metric, epoch, curve_epoch, curve, *own.values()) > stop.bound
            for stop in self.replicate.stops
            if stop.epoch == epoch
        )

    def outcome(
        self, weights: int, samples: int, test_samples: int, *, stacked: int, shared_by: int = 1
    ) -> ReplicateOutcome:
        """What it has become, of a network of so many weights; the training may be shared by several probed cells."""
        m = 0 if self.replicate.acceleration is None else self.replicate.acceleration.m
        final_train, final_test = (curve[-1][1] if curve else math.nan for curve in (self.train_curve, self.test_curve))
        return ReplicateOutcome(
            replicate=self.replicate,
            status=self.status,
            epoch=self.epoch,
            reason="",
            final_loss_train=final_train,
            final_loss_test=final_test,
            jumps=_stack_jumps(self.jumps),
            curve_train_epoch=np.array([e for e, _ in self.train_curve], np.int64),
            curve_train=np.array([v for _, v in self.train_curve]),
            curve_test_epoch=np.array([e for e, _ in self.test_curve], np.int64),
            curve_test=np.array([v for _, v in self.test_curve]),
            groups=self.groups,
            steps=self.steps,
            stacked=stacked,
            seconds_training=self.seconds.get("training", 0.0),
            seconds_jumps=self.seconds.get("jumps", 0.0),
            seconds_judging=self.seconds.get("judging", 0.0),
            flops_training=self.epoch * step_flops(weights, samples) / shared_by,
            flops_jumps=len(self.jumps) * jump_flops(weights, m) + self.combinations * combination_flops(weights, m),
            flops_judging=self.evaluations["train"] * evaluation_flops(weights, samples)
            + self.evaluations["test"] * evaluation_flops(weights, test_samples),
            own_metrics=self.own_metrics,
        )


def _stack_jumps(jumps: list[dict[str, Any]]) -> JumpHistory:
    if not jumps:
        return JumpHistory()
    return JumpHistory(**{key: np.array([jump[key] for jump in jumps]) for key in jumps[0]})
