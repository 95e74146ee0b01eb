"""Problems and rules by name: those of the package, and those of the user's own by import path."""

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from problems import BUILT_IN
from study.errors import shortened
from study.specification._reflection import section_of
from study.specification._sections import Section


def problem_section(name: Any) -> tuple[type[Section], type]:
    """Return the model of the ``problem`` section for a named problem, and the problem's class.

    Raises:
        ValueError: The name is unknown, or the class named by import path is not a dataclass.
    """
    owner = load_class("problem", name, BUILT_IN)
    if "name" in {f.name for f in dataclasses.fields(owner)}:
        raise ValueError(f"{name} must not have a field called 'name', which is the key that names the problem")
    return section_of("ProblemSection", owner, Section, name), owner


def load_class(what: str, name: Any, built_in: Mapping[str, str]) -> type:
    """Import the dataclass of a problem or rule.

    Args:
        what: The word for it in messages.
        name: Its name, or ``module:Class``.
        built_in: Names that come with the package, and their import paths.

    Raises:
        ValueError: The name is unknown, its import fails, or it names something else than a dataclass.
    """
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
