"""The outcome of training a replicate: plain data, as its `Replicate` is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from study.replicates.replicate import Replicate

ACCEPTED = "accepted"
"""Outcome of a jump that was taken."""
PROBED: Final = "probed"
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
    """Value of its `accel.JumpOutcome`; ``probed`` if it was evaluated along a training that takes no jumps."""
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
class Losses:
    """Losses along a training: the last ones, and the curves after so many epochs."""

    final_train: float = math.nan
    final_test: float = math.nan
    train_epoch: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    train: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    test_epoch: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    test: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


PARTS: Final = ("training", "jumps", "judging", "recording")
"""Parts of a `Breakdown`."""


@dataclass(frozen=True)
class Breakdown:
    """An amount (seconds or floating point operations) by what it was spent on."""

    training: float = 0.0
    """Steps of plain training."""
    jumps: float = 0.0
    """Jumps; for an alternative, all that plain training does not cost."""
    judging: float = 0.0
    """Evaluations of losses."""
    recording: float = 0.0
    """Snapshots that are copied into windows; seconds only, since no product is counted for a copy."""

    def __add__(self, other: "Breakdown") -> "Breakdown":
        """Add amounts part by part."""
        return Breakdown(*(getattr(self, part) + getattr(other, part) for part in PARTS))

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return math.fsum(getattr(self, part) for part in PARTS)


@dataclass(frozen=True)
class ReplicateOutcome:
    """The outcome of training one replicate."""

    replicate: Replicate
    status: str
    """``finished``, ``diverged`` (a loss or weight stopped being finite, at ``epoch``), ``pruned`` (by one of its
    stops, after ``epoch``) or ``failed`` (``reason``)."""
    epoch: int = 0
    reason: str = ""
    losses: Losses = field(default_factory=Losses)
    jumps: JumpHistory = field(default_factory=JumpHistory)
    groups: tuple[str, ...] = ()
    """Names of the groups of a jump, layers or parameters, such as ``Linear 6→20``; older records have their paths in
    the network, such as ``0`` or ``0.weight``."""
    steps: int = 0
    stacked: int = 0
    """Replicates that were trained side by side with it, itself included, sharing every product."""
    seconds: Breakdown = field(default_factory=Breakdown)
    """Wall time; an equal share of it for replicates side by side."""
    flops: Breakdown = field(default_factory=Breakdown)
    """Floating point operations."""
    started_at: float = 0.0
    """Time at which its training began, in seconds since 1970 by the worker's clock; 0 if it is not known."""
    ended_at: float = 0.0
    """Time at which the training of its stack ended, by the same clock; 0 if it is not known."""
    own_metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics that only some methods or problems fill, by column of the table."""


def failed(replicate: Replicate, reason: str) -> ReplicateOutcome:
    """Return the outcome of a replicate that raised, or whose worker was lost."""
    return ReplicateOutcome(replicate, "failed", reason=reason)
