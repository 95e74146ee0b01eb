"""State of each replicate of a stack while it is trained, and the outcome it ends as."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.replicates.flops import combination_flops, evaluation_flops, jump_flops, step_flops
from study.replicates.metrics import value_so_far
from study.replicates.outcome import Breakdown, JumpHistory, Losses, ReplicateOutcome
from study.replicates.replicate import Jumps, Replicate


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
    """Extra combinations of snapshots, beyond the one per jump that `jump_flops` counts."""
    own_metrics: dict[str, float] = field(default_factory=dict)
    prediction_errors: list[float] = field(default_factory=list)
    """Error of the prediction of each probe whose s steps were trained."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Its share of the stack's seconds, by part."""

    @property
    def extrapolation(self) -> Jumps:
        """Rule and options of its jumps; only for a replicate that has some."""
        jumps = self.replicate.extrapolation
        assert jumps is not None
        return jumps

    def charge(self, seconds: Mapping[str, float], among: int) -> None:
        """Add an equal share of the seconds that were spent on ``among`` replicates."""
        for part, spent_s in seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + spent_s / among

    def is_hopeless(self, epoch: int) -> bool:
        """Return True if one of its stops ends it after this epoch."""
        history = {key: [jump[key] for jump in self.jumps] for key in ("epoch", "train_before", "train_after")}
        curve_epoch, curve = zip(*self.train_curve, strict=True) if self.train_curve else ((), ())
        return any(
            value_so_far(stop.metric, epoch, curve_epoch, curve, *history.values()) > stop.bound
            for stop in self.replicate.stops
            if stop.epoch == epoch
        )

    def outcome(
        self, weights: int, samples: int, test_samples: int, *, stacked: int, shared_by: int = 1
    ) -> ReplicateOutcome:
        """Make the outcome.

        Args:
            weights: Weights of the network.
            samples: Training samples.
            test_samples: Test samples.
            stacked: Replicates trained side by side, this one included.
            shared_by: Cells that were probed for along the same training, and share its cost.
        """
        jumping = self.replicate.extrapolation
        m = 0 if jumping is None else jumping.m
        (train_epoch, train), (test_epoch, test) = map(_curve, (self.train_curve, self.test_curve))
        return ReplicateOutcome(
            replicate=self.replicate,
            status=self.status,
            epoch=self.epoch,
            losses=Losses(
                final_train=float(train[-1]) if len(train) else math.nan,
                final_test=float(test[-1]) if len(test) else math.nan,
                train_epoch=train_epoch,
                train=train,
                test_epoch=test_epoch,
                test=test,
            ),
            jumps=_stack_jumps(self.jumps),
            groups=self.groups,
            steps=self.steps,
            stacked=stacked,
            seconds=Breakdown(**self.seconds),
            flops=Breakdown(
                training=self.epoch * step_flops(weights, samples) / shared_by,
                jumps=len(self.jumps) * jump_flops(weights, m) + self.combinations * combination_flops(weights, m),
                judging=self.evaluations["train"] * evaluation_flops(weights, samples)
                + self.evaluations["test"] * evaluation_flops(weights, test_samples),
            ),
            own_metrics=self.own_metrics,
        )


def _curve(points: Sequence[tuple[int, float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    epochs, losses = zip(*points, strict=True) if points else ((), ())
    return np.array(epochs, np.int64), np.array(losses, np.float64)


def _stack_jumps(jumps: list[dict[str, Any]]) -> JumpHistory:
    if not jumps:
        return JumpHistory()
    return JumpHistory(**{key: np.array([jump[key] for jump in jumps]) for key in jumps[0]})
