"""The ``method`` section of a spec: keys of every jump rule, keys of the rule itself, and methods that are no rule.

The options of a jump and of a rule are reflected from `accel`, which is imported only when a method is first named: it
brings torch.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, create_model, field_validator
from pydantic_core import PydanticCustomError

from study.replicates.metric_catalogue import TABLE_COLUMNS
from study.specification._reflection import section_of
from study.specification._sections import Real, Section, Whole
from study.specification._user_code import load_class


class Method(Section):
    """Keys of every jump rule that say how a study runs it. The options of a jump (`accel.JumpOptions`) join them."""

    name: str = "dmd"
    """Name of the rule."""
    mode: Literal["train", "probe"] = "train"
    """``train``: every cell is trained with its jumps. ``probe``: propose and judge jumps along one training that takes
    none, for all cells at once."""
    probes: Annotated[Whole, Field(ge=1)] = 30
    """Number of probes, evenly spread in the logarithm of the epochs; only with ``mode: probe``."""
    snapshots: Literal["step", "epoch"] = "step"
    """Take a snapshot after every optimiser step, or after every epoch."""
    horizon: Literal["constant", "linear", "decay", "loss"] = "constant"
    """Schedule of s over the jumps: keep it, lower it to 1 in equal parts, as NiNo does, or with the training loss."""
    horizon_jumps: Annotated[Whole, Field(ge=1)] | None = None
    """Jumps until s is 1 (linear, decay); None: all jumps of the training."""


class _Truncated(Section):
    """Condition on a rule whose modes are kept by a tolerance or by a fixed rank: a study names one of them."""

    model_config = ConfigDict(validate_default=True)
    rank: Any = None
    """Placed here to be read before the tolerance, whose check needs it; the rule brings its type."""

    @field_validator("tolerance", check_fields=False)
    @classmethod
    def _one_truncation(cls, tolerance: float | None, info: ValidationInfo) -> float | None:
        rank = info.data.get("rank", 1)  # a rank that was refused counts as given
        if tolerance is None and rank is None:
            raise PydanticCustomError("missing", "a tolerance or a rank must be given")
        if tolerance is not None and rank is not None:
            raise ValueError(f"must be left out where rank is given ({rank})")
        return tolerance


class _WithoutHorizon(Section):
    """Keys of a rule that leaps as far as it leaps, whatever s."""

    s: Literal[1] = 1


@functools.cache
def jump_method() -> type[Method]:
    """Make the keys of every jump rule: those of `Method`, and the options of a jump."""
    from accel import JumpOptions
    from accel._fields import NotInSpec, hints, marks

    hidden = [key for key, hint in hints(JumpOptions).items() if any(isinstance(m, NotInSpec) for m in marks(hint))]
    return section_of("JumpMethod", JumpOptions, Method, "a jump", leave_out=hidden, bounded=True)


def option_keys() -> frozenset[str]:
    """Return the keys of a jump rule that are options of a jump."""
    return frozenset(jump_method().model_fields) - frozenset(Method.model_fields)


@functools.cache
def rule_method(name: str) -> type[Method]:
    """Make the section of one of the package's rules."""
    from accel import RULES

    rule = RULES[name]
    bases: list[type[Section]] = [jump_method()]
    if {"rank", "tolerance"} <= {field.name for field in dataclasses.fields(rule)}:
        bases.insert(0, _Truncated)
    if not getattr(rule, "uses_horizon", True):
        bases.insert(0, _WithoutHorizon)
    named: Any = (Literal[name], name)
    base: type[Method] = create_model(f"{rule.__name__}Base", __base__=tuple(bases), name=named)  # type: ignore[arg-type]
    return section_of(f"{rule.__name__}Method", rule, base, name, bounded=True)


def method_names() -> tuple[str, ...]:
    """Return the names of all methods that come with the package."""
    from accel import RULES

    return (*RULES, *ALTERNATIVES)


def method_section(name: Any) -> tuple[type[Section], type | None]:
    """Return the model of the ``method`` section for a named method, and the rule's class where it is the user's own.

    Raises:
        ValueError: The name is unknown, or the class named by import path does not do as a rule.
    """
    if isinstance(name, str) and name in ALTERNATIVES:
        return ALTERNATIVES[name], None
    if isinstance(name, str) and name in method_names():
        return rule_method(name), None
    owner = load_class("method", name, dict.fromkeys(method_names(), ""))
    fields = {field.name for field in dataclasses.fields(owner)}
    if clash := fields & set(jump_method().model_fields):
        raise ValueError(f"{name} must not have fields called {', '.join(sorted(clash))}: every method has those keys")
    if clash := fields & set(TABLE_COLUMNS):
        raise ValueError(f"{name} must not have fields called {', '.join(sorted(clash))}: the table has such columns")
    return section_of("MethodSection", owner, jump_method(), name), owner


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
    """Part of the average that is kept at every step; the rest comes from the newest weights."""


class LookaheadSection(Section):
    """Lookahead: slow weights that go a part of the way of every k steps."""

    name: Literal["lookahead"] = "lookahead"
    k: Annotated[Whole, Field(ge=1)] = 5
    """Number of steps of the optimiser between two moves of the slow weights."""
    alpha: Annotated[Real, Field(gt=0, lt=1)] = 0.5
    """Part of the way to the newest weights that the slow weights move."""


ALTERNATIVES: Mapping[str, type[Section]] = {
    "class_pca": ClassPCASection,
    "ema": EMASection,
    "lookahead": LookaheadSection,
    "mgrit": MGRITSection,
}
"""Name in a spec -> its keys; what trains it is in `study.training.alternatives.TRAINERS` under that name."""
