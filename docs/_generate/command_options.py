"""The page of commands, from the command line itself."""

import inspect
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer.main
from meanings import table

from study.cli import app

KINDS: Mapping[Any, str] = {str: "text", int: "whole number", float: "number", Path: "path", bool: "switch"}
"""Type of a parameter -> word for it."""


def commands_text() -> str:
    """Return a section for every command: its help, and a table of its arguments and options."""
    parsers: Mapping[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    pairs = zip(parsers.items(), app.registered_commands, strict=True)
    return "\n\n".join(_section(name, parser, made.callback) for (name, parser), made in pairs)


def _section(name: str, parser: Any, function: Any) -> str:
    text = " ".join(inspect.cleandoc(parser.help or "").split())
    if not text:
        raise ValueError(f"the command {name} must have a docstring, which is its help")
    hints = get_type_hints(inspect.unwrap(function), include_extras=True)
    shown = [parameter for parameter in parser.params if not parameter.hidden]
    arguments = [_name(p) if p.required else f"[{_name(p)}]" for p in shown if p.param_type_name == "argument"]
    rows = [(f"`{_name(p)}`", _kind(hints[p.name]), _default(p), " ".join((p.help or "").split())) for p in shown]
    usage = " ".join(["dmd-study", name, *arguments, *(["[OPTIONS]"] if len(arguments) < len(shown) else [])])
    return f"## {name}\n\n`{usage}`\n\n{text}\n\n" + table(("option", "kind", "default", "meaning"), rows)


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return ", ".join((*parameter.opts, *parameter.secondary_opts))


def _kind(hint: Any) -> str:
    """Return the words for the kind of a parameter, with its bounds."""
    if get_origin(hint) is Annotated:
        bounds = [mark for mark in hint.__metadata__ if getattr(mark, "min", None) is not None]
        return _kind(hint.__origin__) + (f" of at least {bounds[0].min}" if bounds else "")
    if get_origin(hint) in (Union, types.UnionType):
        (held,) = (part for part in get_args(hint) if part is not type(None))
        return _kind(held)
    if get_origin(hint) is list:
        return f"{_kind(get_args(hint)[0])}, may be repeated"
    return KINDS[hint]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "must be given"
    value = parameter.default
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value in (None, [], ()) else f"`{value}`"
