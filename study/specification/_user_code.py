"""Problems and rules named by import path: their dataclass fields are the keys of a section."""

import dataclasses
import importlib
import inspect
import typing
from typing import Any, TypeVar

from pydantic import (
    PydanticUserError,
    create_model,
)

from problems import BUILT_IN
from study.errors import shortened
from study.replicates.metric_catalogue import TABLE_COLUMNS
from study.specification._methods import METHODS, Method
from study.specification._sections import Section

S = TypeVar("S", bound=Section)


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
    from study.specification._methods import ALTERNATIVES  # which builds on this module

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
