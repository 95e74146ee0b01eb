"""What training a replicate gives back: plain data, as its `Replicate` is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from study.replicates.replicate import Replicate


@dataclass(frozen=True)
class JumpHistory:
    """One entry per jump; groups of a jump are the second axis (nodes or weights of a layer as one: the largest).

    Losses are those of the newest snapshot and of the prediction, on the training and on the test split; NaN for a jump
    that was rejected before it was evaluated. s: the steps that were proposed, of several candidates the best.
    """

    epoch: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    train_before: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    train_after: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    test_before: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    test_after: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    accepted: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    s: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    rank: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    spectral_radius: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def evaluated(self) -> NDArray[np.bool_]:
        """Which jumps were not rejected unseen."""
        losses = [self.train_before, self.train_after, self.test_before, self.test_after]
        return np.asarray(~np.isnan(losses).all(axis=0))


@dataclass(frozen=True)
class ReplicateOutcome:
    """What training one replicate gave.

    status: ``finished``, ``diverged`` (a loss or weight stopped being finite, at ``epoch``), ``pruned`` (by one of its
    stops, after ``epoch``) or ``failed`` (``reason``).
    curve_*: training loss (``curve_train``) and test loss (``curve_test``) after so many epochs.
    stacked: replicates that were trained side by side with it, itself included, sharing every product.
    seconds_*: wall time of training steps, of jumps (snapshots included) and of judging (evaluations); of replicates
    side by side, an equal share.
    flops_*: the same split in floating point operations; ``jumps``: of an alternative, all that plain training does not
    cost.
    own_metrics: what only some methods or problems fill, by column of the table.
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
    """The outcome of a replicate that raised, or whose worker was lost."""
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
