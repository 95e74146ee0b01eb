"""The outcome of training a replicate: plain data, as its `Replicate` is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from study.replicates.replicate import Replicate

ACCEPTED = "accepted"
"""Outcome of a jump that was taken."""
PROBED = "probed"
"""Outcome of a finite prediction that was evaluated along a training that takes no jumps."""
NOT_RECORDED = "not recorded"
"""Stands for the outcome of a jump that was not accepted, in a record whose format holds no reasons."""


@dataclass(frozen=True)
class JumpHistory:
    """The jumps of a replicate, one entry each.

    Losses are NaN for a jump that was rejected before it was evaluated. The loss of a prediction that is not finite is
    +inf, or as it was evaluated.
    """

    epoch: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Epoch after which it was made."""
    train_before: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Training loss at the newest snapshot."""
    train_after: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Training loss at the prediction."""
    test_before: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Test loss at the newest snapshot."""
    test_after: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Test loss at the prediction."""
    outcome: NDArray[np.str_] = field(default_factory=lambda: np.zeros(0, np.str_))
    """Value of its `accel.JumpOutcome`; ``probed`` if it was evaluated along a training that takes no jumps; empty if
    it was not accepted for a reason that was not recorded."""
    s: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Steps that the prediction leaps; of several candidates, the steps of the best."""
    rank: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    """Modes kept, (jumps, groups); nodes or weights of a layer count as one group, with their largest number."""
    spectral_radius: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """Largest |eigenvalue| kept, (jumps, groups)."""

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """True for jumps that were taken."""
        return np.asarray(self.outcome == ACCEPTED, np.bool_)

    @property
    def evaluated(self) -> NDArray[np.bool_]:
        """True for jumps that were not rejected before they were evaluated."""
        losses = [self.train_before, self.train_after, self.test_before, self.test_after]
        return np.asarray(~np.isnan(losses).all(axis=0))


@dataclass(frozen=True)
class ReplicateOutcome:
    """The outcome of training one replicate.

    status: ``finished``, ``diverged`` (a loss or weight stopped being finite, at ``epoch``), ``pruned`` (by one of its
    stops, after ``epoch``) or ``failed`` (``reason``).
    curve_*: training loss (``curve_train``) and test loss (``curve_test``), with the epochs after which they were read.
    stacked: number of replicates that were trained side by side, this one included, sharing every product.
    seconds_*: wall time of training steps, of jumps (snapshots included) and of judging (evaluations); an equal share
    for each of the replicates side by side.
    flops_*: floating point operations of the same parts. For an alternative, ``jumps`` holds all that plain training
    does not cost.
    own_metrics: column of the table -> value, for metrics that only some methods or problems fill.
    """

    replicate: Replicate
    status: str
    epoch: int
    reason: str
    final_loss_train: float
    final_loss_test: float
    jumps: JumpHistory
    curve_train_epoch: NDArray[np.int64]
    curve_train: NDArray[np.float64]
    curve_test_epoch: NDArray[np.int64]
    curve_test: NDArray[np.float64]
    groups: tuple[str, ...]
    steps: int
    stacked: int
    seconds_training: float
    seconds_jumps: float
    seconds_judging: float
    flops_training: float
    flops_jumps: float
    flops_judging: float
    own_metrics: Mapping[str, float] = field(default_factory=dict)


def failed(replicate: Replicate, reason: str) -> ReplicateOutcome:
    """Return the outcome of a replicate that raised an exception, or whose worker was lost."""
    nothing = np.zeros(0)
    return ReplicateOutcome(
        replicate=replicate,
        status="failed",
        epoch=0,
        reason=reason,
        final_loss_train=float("nan"),
        final_loss_test=float("nan"),
        jumps=JumpHistory(),
        curve_train_epoch=np.zeros(0, np.int64),
        curve_train=nothing,
        curve_test_epoch=np.zeros(0, np.int64),
        curve_test=nothing,
        groups=(),
        steps=0,
        stacked=0,
        seconds_training=0.0,
        seconds_jumps=0.0,
        seconds_judging=0.0,
        flops_training=0.0,
        flops_jumps=0.0,
        flops_judging=0.0,
    )
