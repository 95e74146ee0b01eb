"""A study's spec: read from YAML with a safe loader, validated whole, every mistake reported at once with its path."""

import difflib
import functools
import hashlib
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import ValidationError

from problems import OwnNetwork, Problem
from study.alternative_sections import alternative_mistakes
from study.axes import MAX_AXIS_VALUES, Range, parse_axis
from study.designs import MOST_SAMPLES, is_sample_count
from study.errors import SpecError, shortened
from study.pack import Recipe, Value
from study.sections import Method, Network, Resources, Section, Training, method_section, problem_section

T = TypeVar("T")
FORMAT_VERSION = 1
SECTIONS = ("problem", "network", "training", "method")
TOP_LEVEL = ("name", *SECTIONS, "axes", "seeds", "design", "samples", "resources")
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
DESIGNS = ("grid", "saltelli", "search")
MOST_MADE = 1000
"""Sections and problems of cells that a spec keeps, so that a search does not gather them without end."""


@dataclass(frozen=True)
class Spec:
    """A validated spec. Sections hold every key with its default, except those that are axes.

    Attributes:
        axes: axis key -> its values in the order given; a method's key stands bare (``m``), others dotted
            (``training.lr``). Of a range, its two ends.
        ranges: the axes that are ranges, which samples and searches draw from; a grid has none.
        design: ``grid``, all combinations of the axis values; ``saltelli``, samples for Sobol' indices; or ``search``,
            the cells that a search has asked for.
        samples: of the design saltelli, a power of two; None of another design.
        models: the pydantic model of each section, from which a cell's sections are built.
        problem_class: the problem's class; rule_class: the rule's, where it is the user's own.
    """

    name: str
    sections: Mapping[str, Mapping[str, Any]]
    axes: Mapping[str, tuple[Value, ...]]
    ranges: Mapping[str, Range]
    seeds: tuple[int, ...]
    design: str
    samples: int | None
    resources: Resources
    models: Mapping[str, type[Section]]
    problem_class: type
    rule_class: type | None
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def section(self, name: str, cell: Mapping[str, Value]) -> Mapping[str, Any]:
        """A section with the cell's values filled in."""
        varying = self._varying(name, cell)
        section: Mapping[str, Any] = self._once(name, varying, lambda: self._filled(name, varying))
        return section

    def _varying(self, name: str, cell: Mapping[str, T]) -> dict[str, T]:
        """What a cell, or the axes, hold of one section, by key."""
        return {key: cell[axis] for axis, key in self._axes_of[name] if axis in cell}

    @functools.cached_property
    def _axes_of(self) -> dict[str, list[tuple[str, str]]]:
        """Of each section its axes, as (axis, key): asked some times for each of 10,000 cells."""
        split = {axis: split_axis(axis) for axis in self.axes}
        return {name: [(axis, key) for axis, (owner, key) in split.items() if owner == name] for name in SECTIONS}

    def _filled(self, name: str, varying: Mapping[str, Value]) -> dict[str, Any]:
        """Validated, unless each value was when the spec was loaded: 10,000 cells may be of 100 values of two axes."""
        first, known = self._validated[name]
        seen = varying.keys() == first.keys() and all((key, repr(value)) in known for key, value in varying.items())
        if seen and varying != first:
            return {**self._once(name, first, lambda: self._filled(name, first)), **varying}
        return dict(self.models[name](**self.sections[name], **varying))

    @functools.cached_property
    def _validated(self) -> dict[str, tuple[dict[str, Value], frozenset[tuple[str, str]]]]:
        """Of each section the first value of its axes, and every value as (key, repr)."""
        first = {axis: values[0] for axis, values in self.axes.items()}
        return {
            name: (
                self._varying(name, first),
                frozenset((key, repr(v)) for key, vs in self._varying(name, self.axes).items() for v in vs),
            )
            for name in SECTIONS
        }

    def _once(self, what: str, varying: Mapping[str, Value], make: Callable[[], Any]) -> Any:
        """Make a thing, or give the one made before: most cells are alike in most sections."""
        name = f"{what} {varying!r}"
        if name not in self._made:
            if len(self._made) >= MOST_MADE:
                self._made.clear()
            self._made[name] = make()
        return self._made[name]

    def problem(self, cell: Mapping[str, Value]) -> Problem:
        """The problem of a cell; cells that differ in other axes share it."""

        def make() -> Problem:
            section = self.section("problem", cell)
            made: Problem = self.problem_class(**{key: value for key, value in section.items() if key != "name"})
            return made

        problem: Problem = self._once("Problem", self._varying("problem", cell), make)
        return problem

    def recipe(self, cell: Mapping[str, Value]) -> Recipe:
        """The plain training of a cell; cells that differ in other axes share it."""

        def make() -> Recipe:
            training = self.section("training", cell)
            batch = None if training["batch"] == "full" else training["batch"]
            return Recipe(**{**self.section("network", cell), **training, "batch": batch})

        varying = {**self._varying("network", cell), **self._varying("training", cell)}
        recipe: Recipe = self._once("Recipe", varying, make)
        return recipe

    def has_own_network(self, cell: Mapping[str, Value]) -> bool:
        """Whether the problem of a cell brings its network."""
        # a protocol with methods is slow to be asked about
        own: bool = self._once(
            "OwnNetwork", self._varying("problem", cell), lambda: isinstance(self.problem(cell), OwnNetwork)
        )
        return own

    @property
    def rules(self) -> dict[str, type]:
        """The user's own rule by the name that replicates call it; empty where the rule is the package's."""
        return {} if self.rule_class is None else {str(self.sections["method"]["name"]): self.rule_class}

    @property
    def jumps(self) -> bool:
        """Whether the method is a jump rule."""
        return issubclass(self.models["method"], Method)

    def kind(self, axis: str) -> Literal["int", "float"] | tuple[Any, ...] | None:
        """What an axis holds: whole numbers, real numbers, one of these choices, or (None) anything else."""
        section, key = split_axis(axis)
        annotation: Any = self.models[section].model_fields[key].annotation
        if get_origin(annotation) in (Union, UnionType) and None not in self.axes[axis]:
            kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
            annotation = kinds[0] if len(kinds) == 1 else annotation
            annotation = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
        if annotation is int:
            return "int"
        if annotation is float:
            return "float"
        if annotation is bool:
            return (False, True)
        return get_args(annotation) if get_origin(annotation) is Literal else None

    def is_number(self, axis: str) -> bool:
        """Whether an axis holds whole or real numbers, which have others between them."""
        return self.kind(axis) in ("int", "float") and not any(value is None for value in self.axes[axis])

    def identity(self) -> dict[str, Any]:
        """What makes two specs the same study: everything but what chooses cells, seeds, name and resources."""
        return {
            "format_version": FORMAT_VERSION,
            **{name: _plain(self.sections[name]) for name in SECTIONS},
            "axes": sorted(self.axes),
        }

    def hash(self) -> str:
        """Hash of the identity."""
        return content_hash(self.identity())

    def to_dict(self) -> dict[str, Any]:
        """The whole spec as plain data, as it is kept in the record."""
        return {
            "name": self.name,
            **{name: _plain(self.sections[name]) for name in SECTIONS},
            "axes": _plain(self.axes) | {axis: values.written() for axis, values in self.ranges.items()},
            "seeds": list(self.seeds),
            "design": self.design,
            **({} if self.samples is None else {"samples": self.samples}),
            "resources": self.resources.model_dump(),
        }


