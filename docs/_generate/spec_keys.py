"""The page of a spec's keys, from the models that check a spec."""

import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from meanings import first_sentence, meanings, table
from pydantic.fields import FieldInfo

import accel
from problems import BUILT_IN, OwnNetwork
from study.specification import _methods, _sections
from study.specification._spec import TOP_LEVEL
from study.specification._top_level import TOP_LEVEL_KEYS
from study.specification._user_code import load_class, problem_section

HEAD = ("key", "kind", "default", "meaning")
LARGEST = 2**53
"""Upper bound of every whole number of a spec. The page states it once, in its text."""
NAME_MEANING = "Name of the {what}; its other keys depend on it."

Row = tuple[str, ...]


def spec_text() -> str:
    """Return the tables of all keys: top level, problems, network, training, methods, resources.

    Raises:
        ValueError: A key has no text that says what it means.
    """
    parts = ["## Keys of the top level", table(HEAD, top_level_rows())]
    parts += ["## problem", _problems_intro()]
    for name in BUILT_IN:
        parts += [f"### problem: {name}", first_sentence(load_class("problem", name, BUILT_IN)), _problem_table(name)]
    sections: dict[str, type[_sections.Section]] = {"network": _sections.Network, "training": _sections.Training}
    for title, section in sections.items():
        parts += [f"## {title}", first_sentence(section), table(HEAD, model_rows(section))]
    parts += ["## method", _methods_intro(), "### Keys of every jump rule"]
    parts += [table(HEAD, model_rows(_methods.jump_method(), accel.JumpOptions, leave_out=["name"]))]
    common = set(_methods.jump_method().model_fields)
    for name in _methods.method_names():
        model, owner = _methods.method_section(name)[0], owner_of(name)
        rows = model_rows(model, owner, leave_out=common if name in accel.RULES else ["name"])
        parts += [f"### method: {name}", first_sentence(owner or model), table(HEAD, rows) if rows else ""]
    parts += ["## resources", first_sentence(_sections.Resources), table(HEAD, model_rows(_sections.Resources))]
    return "\n\n".join(part for part in parts if part)


def owner_of(method: str) -> type | None:
    """Return the class whose fields a method's keys are; None if the section has fields of its own."""
    owners: Mapping[str, type] = {**accel.RULES, "mgrit": accel.MGRIT, "class_pca": accel.ClassPCA}
    return owners.get(method)


def top_level_rows() -> list[Row]:
    """Return a row for every key of the top level."""
    missing = [key for key in TOP_LEVEL if key not in TOP_LEVEL_KEYS]
    if missing:
        raise ValueError(f"{', '.join(missing)}: must be in study.specification._top_level.TOP_LEVEL_KEYS")
    return [(f"`{key}`", words.kind, words.default, words.meaning) for key, words in TOP_LEVEL_KEYS.items()]


def model_rows(
    model: type[_sections.Section], owner: type | None = None, *, leave_out: Iterable[str] = ()
) -> list[Row]:
    """Return a row for every key of a section.

    Args:
        model: Model of the section.
        owner: Class that the keys are reflected from, whose text says what they mean.
        leave_out: Keys that are described elsewhere.
    """
    known = {**meanings(model), **(meanings(owner) if owner else {})}
    fields = {key: field for key, field in model.model_fields.items() if key not in leave_out}
    texts = {key: re.sub(r"\bNone\b", "`null`", known.get(key, "")) for key in fields}
    return [(f"`{key}`", kind_of(field), default_of(field), texts[key]) for key, field in fields.items()]


def kind_of(field: FieldInfo) -> str:
    """Return the words for the kind of a key and its bounds."""
    return _kind(field.annotation, field.metadata)


def default_of(field: FieldInfo) -> str:
    """Return the default of a key as a spec would have it."""
    return "must be given" if field.is_required() else f"`{written(field.default)}`"


def written(value: Any) -> str:
    """Return a value as YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(written, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(annotation: Any, marks: Iterable[Any] = ()) -> str:
    marks = list(marks)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(annotation.__origin__, [*marks, *annotation.__metadata__])
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(part, marks) for part in get_args(annotation))
    if origin is Literal:
        return ", ".join(f"`{written(value)}`" for value in get_args(annotation))
    if origin is tuple:
        return f"list, each: {_kind(get_args(annotation)[0])}"
    words = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text", type(None): "`null`"}
    return f"{words[annotation]} {_bounds(marks)}".strip() if annotation in (int, float) else words[annotation]


def _bounds(marks: Iterable[Any]) -> str:
    low, high = "", ""
    for mark in _flat(marks):
        if isinstance(mark, annotated_types.Ge):
            low = f"≥ {mark.ge}"
        elif isinstance(mark, annotated_types.Gt):
            low = f"> {mark.gt}"
        elif isinstance(mark, annotated_types.Le) and mark.le != LARGEST:
            high = f"≤ {mark.le}"
        elif isinstance(mark, annotated_types.Lt):
            high = f"< {mark.lt}"
    return " and ".join(bound for bound in (low, high) if bound)


def _flat(marks: Iterable[Any]) -> Iterator[Any]:
    for mark in marks:
        yield from mark.metadata if isinstance(mark, FieldInfo) else [mark]


def _problems_intro() -> str:
    names = ", ".join(f"`{name}`" for name in BUILT_IN)
    return (
        f"`name` must be given: {names}, or `module:Class` of your own, whose fields are then the keys. Problems with "
        "a network of their own take no `network` section."
    )


def _methods_intro() -> str:
    names = ", ".join(f"`{name}`" for name in _methods.method_names())
    return (
        f"`name` is `dmd` by default. It can be {names}, or `module:Class`, a rule of your own, whose fields are keys "
        "beside those of every jump rule."
    )


def _problem_table(name: str) -> str:
    model, owner = problem_section(name)
    known = meanings(owner)
    rows = [
        (f"`{key}`", demands(owner, key, field.default) or kind_of(field), default_of(field), known.get(key, ""))
        for key, field in model.model_fields.items()
        if key != "name"
    ]
    note = "It brings its own network." if issubclass(owner, OwnNetwork) else ""
    return "\n\n".join(part for part in (note, table(HEAD, rows) if rows else "It has no keys.") if part)


def demands(owner: Callable[..., Any], key: str, default: Any) -> str:
    """Return the bounds of a problem's key, in the problem's own words: its answer to values that it refuses.

    Args:
        owner: The problem's class.
        key: Name of the field.
        default: Its default.
    """
    listed = isinstance(default, tuple)
    wrong: list[Any] = [(), (-1,)] if listed else [None, -1, 10**12, -math.inf]
    heard: dict[str, None] = {}
    for value in wrong:
        try:
            owner(**{key: value})
        except (ValueError, TypeError) as refusal:
            for demand in re.findall(rf"\b{key} (?:and \w+ )?must be (.*?), (?:not|got) ", str(refusal)):
                heard[demand.replace(">=", "≥")] = None
        except Exception:  # a value that the problem does not check says nothing about its bounds
            continue
    return ", ".join(heard)
