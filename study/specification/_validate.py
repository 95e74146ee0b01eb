"""Validate a spec as it is written; report all mistakes at once, each with its path."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from study.errors import SpecError, shortened
from study.specification._cross_checks import mistakes_together
from study.specification._methods import method_section
from study.specification._sections import Fraction, Network, Resources, Section, Training
from study.specification._spec import DESIGNS, NAME, SECTIONS, SMALLEST_EFFECT, TOP_LEVEL, Spec, split_axis
from study.specification._tuned_baseline import tuned_values
from study.specification._user_code import problem_section
from study.specification.axes import MAX_AXIS_VALUES, Range, parse_axis
from study.specification.saltelli import MAX_SAMPLES, is_sample_count

MAX_FRESH_SEEDS = 100
"""Largest number of seeds that a choice is confirmed with."""


def validate(raw: dict[str, Any], label: str) -> Spec:
    """Return the spec for what is written; ``label`` names it in messages. Raise SpecError with all mistakes."""
    mistakes = [_unknown("", key, TOP_LEVEL) for key in raw if key not in TOP_LEVEL]
    name = raw.get("name")
    if not (isinstance(name, str) and re.fullmatch(NAME, name)):
        mistakes.append(f"name: must be 1 to 64 letters, digits, '.', '_' or '-', got {shortened(name)}")
    given: dict[str, dict[str, Any]] = {}
    for section in (*SECTIONS, "axes", "baseline", "resources"):
        value = raw.get(section) if raw.get(section) is not None else {}
        if not isinstance(value, dict):
            mistakes.append(f"{section}: must be a mapping, got {shortened(value)}")
            value = {}
        given[section] = {str(k): v for k, v in value.items()}
    axes, ranges = _axes(given, mistakes)
    seeds = _seeds(raw.get("seeds", 1), mistakes)
    if (design := raw.get("design", "grid")) not in DESIGNS:
        mistakes.append(f"design: must be one of {', '.join(DESIGNS)}, got {shortened(design)}")
    samples = _samples(raw.get("samples"), design, axes, mistakes)
    for axis in ranges:
        if design == "grid":
            mistakes.append(
                f"axes.{axis}: a range has no values to run through; give a list or a step, sample the range "
                f"with design: saltelli, or let `dmd-study search` draw from it"
            )
        if split_axis(axis)[0] == "problem":
            mistakes.append(
                f"axes.{axis}: must be a list, because the data of every value are made before any training"
            )
    allotted = _resources(given["resources"], mistakes)
    confirm, smallest_effect = _of_answer(raw, mistakes)

    models: dict[str, type[Section]] = {"network": Network, "training": Training}
    classes: dict[str, type | None] = {}
    finders: list[tuple[str, Callable[[Any], tuple[type[Section], type | None]], str | None]] = [
        ("problem", problem_section, None),
        ("method", method_section, "dmd"),
    ]
    for section, find, default in finders:
        try:
            chosen = given[section].get("name", default)
            models[section], classes[section] = find(chosen)
        except (ValueError, TypeError) as error:
            mistakes.append(f"{section}.name: {error}")
    sections = {s: _section(s, models[s], given[s], axes, mistakes) for s in SECTIONS if s in models}
    keys = [
        k if s == "method" else f"{s}.{k}"
        for s in sections
        for k in models[s].model_fields
        if k not in ("name", "mode", "probes", "products")
    ]
    baseline = tuned_values(given, axes, mistakes)
    for axis in axes:
        if axis not in keys and (split_axis(axis)[0] in sections or split_axis(axis)[0] not in SECTIONS):
            mistakes.append(_unknown("axes.", axis, keys))
    for section_name, section_values in sections.items():
        for key, value in (section_values or {}).items():
            try:
                json.dumps(value)
            except TypeError:
                kind = type(value).__name__
                mistakes.append(f"{section_name}.{key}: must be plain data (numbers, text, lists), got {kind}")
    if mistakes:
        raise SpecError(label, mistakes)

    values = {s: dict(section) for s, section in sections.items() if section is not None}
    problem_class = classes["problem"]
    assert problem_class is not None
    spec = Spec(
        name=str(name),
        sections=values,
        axes={axis: tuple(value) for axis, value in axes.items()},
        ranges={axis: Range(axes[axis][0], axes[axis][1], drawn.log) for axis, drawn in ranges.items()},
        seeds=seeds,
        design=str(design),
        samples=samples,
        resources=allotted,
        models=models,
        problem_class=problem_class,
        rule_class=classes["method"],
        baseline=baseline,
        confirm=confirm,
        smallest_effect=smallest_effect,
    )
    if mistakes := mistakes_together(spec, given):
        raise SpecError(label, mistakes)
    return spec


def _axes(given: dict[str, dict[str, Any]], mistakes: list[str]) -> tuple[dict[str, list[Any]], dict[str, Range]]:
    """Return the values of every axis, for a range its two ends; and the ranges."""
    axes: dict[str, list[Any]] = {}
    ranges: dict[str, Range] = {}
    for written, value in given["axes"].items():
        axis = written.removeprefix("method.")
        if axis in axes:
            mistakes.append(f"axes.{written}: is the same axis as axes.{axis}; give one of them")
            continue
        try:
            parsed = parse_axis(value, shortened)
            axes[axis] = parsed if isinstance(parsed, list) else [parsed.low, parsed.high]
            ranges |= {axis: parsed} if isinstance(parsed, Range) else {}
        except ValueError as error:
            mistakes.append(f"axes.{written}: {error}")
            axes[axis] = []
        section, key = split_axis(axis)
        if key in given.get(section, {}):
            mistakes.append(f"axes.{axis}: is fixed in {section}.{key} as well; a key must be one or the other")
    if not given["axes"]:
        mistakes.append("axes: at least one axis must be given, for example {m: [8, 14, 20]}")
    return axes, ranges


def _seeds(value: Any, mistakes: list[str]) -> tuple[int, ...]:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if is_integer and 1 <= value <= MAX_AXIS_VALUES:
        return tuple(range(value))
    if (
        isinstance(value, list)
        and value
        and all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**31 for v in value)
    ):
        if len(set(value)) == len(value):
            return tuple(value)
        mistakes.append(f"seeds: must not repeat a value, got {shortened(value)}")
    else:
        mistakes.append(
            f"seeds: must be a number of seeds from 1, or a list of whole numbers from 0, got {shortened(value)}"
        )
    return (0,)


def _of_answer(raw: Mapping[str, Any], mistakes: list[str]) -> tuple[int, float]:
    """Return the number of fresh seeds and the smallest effect that matters."""
    confirm, effect = raw.get("confirm", 0), raw.get("smallest_effect", SMALLEST_EFFECT)
    is_integer = isinstance(confirm, int) and not isinstance(confirm, bool)
    if not (is_integer and (confirm == 0 or 2 <= confirm <= MAX_FRESH_SEEDS)):
        mistakes.append(
            f"confirm: must be a number of fresh seeds from 2 to {MAX_FRESH_SEEDS}, or 0 for none, "
            f"got {shortened(confirm)}"
        )
    try:
        effect = Fraction(below_one=effect).below_one
    except ValidationError:
        mistakes.append(
            f"smallest_effect: must be a part of the final loss above 0 and below 1, such as 0.02 for 2 %, "
            f"got {shortened(effect)}"
        )
    return confirm, effect


def _samples(value: Any, design: Any, axes: Mapping[str, list[Any]], mistakes: list[str]) -> int | None:
    if design != "saltelli":
        if value is not None and design in DESIGNS:
            mistakes.append(f"samples: must be left out with design: {design}, got {shortened(value)}")
        return None
    if axes and all(len(values) == 1 for values in axes.values()):
        mistakes.append("axes: design: saltelli needs an axis with two values or more, or a range")
    if is_sample_count(value):
        return int(value)
    mistakes.append(
        f"samples: must be a power of two from 2 to {MAX_SAMPLES} with design: saltelli, because only then a Sobol' "
        f"sequence is even, got {shortened(value)}"
    )
    return None


def _resources(given: dict[str, Any], mistakes: list[str]) -> Resources:
    try:
        return Resources(**given)
    except ValidationError as error:
        mistakes += messages("resources", Resources, error, {})
        return Resources()


def _section(
    name: str, model: type[Section], given: dict[str, Any], axes: dict[str, list[Any]], mistakes: list[str]
) -> dict[str, Any] | None:
    """Validate a section and every value of its axes; replace these values by those of the validated model."""
    varied = {split_axis(axis)[1]: axis for axis in axes if split_axis(axis)[0] == name}
    varied = {key: axis for key, axis in varied.items() if key in model.model_fields and axes[axis]}
    first = {key: axes[axis][0] for key, axis in varied.items()}
    empty = {split_axis(axis)[1] for axis, values in axes.items() if split_axis(axis)[0] == name and not values}
    section = None
    try:
        section = model(**{**given, **first})
    except ValidationError as error:
        where = {key: f"axes.{axis}[0]" for key, axis in varied.items()}
        mistakes += [
            m for m in messages(name, model, error, where) if m.partition(":")[0] not in {f"{name}.{k}" for k in empty}
        ]
    for key, axis in varied.items():
        values = []
        for index, value in enumerate(axes[axis]):
            try:
                values.append(getattr(model(**{**given, **first, key: value}), key))
            except ValidationError as error:
                path = f"axes.{axis}[{index}]"
                lines = messages(name, model, error, {key: path})
                mistakes += [m for m in lines if m.startswith(path) and m not in mistakes]
        for index, value in enumerate(values):
            if value in values[:index]:
                mistakes.append(f"axes.{axis}: must not repeat a value, got {shortened(value)} twice")
        if len(values) == len(axes[axis]):
            axes[axis] = values
    if section is None:
        return None
    return {key: value for key, value in section.model_dump().items() if key not in varied}


def messages(section: str, model: type[Section], error: ValidationError, where: Mapping[str, str]) -> list[str]:
    """Return Pydantic's errors as messages of a spec, one per path.

    Args:
        section: name of the section.
        model: model of the section.
        error: error of Pydantic.
        where: key -> its path in the spec, if that is not ``section.key``.
    """
    by_path: dict[str, list[str]] = {}
    for item in error.errors(include_url=False):
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden":
            by_path[f"{section}.{key}".strip(".")] = [
                _unknown(f"{section}.", key, list(model.model_fields)).partition(": ")[2]
            ]
            continue
        path = where.get(key, f"{section}.{key}".strip("."))
        path += "".join(f"[{part}]" for part in item["loc"][1:] if isinstance(part, int))
        if item["type"] == "missing":
            text = "must be given, here or as an axis"
        else:
            text = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            text = text[0].lower() + text[1:] + f", got {shortened(item['input'])}"
        by_path.setdefault(path, []).append(text)
    return [f"{path}: {'; or '.join(dict.fromkeys(texts))}" for path, texts in by_path.items()]


def _unknown(prefix: str, key: str, valid: Iterable[str]) -> str:
    names = list(valid)
    close = difflib.get_close_matches(str(key), names, n=1)  # a key in YAML may have any type
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{prefix}{key}: unknown key; {hint}valid keys are {', '.join(names)}"
