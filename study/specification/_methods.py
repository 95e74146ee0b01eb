"""The ``method`` section of a spec, one pydantic model per method: its keys, the kind of each, and its bounds."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from study.specification._sections import Real, Section, Whole


class Method(Section):
    """What every rule needs: window, horizon, and how jumps are taken."""

    name: str = "dmd"
    mode: Literal["train", "probe"] = "train"
    """probe: propose and judge jumps along one training that takes none, for all cells at once."""
    probes: Annotated[Whole, Field(ge=1)] = 30
    """With mode probe: how often, evenly spread in the logarithm of the epochs."""
    m: Annotated[Whole, Field(ge=2)]
    s: Annotated[Whole, Field(ge=1)]
    group: Literal["model", "layer", "node", "weight"] | Annotated[Whole, Field(ge=1)] = "layer"
    """Weights that share one operator; a number: nodes split into parts of at most so many."""
    snapshots: Literal["step", "epoch"] = "step"
    accept: Literal["always", "improve"] = "always"
    moments: Literal["keep", "reset"] = "keep"
    horizon: Literal["constant", "linear", "decay", "loss"] = "constant"
    """How s falls from jump to jump: not, to 1 in equal parts, to 1 as NiNo's, or with the training loss."""
    horizon_jumps: Annotated[Whole, Field(ge=1)] | None = None
    """Jumps until s is 1 (linear, decay); None: all jumps of the training."""
    candidates: Annotated[tuple[Annotated[Real, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    """Multiples of s that each jump tries, to keep the one of lowest training loss."""
    relaxation: Annotated[Real, Field(gt=0, le=2)] = 1.0
    shape: Literal["none", "masked", "random", "last_step"] = "none"
    """masked: only weights whose move agrees with the last step. Controls of equal size: random, last_step."""
    noise: Annotated[Real, Field(ge=0)] = 0.0
    margin: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    """With ``accept: improve``: the part of itself by which the training loss must fall."""
    start: Annotated[Whole, Field(ge=0)] = 0
    """Steps (or epochs, whichever snapshots are taken at) before the first snapshot."""
    stop: Annotated[Whole, Field(ge=1)] | None = None
    """Last step (or epoch) with a snapshot; None: the last of the training."""
    max_residual: Annotated[Real, Field(ge=0)] | None = None
    max_inconsistency: Annotated[Real, Field(ge=0)] | None = None


class DMDMethod(Method):
    """Dynamic mode decomposition; the options of `accel.DMD`. Modes are kept by a tolerance or by a fixed rank."""

    name: Literal["dmd"] = "dmd"
    rank: Annotated[Whole, Field(ge=1)] | None = None
    tolerance: Annotated[Real, Field(ge=0, lt=1)] | None = Field(default=None, validate_default=True)
    form: Literal["state", "displacement"] = "state"
    amplitudes: Literal["least_squares", "literal"] = "least_squares"
    modes: Literal["projected", "exact"] = "projected"
    growth: Literal["keep", "clip", "drop"] = "keep"

    @field_validator("tolerance")
    @classmethod
    def _one_truncation(cls, tolerance: float | None, info: ValidationInfo) -> float | None:
        rank = info.data.get("rank", 1)  # one that was refused has been given
        if tolerance is None and rank is None:
            raise PydanticCustomError("missing", "a tolerance or a rank must be given")
        if tolerance is not None and rank is not None:
            raise ValueError(f"must be left out where rank is given ({rank})")
        return tolerance


class KoopmanMethod(Method):
    """Koopman operators as of Dogra & Redman; the options of `accel.Koopman`."""

    name: Literal["koopman"] = "koopman"
    tolerance: Annotated[Real, Field(ge=0, lt=1)] = 0.0


class LineMethod(Method):
    """A straight line through every weight's history; the options of `accel.Line`."""

    name: Literal["line"] = "line"
    anchor: Literal["line", "newest"] = "line"


class AndersonMethod(Method):
    """Reduced-rank extrapolation and Anderson acceleration; the options of `accel.Anderson`."""

    name: Literal["anderson"] = "anderson"
    s: Literal[1] = 1
    """It leaps to the limit of the steps, however far."""
    tolerance: Annotated[Real, Field(ge=0, lt=1)] = 1e-10
    mixing: Annotated[Real, Field(ge=0, le=1)] = 1.0


class AverageMethod(Method):
    """Average of the window; the options of `accel.Average`."""

    name: Literal["average"] = "average"
    s: Literal[1] = 1
    """An average leaps nowhere."""
    decay: Annotated[Real, Field(gt=0, le=1)] = 1.0


METHODS: Mapping[str, type[Method]] = {
    "dmd": DMDMethod,
    "koopman": KoopmanMethod,
    "line": LineMethod,
    "anderson": AndersonMethod,
    "average": AverageMethod,
}
"""Name in a spec -> its keys; the rule is the one that `accel.RULES` has under that name."""


POLICY_KEYS = tuple(key for key in Method.model_fields if key != "name")


class MGRITSection(Section):
    """Multigrid over training steps; the options of `accel.MGRIT`."""

    name: Literal["mgrit"] = "mgrit"
    coarsening: Annotated[Whole, Field(ge=2)] = 2
    max_levels: Annotated[Whole, Field(ge=2)] | None = None
    coarsest: Annotated[Whole, Field(ge=1)] = 10
    cycle: Literal["V", "F"] = "V"
    relaxation: Literal["F", "FCF"] = "FCF"
    tolerance: Annotated[Real, Field(gt=0)] = 1e-9
    max_iterations: Annotated[Whole, Field(ge=1)] = 50
    growth: Annotated[Real, Field(ge=1)] = 2.0
    max_lr: Annotated[Real, Field(gt=0)] | None = None


class ClassPCASection(Section):
    """Class-based PCA; the options of `accel.ClassPCA`."""

    name: Literal["class_pca"] = "class_pca"
    layers: Annotated[Whole, Field(ge=1)] = 1
    basis: Literal["class", "all", "random"] = "class"
    fraction: Annotated[Real, Field(gt=0, le=1)] = 1.0
    centred: bool = True


class EMASection(Section):
    """Exponential moving average of the weights, judged in their place."""

    name: Literal["ema"] = "ema"
    decay: Annotated[Real, Field(ge=0, lt=1)] = 0.99


class LookaheadSection(Section):
    """Lookahead: slow weights that go a part of the way of every k steps."""

    name: Literal["lookahead"] = "lookahead"
    k: Annotated[Whole, Field(ge=1)] = 5
    alpha: Annotated[Real, Field(gt=0, lt=1)] = 0.5


ALTERNATIVES: Mapping[str, type[Section]] = {
    "class_pca": ClassPCASection,
    "ema": EMASection,
    "lookahead": LookaheadSection,
    "mgrit": MGRITSection,
}
"""Name in a spec -> its keys; what trains it is in `study.training.alternatives.TRAINERS` under that name."""
