"""Sections made from dataclasses: fields of a problem, a rule or the options of a jump become keys of a section."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import Field, PydanticUserError, create_model

from study.specification._sections import SINCE, Real, Section, Whole

S = TypeVar("S", bound=Section)


def section_of(
    title: str, owner: type, base: type[S], name: str, *, leave_out: Iterable[str] = (), bounded: bool = False
) -> type[S]:
    """Make the section whose keys are those of a base and the fields of a dataclass.

    Args:
        title: Name of the pydantic model.
        owner: The dataclass.
        base: The section that the model extends.
        name: The owner's name, as messages call it and as the key ``name`` of the section holds it.
        leave_out: Fields that are no keys.
        bounded: True if the fields are annotated with `accel._fields.Bounds`; else their hints are taken as they are.

    Raises:
        ValueError: A field has a type that YAML cannot hold.
    """
    try:
        hints = typing.get_type_hints(owner, include_extras=True)
    except (NameError, TypeError) as error:
        raise ValueError(f"{name} must have type annotations that can be resolved: {error}") from error
    keys: dict[str, Any] = {} if "name" in base.model_fields else {"name": (str, name)}
    for field in dataclasses.fields(owner):
        if not field.init or field.name in leave_out:
            continue
        default: Any = ...
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        since = _since(hints[field.name])
        extra: Any = None if since is None else {SINCE: since}
        keys[field.name] = (
            key_type(hints[field.name]) if bounded else hints[field.name],
            Field(default, json_schema_extra=extra),
        )
    try:
        model: type[S] = create_model(title, __base__=base, **keys)
    except PydanticUserError as error:
        reason = str(error).partition(". ")[0]
        raise ValueError(f"{name} must have fields that YAML can hold (numbers, strings, lists): {reason}") from error
    return model


def key_type(hint: Any) -> Any:
    """Return the type of a key whose field has this hint, with the bounds that the hint is annotated with.

    Numbers take no booleans. Of a union the types that YAML cannot hold are left out.
    """
    origin = get_origin(hint)
    if hint is int:
        return Whole
    if hint is float:
        return Real
    if origin is Annotated:
        marks = {type(mark).__name__: mark for mark in hint.__metadata__}
        details: dict[str, Any] = {}
        if bounds := marks.get("Bounds"):
            given = {"ge": bounds.at_least, "gt": bounds.above, "le": bounds.at_most, "lt": bounds.below}
            details |= {key: value for key, value in given.items() if value is not None}
        inner = key_type(hint.__origin__)
        return Annotated[inner, Field(**details)] if details else inner
    if origin in (Union, types.UnionType):
        parts = [key_type(part) for part in get_args(hint)]
        held = [part for part in parts if _can_be_held(part)] or parts
        return Union[tuple(held)]  # noqa: UP007 (made at run time)
    if origin is Sequence:
        inner = key_type(get_args(hint)[0])
        return Annotated[tuple[inner, ...], Field(min_length=1)]  # type: ignore[valid-type]
    return hint


def later_keys(model: type[Section]) -> Mapping[str, Any]:
    """Return the keys of a section that came after its first version, with their defaults."""
    extras = {key: field.json_schema_extra for key, field in model.model_fields.items()}
    later = [key for key, extra in extras.items() if isinstance(extra, dict) and SINCE in extra]
    return {key: model.model_fields[key].default for key in later}


def _since(hint: Any) -> str | None:
    """Return the version that a hint, or a part of it, is marked with."""
    marked = [mark.version for mark in getattr(hint, "__metadata__", ()) if type(mark).__name__ == "Since"]
    parts = [_since(part) for part in get_args(hint) if get_origin(hint) is not Literal]
    return next((version for version in [*marked, *parts] if version is not None), None)


def _can_be_held(kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Annotated:
        return _can_be_held(kind.__origin__)
    return kind in (int, float, str, bool, type(None)) or origin in (Literal, tuple, list)