def load_spec(source: str | Path | Mapping[str, Any], overrides: Iterable[str] | Mapping[str, Any] = ()) -> Spec:
    """Read and validate a spec.

    Args:
        source: a YAML file, the name of a preset, or the spec itself as a mapping.
        overrides: ``key=value`` strings as of ``--set`` (values are YAML), or a mapping of dotted keys to values.

    Raises:
        SpecError: everything that is wrong with it, one line per mistake.
    """
    raw, label = read_raw(source)
    override(raw, overrides, label)
    return _validate(raw, label)


def presets() -> list[str]:
    """Names of the specs that come with the package."""
    return sorted(
        p.name.removesuffix(".yaml")
        for p in resources.files("study").joinpath("presets").iterdir()
        if p.name.endswith(".yaml")
    )


def content_hash(value: Any) -> str:
    """Hash of plain data (16 hexadecimal digits), the same in every process."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def split_axis(axis: str) -> tuple[str, str]:
    """Section and key that an axis varies: ``m`` -> (method, m), ``training.lr`` -> (training, lr)."""
    section, dot, key = axis.partition(".")
    return (section, key) if dot else ("method", section)


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(k, deep=True) for k, _ in node.value if k.tag != "tag:yaml.org,2002:merge"]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_raw(source: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """A spec as it is written, not validated, and what to call it in messages. Raises SpecError if it is no mapping."""
    if isinstance(source, Mapping):
        importable_here()
        label = shortened(source.get("name", "spec")).strip("'")
        return _plain_or_refuse(source, label), label
    path, label = Path(source), str(source)
    if isinstance(source, str) and source in presets():
        text = resources.files("study").joinpath("presets", f"{source}.yaml").read_text(encoding="utf-8")
    elif os.path.isfile(path):
        text = read_text(path)
    else:
        raise SpecError(
            label, [f"there is no such file, nor a preset of that name; presets are {', '.join(presets())}"]
        )
    try:
        raw = parse_yaml(text)
    except ValueError as error:
        raise SpecError(label, [str(error)]) from error
    if not isinstance(raw, dict):
        raise SpecError(label, [f"a spec must be a mapping with the keys {', '.join(TOP_LEVEL)}, got {shortened(raw)}"])
    return raw, label


def read_text(path: Path) -> str:
    """A file that a user wrote, beside which code of their own is found. Raises SpecError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(str(path), [f"the file could not be read: {error}"]) from error
    importable_here(path.resolve().parent)
    return text


