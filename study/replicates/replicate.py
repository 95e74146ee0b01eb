"""What a trainer is handed: plain data, so that it can run in any process on any machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
