"""What a trainer is handed and what it hands back: plain data, so that it can run in any process on any machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Value = int | float | str | bool | tuple[int | float, ...] | None
"""What an axis can hold."""

WITH_MOMENTUM = ("sgd", "rmsprop")
"""The optimisers that `Recipe.momentum` is of; others have moments of their own, or none."""


@dataclass(frozen=True)
class Recipe:
    """Plain training, the part that a replicate shares with its baseline."""

    hidden: tuple[int, ...]
    activation: str
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    epochs: int
    batch: int | None
    """Samples per mini-batch; None: all of them, one step an epoch."""
    dtype: str
    precision: str = "full"
    """Of matrix products: ``full`` that of dtype, ``tf32`` or ``bf16`` (autocast) where the device has them."""
    order: str = "shuffled"
    """Of the samples in the batches of an epoch: ``shuffled`` anew in each, or ``fixed`` as the data have them."""


@dataclass(frozen=True)
class Acceleration:
    """How weights are extrapolated: the rule by name with its options, and when it is applied."""

    rule: str
    options: Mapping[str, Value]
    m: int
    s: int
    group: str | int
    snapshots: str
    accept: str
    moments: str
    horizon: str = "constant"
    horizon_jumps: int | None = None
    candidates: tuple[float, ...] = (1.0,)
    relaxation: float = 1.0
    shape: str = "none"
    noise: float = 0.0
    margin: float = 0.0
    start: int = 0
    stop: int | None = None
    max_residual: float | None = None
    max_inconsistency: float | None = None
    mode: str = "train"
    """``train``: jumps are taken; ``probe``: they are proposed and judged along a training that takes none."""
    probes: int = 30


@dataclass(frozen=True)
class Alternative:
    """A method that is no jump rule, and trains a replicate its own way: its name and options."""

    name: str
    options: Mapping[str, Value]


@dataclass(frozen=True)
class Stop:
    """Beyond which value of a metric a replicate is hopeless, and ends after this epoch as ``pruned``."""

    epoch: int
    metric: str
    bound: float


@dataclass(frozen=True)
class Replicate:
    """One cell with one seed: the unit that is trained, recorded and resumed.

    A baseline has neither acceleration nor alternative; others have one of them.
    """

    parameters: Mapping[str, Value]
    """The cell: axis key -> value (of a baseline: the axes that are not the method's)."""
    seed: int
    task: str
    """Key of the `Task` it trains on."""
    recipe: Recipe
    acceleration: Acceleration | None
    alternative: Alternative | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether it is trained plainly, for others to be compared with."""
        return self.acceleration is None and self.alternative is None

    stops: tuple[Stop, ...] = ()

    @property
    def architecture(self) -> tuple[object, ...]:
        """What replicates must share to be trained side by side, in one stack."""
        recipe = self.recipe
        own = (recipe.hidden, recipe.activation, recipe.optimizer, recipe.epochs, recipe.batch)
        return self.task, *own, recipe.dtype, recipe.precision, recipe.order

    @property
    def probed_with(self) -> tuple[object, ...] | None:
        """What cells must share to be probed for along one training; None for one that is trained itself."""
        acceleration = self.acceleration
        if acceleration is None or acceleration.mode == "train":
            return None
        return self.task, self.recipe, self.seed, acceleration.snapshots, acceleration.probes

    def snapshots(self, train_samples: int) -> int:
        """Snapshots that can be taken in its training."""
        recipe = self.recipe
        if self.acceleration is None or self.acceleration.snapshots == "epoch" or recipe.batch is None:
            return recipe.epochs
        return recipe.epochs * -(-train_samples // recipe.batch)

    def jumps(self, train_samples: int) -> int:
        """Jumps of its training, if it does not diverge; those of a probe are not taken."""
        acceleration = self.acceleration
        if acceleration is None or acceleration.mode == "probe":
            return 0
        calls = self.snapshots(train_samples)
        last = calls if acceleration.stop is None else min(calls, acceleration.stop)
        return max(last - acceleration.start, 0) // acceleration.m


@dataclass(frozen=True)
class Task:
    """The data of a problem, and where it brings them its own network (factory) and loss (network, inputs, targets).

    accuracy: of a classification, as the loss.
    """

    train_inputs: NDArray[np.float64]
    train_targets: NDArray[np.float64]
    test_inputs: NDArray[np.float64]
    test_targets: NDArray[np.float64]
    network: Callable[[], Any] | None = None
    loss: Callable[[Any, Any, Any], Any] | None = None
    accuracy: Callable[[Any, Any, Any], Any] | None = None


@dataclass(frozen=True)
class Pack:
    """Replicates trained in one process: the unit that Ray Tune schedules."""

    id: str
    replicates: tuple[Replicate, ...]
    threads: int
    device: str
    gpu: float = 0.0
    """Share of a GPU's memory that it may use; 0 on the CPU."""


@dataclass(frozen=True)
class Jumps:
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
class Outcome:
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
    jumps: Jumps
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


def failed(replicate: Replicate, reason: str) -> Outcome:
    """The outcome of a replicate that raised, or whose worker was lost."""
    nothing = np.zeros(0)
    return Outcome(
        replicate=replicate,
        status="failed",
        epoch=0,
        reason=reason,
        final_loss_train=float("nan"),
        final_loss_test=float("nan"),
        jumps=Jumps(),
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