def parse_yaml(text: str) -> Any:
    """Read YAML with the safe loader.

    Raises:
        ValueError: it is not valid, says why in one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    # PyYAML's own constructors raise anything for a value that does not fit its tag, such as !!int x
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from error


def importable_here(*folders: Path) -> None:
    """Let problems and rules of the user's own be found in the working directory and in these folders."""
    for place in (Path.cwd(), *folders):
        if str(place) not in sys.path:
            sys.path.append(str(place))


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` strings as a mapping; the values are YAML.

    Raises:
        SpecError: every string that is not of that form.
    """
    pairs, mistakes = {}, []
    for text in texts:
        key, equals, value = text.partition("=")
        try:
            if not (equals and key):
                raise ValueError("must be KEY=VALUE, for example axes.m=[14,20]")
            pairs[key.strip()] = parse_yaml(value)
        except ValueError as error:
            mistakes.append(f"{text}: {error}")
    if mistakes:
        raise SpecError("--set", mistakes)
    return pairs


def override(raw: dict[str, Any], overrides: Iterable[str] | Mapping[str, Any], label: str) -> None:
    """Replace keys of a spec as it is written; ``overrides`` as of `load_spec`. Raises SpecError for what is no key."""
    mistakes = []
    given = _plain_or_refuse(overrides, "overrides") if isinstance(overrides, Mapping) else parse_assignments(overrides)
    for path, value in given.items():
        top, dot, key = path.partition(".")
        if not dot:
            raw[top] = value
        elif isinstance(raw.setdefault(top, {}), dict):
            raw[top][key] = value
        else:
            mistakes.append(f"--set {path}: {top} is not a mapping")
    if mistakes:
        raise SpecError(label, mistakes)
    for path in given:
        _make_room(raw, path, given)


def _make_room(raw: dict[str, Any], path: str, given: Mapping[str, Any]) -> None:
    """A key is fixed or an axis: what is overridden to be the one is no longer the other, unless both are asked for."""
    top, dot, key = path.partition(".")
    if top == "axes" and dot:
        section, key = split_axis(key)
        others = [(section, key)]
    else:
        others = [("axes", path), ("axes", key)] if top == "method" else [("axes", path)]
    for where, other in others:
        if f"{where}.{other}" not in given and isinstance(raw.get(where), dict):
            raw[where].pop(other, None)


def _validate(raw: dict[str, Any], label: str) -> Spec:
    mistakes = [_unknown("", key, TOP_LEVEL) for key in raw if key not in TOP_LEVEL]
    name = raw.get("name")
    if not (isinstance(name, str) and re.fullmatch(NAME, name)):
        mistakes.append(f"name: must be 1 to 64 letters, digits, '.', '_' or '-', got {shortened(name)}")
    given: dict[str, dict[str, Any]] = {}
    for section in (*SECTIONS, "axes", "resources"):
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
                f"axes.{axis}: a range has no values to run through; give a list or a step, sample it "
                f"with design: saltelli, or let `dmd-study search` draw from it"
            )
        if split_axis(axis)[0] == "problem":
            mistakes.append(f"axes.{axis}: must be a list, since the data of every value are made before any training")
    allotted = _resources(given["resources"], mistakes)

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
        if k not in ("name", "mode", "probes")
    ]
    for axis in axes:
        if axis not in keys and (split_axis(axis)[0] in sections or split_axis(axis)[0] not in SECTIONS):
            mistakes.append(_unknown("axes.", axis, keys))
    for place, found in sections.items():
        for key, value in (found or {}).items():
            try:
                json.dumps(value)
            except TypeError:
                kind = type(value).__name__
                mistakes.append(f"{place}.{key}: must be plain data (numbers, text, lists), got {kind}")
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
    )
    _check_together(spec, given, label)
    return spec


def _axes(given: dict[str, dict[str, Any]], mistakes: list[str]) -> tuple[dict[str, list[Any]], dict[str, Range]]:
    """The values of every axis, of a range its two ends; and the ranges."""
    axes: dict[str, list[Any]] = {}
    ranges: dict[str, Range] = {}
    for written, value in given["axes"].items():
        axis = written.removeprefix("method.")
        if axis in axes:
            mistakes.append(f"axes.{written}: the same axis as axes.{axis}")
            continue
        try:
            found = parse_axis(value, shortened)
            axes[axis] = found if isinstance(found, list) else [found.low, found.high]
            ranges |= {axis: found} if isinstance(found, Range) else {}
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
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and 1 <= value <= MAX_AXIS_VALUES:
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
        f"samples: must be a power of two from 2 to {MOST_SAMPLES} with design: saltelli, since a Sobol' sequence is "
        f"even only then, got {shortened(value)}"
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
    """Validate a section, and in it every value of its axes (which are replaced by what the model made of them)."""
    own = {split_axis(axis)[1]: axis for axis in axes if split_axis(axis)[0] == name}
    own = {key: axis for key, axis in own.items() if key in model.model_fields and axes[axis]}
    first = {key: axes[axis][0] for key, axis in own.items()}
    empty = {split_axis(axis)[1] for axis, values in axes.items() if split_axis(axis)[0] == name and not values}
    section = None
    try:
        section = model(**{**given, **first})
    except ValidationError as error:
        where = {key: f"axes.{axis}[0]" for key, axis in own.items()}
        mistakes += [
            m for m in messages(name, model, error, where) if m.partition(":")[0] not in {f"{name}.{k}" for k in empty}
        ]
    for key, axis in own.items():
        values = []
        for index, value in enumerate(axes[axis]):
            try:
                values.append(getattr(model(**{**given, **first, key: value}), key))
            except ValidationError as error:
                path = f"axes.{axis}[{index}]"
                found = messages(name, model, error, {key: path})
                mistakes += [m for m in found if m.startswith(path) and m not in mistakes]
        for index, value in enumerate(values):
            if value in values[:index]:
                mistakes.append(f"axes.{axis}: must not repeat a value, got {shortened(value)} twice")
        if len(values) == len(axes[axis]):
            axes[axis] = values
    if section is None:
        return None
    return {key: value for key, value in section.model_dump().items() if key not in own}


def messages(section: str, model: type[Section], error: ValidationError, where: Mapping[str, str]) -> list[str]:
    """Pydantic's errors in our words, one per place."""
    by_place: dict[str, list[str]] = {}
    for item in error.errors(include_url=False):
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden":
            by_place[f"{section}.{key}".strip(".")] = [
                _unknown(f"{section}.", key, list(model.model_fields)).partition(": ")[2]
            ]
            continue
        place = where.get(key, f"{section}.{key}".strip("."))
        place += "".join(f"[{part}]" for part in item["loc"][1:] if isinstance(part, int))
        if item["type"] == "missing":
            text = "must be given, here or as an axis"
        else:
            text = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            text = text[0].lower() + text[1:] + f", got {shortened(item['input'])}"
        by_place.setdefault(place, []).append(text)
    return [f"{place}: {'; or '.join(dict.fromkeys(texts))}" for place, texts in by_place.items()]


def _check_together(spec: Spec, given: dict[str, dict[str, Any]], label: str) -> None:
    """What no section can check alone: the problem's own rules, and that a jump can happen at all."""
    mistakes: list[str] = []
    problem_axes = {a: v for a, v in spec.axes.items() if split_axis(a)[0] == "problem"}
    problems: list[Problem] = []
    for values in itertools.product(*problem_axes.values()):
        cell = dict(zip(problem_axes, values, strict=True))
        try:
            problem = spec.problem(cell)
            if not isinstance(problem, Problem):
                raise ValueError(f"{spec.problem_class.__name__} must have the methods sizes() and data()")
            problem.sizes()
        except (ValueError, TypeError, ArithmeticError) as error:
            at = f" at {cell}" if cell else ""
            mistakes.append(f"problem: {error}{at}")
            continue
        problems.append(problem)
        network_axes = [axis for axis in spec.axes if split_axis(axis)[0] == "network"]
        if isinstance(problem, OwnNetwork) and (given["network"] or network_axes):
            mistakes.append(f"network: must be left out, since {spec.problem_class.__name__} brings its own network")

    samples = [problem.sizes().train_samples for problem in problems]

    def values_of(section: str, key: str) -> tuple[Any, ...]:
        axis = key if section == "method" else f"{section}.{key}"
        return spec.axes.get(axis) or (spec.sections[section][key],)

    for batch in values_of("training", "batch"):
        if isinstance(batch, int) and samples and batch > min(samples):
            mistakes.append(f"training.batch: must be at most the {min(samples)} training samples, got {batch}")
    mistakes += [f"axes.{a}: must be a list, since {a} is no number" for a in spec.ranges if not spec.is_number(a)]
    if spec.design == "saltelli" and spec.sections["method"].get("mode") == "probe":
        mistakes.append("method.mode: must be train with design: saltelli; probes answer for a whole grid")
    if spec.jumps:
        mistakes += _jump_mistakes(spec, values_of, samples)
    else:
        mistakes += alternative_mistakes(str(spec.sections["method"]["name"]), values_of, problems)
    if mistakes:
        raise SpecError(label, list(dict.fromkeys(mistakes)))


def _jump_mistakes(spec: Spec, values_of: Callable[[str, str], tuple[Any, ...]], samples: list[int]) -> list[str]:
    """That jumps go with the training around them, and that one can happen at all."""
    mistakes = []
    if "adagrad" in values_of("training", "optimizer") and "reset" in values_of("method", "moments"):
        mistakes.append("method.moments: must be keep with the optimizer adagrad, whose state cannot be made anew")
    longest_m, fewest_epochs = max(values_of("method", "m")), min(values_of("training", "epochs"))
    snapshots = fewest_epochs
    if samples and "step" in values_of("method", "snapshots"):
        steps = min(1 if b == "full" else math.ceil(min(samples) / b) for b in values_of("training", "batch"))
        snapshots = fewest_epochs * (steps if values_of("method", "snapshots") == ("step",) else 1)
    start = max(values_of("method", "start"))
    snapshots -= start
    passed = f", of which method.start passes {start}," if start else ""
    mistakes += _method_mistakes(spec, values_of) + _probe_mistakes(spec, values_of)
    if snapshots < longest_m:
        mistakes.append(
            f"training.epochs: {fewest_epochs} epochs{passed} give {max(snapshots, 0)} snapshots, fewer than the "
            f"window m = {longest_m}, so that no jump would happen; give more epochs or a smaller m"
        )
    return mistakes


def _method_mistakes(spec: Spec, values_of: Callable[[str, str], tuple[Any, ...]]) -> list[str]:
    """Keys of the method that do not go with each other in some cell."""
    mistakes = []
    m, start, margin = values_of("method", "m"), max(values_of("method", "start")), max(values_of("method", "margin"))
    if margin > 0 and "always" in values_of("method", "accept"):
        mistakes.append(f"method.margin: must be 0 with accept always, which takes every jump, got {margin}")
    truncated = spec.rule_class is None and "rank" in spec.models["method"].model_fields
    ranks = values_of("method", "rank") if truncated else ()
    if too_large := [rank for rank in ranks if rank is not None and rank >= min(m)]:
        mistakes.append(f"method.rank: must be less than every m, got {too_large[0]} with m = {min(m)}")
    stops = [stop for stop in values_of("method", "stop") if stop is not None]
    if stops and min(stops) < start + max(m):
        mistakes.append(
            f"method.stop: must leave room for a window, at least start + m = {start + max(m)}, got {min(stops)}"
        )
    return mistakes


def _probe_mistakes(spec: Spec, values_of: Callable[[str, str], tuple[Any, ...]]) -> list[str]:
    """Policies that a probe cannot answer for, since it takes no jump."""
    if spec.sections["method"]["mode"] != "probe":
        return []
    neutral = {
        "accept": "always", "moments": "keep", "horizon": "constant", "candidates": (1.0,), "noise": 0.0,
        "stop": None,
    }  # fmt: skip
    mistakes = []
    for key, only in neutral.items():
        others = [value for value in values_of("method", key) if value != only]
        if others:
            shown = list(only) if isinstance(only, tuple) else only
            mistakes.append(
                f"method.{key}: must be {shown} with mode probe, which takes no jump, got {shortened(others[0])}; "
                f"mode train answers for it"
            )
    if len(values_of("method", "snapshots")) > 1:
        mistakes.append("method.snapshots: must be one value with mode probe, got an axis")
    return mistakes


def _unknown(prefix: str, key: str, valid: Iterable[str]) -> str:
    names = list(valid)
    close = difflib.get_close_matches(str(key), names, n=1)  # YAML's keys may be of any kind
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{prefix}{key}: unknown key; {hint}valid keys are {', '.join(names)}"


def _plain_or_refuse(value: Mapping[str, Any], label: str) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = _plain(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(label, [f"must be plain data, as YAML can hold it: {error}"]) from error
    return plain


def _plain(value: Any) -> Any:
    """Tuples as lists and mappings as dicts, as JSON gives them back."""
    return json.loads(json.dumps(value))
