"""Bounds of a dataclass's fields, written once beside each field: checked here, and reflected by who offers the fields.

A field's type hint says all: ``Annotated[float, Bounds(above=0, at_most=2)] = 1.0`` or ``Literal["keep", "reset"]``.
"""

import dataclasses
import math
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True, repr=False)
class Bounds:
    """Bounds of a number; None where there is none.

    Args:
        at_least: Lowest value.
        above: Number that every value is greater than.
        at_most: Highest value.
        below: Number that every value is less than.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def hold(self, value: float) -> bool:
        """Return True if the value lies within the bounds."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __repr__(self) -> str:
        return f"Bounds({self})"

    def __str__(self) -> str:
        """Return the bounds as a message names them: ``of at least 2``, ``in (0, 2]``."""
        low = self.at_least if self.at_least is not None else self.above
        high = self.at_most if self.at_most is not None else self.below
        if low is None and high is None:
            return ""
        if high is None:
            return f"of at least {low}" if self.at_least is not None else f"above {low}"
        if low is None:
            return f"of at most {high}" if self.at_most is not None else f"below {high}"
        return f"in {'[' if self.at_least is not None else '('}{low}, {high}{']' if self.at_most is not None else ')'}"


@dataclass(frozen=True)
class Since:
    """Mark of an option that came later: a study that leaves it at its default is the study it was before.

    Args:
        version: Version of the package that brought the option.
    """

    version: str


@dataclass(frozen=True)
class NotInSpec:
    """Mark of an option that a training loop sets, and that no spec has."""


@dataclass(frozen=True)
class Choice:
    """One kind of value that a field takes: a type, or for ``Literal`` its values, within bounds."""

    kind: Any
    bounds: Bounds = Bounds()


def hints(owner: type) -> Mapping[str, Any]:
    """Return the type hints of a dataclass's fields, with what is annotated."""
    return get_type_hints(owner, include_extras=True)


def marks(hint: Any) -> tuple[Any, ...]:
    """Return what a hint is annotated with, such as `Bounds` or `Since`."""
    return tuple(hint.__metadata__) if get_origin(hint) is Annotated else ()


def choices(hint: Any, bounds: Bounds | None = None) -> Iterator[Choice]:
    """Yield each kind of value that a hint allows; unions are taken apart."""
    if get_origin(hint) is Annotated:
        bounds = next((mark for mark in hint.__metadata__ if isinstance(mark, Bounds)), bounds)
        yield from choices(hint.__origin__, bounds)
    elif get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from choices(part, bounds)
    else:
        yield Choice(hint, bounds or Bounds())


def normalize(thing: Any) -> None:
    """Replace numpy's numbers in a frozen dataclass by Python's, and the values of a sequence field by a tuple."""
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        several = any(get_origin(choice.kind) is Sequence for choice in choices(hints(type(thing))[field.name]))
        if several and isinstance(value, Iterable) and not isinstance(value, str | bytes):
            plain: Any = tuple(map(_plain, value))
        else:
            plain = _plain(value)
        if plain is not value:
            object.__setattr__(thing, field.name, plain)


def mistakes(thing: Any, *, leave_out: tuple[str, ...] = ()) -> list[str]:
    """List every field of a dataclass whose value its type hint does not allow.

    Args:
        thing: Instance of the dataclass.
        leave_out: Fields that are checked elsewhere.

    Returns:
        One sentence for each such field: what must hold, and what was given.
    """
    lines = []
    for field in dataclasses.fields(thing):
        if field.name in leave_out:
            continue
        value, allowed = getattr(thing, field.name), list(choices(hints(type(thing))[field.name]))
        if not any(_fits(value, choice) for choice in allowed):
            lines.append(f"{field.name} must be {' or '.join(map(_words, allowed))}, got {value!r}")
    return lines


def require(thing: Any, also: Sequence[str] = ()) -> None:
    """Raise ValueError that names the dataclass and lists `mistakes`, after those that were ``also`` seen."""
    if lines := [*also, *mistakes(thing)]:
        raise ValueError(f"{type(thing).__name__}: {'; '.join(lines)}")


def _plain(value: Any) -> Any:
    if type(value) in (bool, int, float) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _fits(value: Any, choice: Choice) -> bool:
    kind = choice.kind
    if kind is type(None):
        return value is None
    if kind in (int, float):
        number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        return number and (isinstance(value, int) or math.isfinite(value)) and choice.bounds.hold(value)
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is Sequence:
        inner = list(choices(get_args(kind)[0]))
        return isinstance(value, tuple) and bool(value) and all(any(_fits(v, c) for c in inner) for v in value)
    return isinstance(value, get_origin(kind) or kind) and not isinstance(value, type)


def _words(choice: Choice) -> str:
    kind, bounds = choice.kind, str(choice.bounds)
    if kind is type(None):
        return "None"
    if kind is int:
        return f"an integer {bounds}".strip()
    if kind is float:
        return f"a number {bounds}" if bounds.startswith("in ") else f"a finite number {bounds}".strip()
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is Sequence:
        return f"one or more, each {' or '.join(map(_words, choices(get_args(kind)[0])))}"
    return f"a {(get_origin(kind) or kind).__name__}"
