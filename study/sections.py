"""The sections of a spec as pydantic models: which keys there are, of which kind, within which bounds."""

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PydanticUserError,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic_core import PydanticCustomError

from problems import BUILT_IN
from study.catalogue import TABLE_COLUMNS
from study.errors import shortened


class Section(BaseModel):
    """A section of a spec; unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _no_booleans(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


# an Optuna storage keeps numbers as floats, which hold whole numbers to 2^53 exactly
Whole = Annotated[int, BeforeValidator(_no_booleans), Field(le=2**53)]
Real = Annotated[float, BeforeValidator(_no_booleans), Field(allow_inf_nan=False)]


class Network(Section):
    """A dense network: hidden layers of these widths, Xavier-uniform weights, zero biases, linear output."""

    hidden: tuple[Annotated[Whole, Field(ge=1)], ...] = (40, 200, 1000)
    activation: Literal["softsign", "tanh", "relu", "sigmoid", "gelu"] = "softsign"


class Training(Section):
    """Plain training, which replicates share with their baselines."""

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "adagrad", "adadelta"] = "adam"
    lr: Annotated[Real, Field(gt=0)] = 1e-3
    momentum: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[Real, Field(ge=0)] = 0.0
    epochs: Annotated[Whole, Field(ge=1)] = 3000
    batch: Literal["full"] | Annotated[Whole, Field(ge=1)] = "full"
    dtype: Literal["float32", "float64"] = "float32"
    order: Literal["shuffled", "fixed"] = "shuffled"
    """Of the samples in the batches of an epoch."""
    precision: Literal["full", "tf32", "bf16"] = "full"
    """Of matrix products in training and judging: that of dtype, or lower where the device has it."""


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


class Resources(Section):
    """What each pack is given. gpu may be a fraction; above zero, replicates train on it, in that part of its memory.

    pack: replicates trained side by side in one process; ``auto``: as many as pay, and as the device's memory holds.
    """

    cpu: Annotated[Real, Field(gt=0)] = 1.0
    gpu: Annotated[Real, Field(ge=0)] = 0.0
    pack: Literal["auto"] | Annotated[Whole, Field(ge=1)] = 1

    @property
    def threads(self) -> int:
        """CPU threads of a pack."""
        return max(1, int(self.cpu))


S = TypeVar("S", bound=Section)
POLICY_KEYS = tuple(key for key in Method.model_fields if key != "name")


def problem_section(name: Any) -> tuple[type[Section], type]:
    """The model of the ``problem`` section for a named problem, and the problem's class.

    Raises:
        ValueError: unknown name, or the class named by import path is not a dataclass.
    """
    owner = _load("problem", name, BUILT_IN)
    if "name" in {f.name for f in dataclasses.fields(owner)}:
        raise ValueError(f"{name} must not have a field called 'name', which is the key that names the problem")
    return _section_of("ProblemSection", owner, Section, name), owner


def method_section(name: Any) -> tuple[type[Section], type | None]:
    """The model of the ``method`` section for a named rule, and the rule's class where it is the user's own."""
    from study.alternative_sections import ALTERNATIVES  # which builds on this module

    if isinstance(name, str) and name in ALTERNATIVES:
        return ALTERNATIVES[name], None
    if isinstance(name, str) and name in METHODS:
        return METHODS[name], None
    owner = _load("method", name, dict.fromkeys((*METHODS, *ALTERNATIVES), ""))
    fields = {f.name for f in dataclasses.fields(owner)}
    if clash := fields & set(Method.model_fields):
        raise ValueError(f"{name} must not have fields called {', '.join(sorted(clash))}: every method has those keys")
    if clash := fields & set(TABLE_COLUMNS):
        raise ValueError(f"{name} must not have fields called {', '.join(sorted(clash))}: the table has such columns")
    return _section_of("MethodSection", owner, Method, name), owner


def _load(what: str, name: Any, built_in: dict[str, str]) -> type:
    path = built_in.get(name, name) if isinstance(name, str) else ""
    module_name, colon, class_name = path.partition(":")
    if not (colon and module_name and class_name.isidentifier()):
        valid = ", ".join(built_in)
        raise ValueError(f"unknown {what} {shortened(name)}; must be one of {valid}, or module:Class of your own")
    try:
        owner = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # importing runs the user's code, which can raise anything
        raise ValueError(f"{what} {shortened(name)} could not be imported: {type(error).__name__}: {error}") from error
    if not (inspect.isclass(owner) and dataclasses.is_dataclass(owner)):
        raise ValueError(f"{what} {shortened(name)} must be a dataclass: its fields are the keys of the section")
    return owner


def _section_of(title: str, owner: type, base: type[S], name: str) -> type[S]:
    try:
        hints = typing.get_type_hints(owner, include_extras=True)
    except (NameError, TypeError) as error:
        raise ValueError(f"{name} must have type annotations that can be resolved: {error}") from error
    fields: dict[str, Any] = {} if "name" in base.model_fields else {"name": (str, name)}
    for field in dataclasses.fields(owner):
        if not field.init:
            continue
        default: Any = ...
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        fields[field.name] = (hints[field.name], default)
    try:
        model: type[S] = create_model(title, __base__=base, **fields)
    except PydanticUserError as error:
        reason = str(error).partition(". ")[0]
        raise ValueError(f"{name} must have fields that YAML can hold (numbers, strings, lists): {reason}") from error
    return model
