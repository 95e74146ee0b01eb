"""Input of a trainer: plain data, so that it can run in any process on any machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Value = int | float | str | bool | tuple[int | float, ...] | None
"""A value of an axis or of an option."""

Products = Literal["torch", "onednn"]
"""Library that makes the matrix products of a training."""
WITH_MOMENTUM = ("sgd", "rmsprop")
"""Optimisers that `Recipe.momentum` applies to; others have moments of their own, or none."""


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
    """Precision of matrix products: ``full`` that of dtype, ``tf32`` or ``bf16`` (autocast) if the device has them."""
    order: str = "shuffled"
    """Order of the samples in an epoch's batches: ``shuffled`` anew in each, or ``fixed`` as the data have them."""
    products: str = "torch"
    """Library of matrix products: ``torch``, ``onednn``, or ``auto``, which is open until `Replicate.settled`."""


@dataclass(frozen=True)
class Plain:
    """The accelerator off: plain training, which others are compared with."""


@dataclass(frozen=True)
class Jumps:
    """An extrapolating rule, and how its jumps are taken."""

    rule: str
    """Name of the rule."""
    rule_options: Mapping[str, Value]
    """Fields of the rule by name."""
    m: int
    s: int
    """Horizon of the first jump; the schedule may lower it."""
    options: Mapping[str, Value] = field(default_factory=dict)
    """Other fields of `accel.JumpOptions` by name; defaults for those left out."""
    snapshots: str = "step"
    """``step``: take a snapshot after every optimiser step; ``epoch``: after every epoch."""
    horizon: str = "constant"
    """Schedule of s: ``constant``, ``linear``, ``decay`` or ``loss``."""
    horizon_jumps: int | None = None
    """Jumps until s is 1 (linear, decay); None: all jumps of the training."""

    @property
    def candidates(self) -> int:
        """Number of horizons that each jump tries."""
        return len(self.options.get("candidates", (1.0,)))  # type: ignore[arg-type]

    @property
    def start(self) -> int:
        """Calls to let pass before snapshots begin."""
        return int(self.options.get("start", 0))  # type: ignore[arg-type]

    @property
    def stop(self) -> int | None:
        """Last call that may record or jump; None for no end."""
        return self.options.get("stop")  # type: ignore[return-value]


@dataclass(frozen=True)
class Probes:
    """Jumps that are proposed and judged along plain training, and never taken."""

    jumps: Jumps
    count: int = 30
    """Number of probes, evenly spread in the logarithm of the snapshots."""


@dataclass(frozen=True)
class Alternative:
    """A method that is no jump rule, and trains a replicate its own way: its name and options."""

    name: str
    options: Mapping[str, Value]


Method = Plain | Jumps | Probes | Alternative


@dataclass(frozen=True)
class Stop:
    """Bound that ends a replicate as ``pruned`` if its metric is beyond it after this epoch."""

    epoch: int
    metric: str
    bound: float


@dataclass(frozen=True)
class Replicate:
    """One cell with one seed: the unit that is trained, recorded and resumed."""

    parameters: Mapping[str, Value]
    """The cell: axis key -> value. For a baseline only the axes that are not the method's."""
    seed: int
    task: str
    """Key of the `Task` it trains on."""
    recipe: Recipe
    method: Method
    stops: tuple[Stop, ...] = ()

    @property
    def is_baseline(self) -> bool:
        """True if it is trained plainly, for others to be compared with."""
        return isinstance(self.method, Plain)

    @property
    def extrapolation(self) -> Jumps | None:
        """Rule and options of its jumps, taken or probed; None for other methods."""
        match self.method:
            case Jumps():
                return self.method
            case Probes(jumps=jumps):
                return jumps
            case _:
                return None

    @property
    def architecture(self) -> tuple[object, ...]:
        """Key that replicates must share to be trained side by side, in one stack."""
        recipe = self.recipe
        shared = (recipe.hidden, recipe.activation, recipe.optimizer, recipe.epochs, recipe.batch)
        return self.task, *shared, recipe.dtype, recipe.precision, recipe.order, recipe.products

    @property
    def probed_with(self) -> tuple[object, ...] | None:
        """Key that cells must share to be probed for along one training; None for a cell that is trained itself."""
        if not isinstance(self.method, Probes):
            return None
        return self.task, self.recipe, self.seed, self.method.jumps.snapshots, self.method.count

    def settled(self, products: Products) -> "Replicate":
        """Return the replicate with these matrix products, if its recipe leaves them open."""
        if self.recipe.products != "auto":
            return self
        return replace(self, recipe=replace(self.recipe, products=products))

    def snapshot_count(self, train_samples: int) -> int:
        """Count the snapshots that can be taken in its training."""
        recipe, jumps = self.recipe, self.extrapolation
        if jumps is None or jumps.snapshots == "epoch" or recipe.batch is None:
            return recipe.epochs
        return recipe.epochs * -(-train_samples // recipe.batch)

    def jump_count(self, train_samples: int) -> int:
        """Count the jumps of its training, if it does not diverge; the jumps of a probe are not taken."""
        if not isinstance(self.method, Jumps):
            return 0
        calls = self.snapshot_count(train_samples)
        last = calls if self.method.stop is None else min(calls, self.method.stop)
        return max(last - self.method.start, 0) // self.method.m


@dataclass(frozen=True)
class Task:
    """Data of a problem, and the network, loss and accuracy that a problem brings itself."""

    train_inputs: NDArray[np.float64]
    train_targets: NDArray[np.float64]
    test_inputs: NDArray[np.float64]
    test_targets: NDArray[np.float64]
    network: Callable[[], Any] | None = None
    """Makes the network; None for the recipe's dense one."""
    loss: Callable[[Any, Any, Any], Any] | None = None
    """(network, inputs, targets) -> loss; None for the mean squared error."""
    accuracy: Callable[[Any, Any, Any], Any] | None = None
    """(network, inputs, targets) -> accuracy of a classification."""


@dataclass(frozen=True)
class Pack:
    """Replicates trained in one process: the unit that Ray Tune schedules."""

    id: str
    replicates: tuple[Replicate, ...]
    threads: int
    device: str
    gpu: float = 0.0
    """Share of a GPU's memory that it may use; 0 on the CPU."""

    @property
    def products(self) -> Products:
        """Library that makes the matrix products of its replicates."""
        return "onednn" if any(replicate.recipe.products == "onednn" for replicate in self.replicates) else "torch"
