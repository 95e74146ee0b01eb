"""The sections that every spec has, as pydantic models: their keys, the kind of each, and its bounds."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

SINCE = "since"
"""Name of the mark of a key that came later, with its version; see `accel._fields.Since`."""


class Section(BaseModel):
    """A section of a spec; unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _no_booleans(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


# an Optuna storage keeps numbers as floats, which hold whole numbers to 2^53 exactly
Whole = Annotated[int, BeforeValidator(_no_booleans), Field(le=2**53)]
"""A whole number."""
Real = Annotated[float, BeforeValidator(_no_booleans), Field(allow_inf_nan=False)]
"""A real number that is finite."""


class Network(Section):
    """A dense network: hidden layers of these widths, Xavier-uniform weights, zero biases, linear output."""

    hidden: tuple[Annotated[Whole, Field(ge=1)], ...] = (40, 200, 1000)
    """Number of units of each hidden layer, the first layer first; ``[]`` for a network without hidden layers."""
    activation: Literal["softsign", "tanh", "relu", "sigmoid", "gelu"] = "softsign"
    """Activation function of every hidden layer."""


class Training(Section):
    """Plain training, which replicates share with their baselines."""

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "adagrad", "adadelta"] = "adam"
    """Optimiser, that of torch with torch's own defaults for all that has no key here."""
    lr: Annotated[Real, Field(gt=0)] = 1e-3
    """Learning rate."""
    momentum: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    """Momentum of sgd and rmsprop; it must be 0 for the other optimisers."""
    weight_decay: Annotated[Real, Field(ge=0)] = 0.0
    """Weight decay of the optimiser."""
    epochs: Annotated[Whole, Field(ge=1)] = 3000
    """Number of epochs. An epoch uses every training sample once."""
    batch: Literal["full"] | Annotated[Whole, Field(ge=1)] = "full"
    """Number of samples that each step uses; ``full``: all training samples, so that an epoch is one step."""
    dtype: Literal["float32", "float64"] = "float32"
    """Type of the weights and of the data."""
    order: Literal["shuffled", "fixed"] = "shuffled"
    """Order of the samples in the batches of an epoch."""
    precision: Literal["full", "tf32", "bf16"] = "full"
    """Precision of matrix products in training and judging: that of dtype, or lower if the device has it."""
    products: Annotated[Literal["auto", "torch", "onednn"], Field(json_schema_extra={SINCE: "0.3"})] = "auto"
    """Library that makes the matrix products of dense networks in float32 and full precision on the CPU. ``auto``: the
    faster one, which is timed when the study starts and kept for all its packs. All other products are torch's own."""


class Resources(Section):
    """Resources of each pack."""

    cpu: Annotated[Real, Field(gt=0)] = 1.0
    """Number of CPUs."""
    gpu: Annotated[Real, Field(ge=0)] = 0.0
    """Number of GPUs. Above zero, replicates train on a GPU; a fraction is that part of its memory."""
    pack: Literal["auto"] | Annotated[Whole, Field(ge=1)] = 1
    """Replicates trained side by side in one process; ``auto``: as many as pay, and as the device's memory holds."""

    @property
    def threads(self) -> int:
        """Number of CPU threads of a pack."""
        return max(1, int(self.cpu))


class Fraction(Section):
    """A number above 0 and below 1."""

    below_one: Annotated[Real, Field(gt=0, lt=1)]
