"""A validated study: its sections, its axes, and what a cell makes of them."""

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from problems import OwnLoss, OwnNetwork, Problem
from study.replicates.replicate import Products, Recipe, Value
from study.specification._methods import Method
from study.specification._reflection import later_keys
from study.specification._sections import Resources, Section
from study.specification.axes import Range

T = TypeVar("T")
IDENTITY_VERSION = 1
"""Version of what `Spec.identity` holds. Another version makes another hash, and so another study, of every spec."""
SECTIONS = ("problem", "network", "training", "method")
TOP_LEVEL = (
    *("name", *SECTIONS, "axes", "baseline", "seeds", "confirm", "smallest_effect", "design", "samples", "resources"),
)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
DESIGNS = ("grid", "saltelli", "search")
SMALLEST_EFFECT = 0.02
"""Smallest gain that matters, if a spec names none: 2 % of the final loss."""
FIRST_FRESH_SEED = 1000
"""Seed from which fresh seeds are taken, so that a study may get more seeds of its own below it."""
MAX_CACHED_SECTIONS = 1000
"""Largest number of sections and problems of cells that a spec keeps; a search would gather them without end."""


@dataclass(frozen=True)
class Spec:
    """A validated spec. Sections hold every key with its default, except those that are axes.

    Attributes:
        name: Name of the study.
        sections: Section name -> its keys and values, without the keys that are axes.
        axes: Axis key -> its values in the order given, or the two ends of its range. A method's key stands alone
            (``m``), other keys with their section (``training.lr``).
        ranges: Axes that are ranges, from which samples and searches draw; a grid has none.
        seeds: Seeds of every cell.
        design: ``grid``, all combinations of the axis values; ``saltelli``, samples for Sobol' indices; or ``search``,
            the cells that a search has asked for.
        samples: Number of samples of the design saltelli, a power of two; None for other designs.
        resources: Resources of each pack.
        baseline: Key of training -> values that baselines alone are trained with, so that plain training is tuned.
        confirm: Number of fresh seeds that the chosen cell and the best plain training are trained with at the end.
        smallest_effect: Smallest gain that matters, as a part of the final loss.
        products: Library that ``training.products: auto`` stands for in a record; None until it is settled.
        models: The pydantic model of each section, from which a cell's sections are built.
        problem_class: The problem's class.
        rule_class: The rule's class if it is the user's own, else None.
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
    baseline: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    confirm: int = 0
    smallest_effect: float = SMALLEST_EFFECT
    products: Products | None = None
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def section(self, name: str, cell: Mapping[str, Value]) -> Mapping[str, Any]:
        """Return a section with the cell's values filled in."""
        varying = self._varying(name, cell)
        section: Mapping[str, Any] = self._once(name, varying, lambda: self._filled(name, varying))
        return section

    def _varying(self, name: str, cell: Mapping[str, T]) -> dict[str, T]:
        """Return the values of a cell, or of the axes, that belong to one section, by key."""
        return {key: cell[axis] for axis, key in self._axes_of[name] if axis in cell}

    @functools.cached_property
    def _axes_of(self) -> dict[str, list[tuple[str, str]]]:
        """Section name -> its axes as (axis, key). It is needed several times for each of 10,000 cells."""
        split = {axis: split_axis(axis) for axis in self.axes}
        return {name: [(axis, key) for axis, (owner, key) in split.items() if owner == name] for name in SECTIONS}

    def _filled(self, name: str, varying: Mapping[str, Value]) -> dict[str, Any]:
        """Return a validated section. Values are validated once: 10,000 cells may hold 200 values only."""
        first, known = self._validated[name]
        seen = varying.keys() == first.keys() and all((key, repr(value)) in known for key, value in varying.items())
        if seen and varying != first:
            return {**self._once(name, first, lambda: self._filled(name, first)), **varying}
        return dict(self.models[name](**self.sections[name], **varying))

    @functools.cached_property
    def _validated(self) -> dict[str, tuple[dict[str, Value], frozenset[tuple[str, str]]]]:
        """Section name -> the first value of each of its axes, and every value as (key, repr)."""
        first = {axis: values[0] for axis, values in self.axes.items()}
        return {
            name: (
                self._varying(name, first),
                frozenset((key, repr(v)) for key, vs in self._varying(name, self.axes).items() for v in vs),
            )
            for name in SECTIONS
        }

    def _once(self, what: str, varying: Mapping[str, Value], make: Callable[[], Any]) -> Any:
        """Make an object, or return the one made before: most cells agree in most sections."""
        name = f"{what} {varying!r}"
        if name not in self._made:
            if len(self._made) >= MAX_CACHED_SECTIONS:
                self._made.clear()
            self._made[name] = make()
        return self._made[name]

    def problem(self, cell: Mapping[str, Value]) -> Problem:
        """Return the problem of a cell; cells that differ in other axes share it."""

        def make() -> Problem:
            section = self.section("problem", cell)
            made: Problem = self.problem_class(**{key: value for key, value in section.items() if key != "name"})
            return made

        problem: Problem = self._once("Problem", self._varying("problem", cell), make)
        return problem

    def recipe(self, cell: Mapping[str, Value], tuned: Mapping[str, Value] = MappingProxyType({})) -> Recipe:
        """Return the plain training of a cell; cells that differ in other axes share it.

        ``tuned``: key of training, such as ``training.lr`` -> a value that takes the place of the spec's.
        """

        def make() -> Recipe:
            training = {**self.section("training", cell), **{split_axis(key)[1]: v for key, v in tuned.items()}}
            batch = None if training["batch"] == "full" else training["batch"]
            if own_code or training["dtype"] != "float32" or training["precision"] != "full" or self.resources.gpu:
                training["products"] = "torch"  # the only library that has these products
            return Recipe(**{**self.section("network", cell), **training, "batch": batch})

        # a loss of the problem's own may differentiate the network in ways that oneDNN's layers do not know
        own_code = self.has_own_network(cell) or self._has_own_loss(cell)
        varying = {**self._varying("network", cell), **self._varying("training", cell), **tuned, "own": own_code}
        recipe: Recipe = self._once("Recipe", varying, make)
        return recipe

    def has_own_network(self, cell: Mapping[str, Value]) -> bool:
        """Return True if the problem of a cell brings its network."""
        # isinstance() is slow for a protocol with methods
        brings: bool = self._once(
            "OwnNetwork", self._varying("problem", cell), lambda: isinstance(self.problem(cell), OwnNetwork)
        )
        return brings

    def _has_own_loss(self, cell: Mapping[str, Value]) -> bool:
        brings: bool = self._once(
            "OwnLoss", self._varying("problem", cell), lambda: isinstance(self.problem(cell), OwnLoss)
        )
        return brings

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """Seeds that the study's choice is confirmed with; none of them is a seed of the study."""
        return fresh_seeds(self.seeds, self.confirm)

    @property
    def rules(self) -> dict[str, type]:
        """Name -> class of the user's own rule; empty if the rule comes with the package."""
        return {} if self.rule_class is None else {str(self.sections["method"]["name"]): self.rule_class}

    @property
    def jumps(self) -> bool:
        """True if the method is a jump rule."""
        return issubclass(self.models["method"], Method)

    def values_of(self, axis: str) -> tuple[Value, ...]:
        """Return the values of an axis, or of a key that baselines alone vary; none for another key."""
        return self.axes.get(axis) or self.baseline.get(axis, ())

    def kind(self, axis: str) -> Literal["int", "float"] | tuple[Any, ...] | None:
        """Return the kind of an axis: ``int``, ``float``, a tuple of choices, or None for anything else."""
        section, key = split_axis(axis)
        annotation: Any = self.models[section].model_fields[key].annotation
        if get_origin(annotation) in (Union, UnionType) and None not in self.values_of(axis):
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
        """Return True if an axis holds whole or real numbers, so that there are values between two of them."""
        return self.kind(axis) in ("int", "float") and not any(value is None for value in self.axes[axis])

    def identity(self) -> dict[str, Any]:
        """Return all that two specs of the same study share: problem, network, training, method, names of the axes.

        Axis values, seeds, resources, and what baselines alone or the answer need, may change within a study.
        """
        return {
            "format_version": IDENTITY_VERSION,  # named as before records had a version of their own
            **{name: plain(self._lasting(name)) for name in SECTIONS},
            "axes": sorted(self.axes),
        }

    def _lasting(self, name: str) -> dict[str, Any]:
        """Return a section without later keys at their default: with them off, the study is what it was before."""
        later = later_keys(self.models[name])
        return {key: v for key, v in self.sections[name].items() if key not in later or v != later[key]}

    def hash(self) -> str:
        """Hash of the identity."""
        return content_hash(self.identity())

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain data, as the record keeps it: all keys but later ones at their default."""
        return {
            "name": self.name,
            **{name: plain(self._lasting(name)) for name in SECTIONS},
            "axes": plain(self.axes) | {axis: values.written() for axis, values in self.ranges.items()},
            **({"baseline": plain(self.baseline)} if self.baseline else {}),
            "seeds": list(self.seeds),
            **({"confirm": self.confirm} if self.confirm else {}),
            **({} if self.smallest_effect == SMALLEST_EFFECT else {"smallest_effect": self.smallest_effect}),
            "design": self.design,
            **({} if self.samples is None else {"samples": self.samples}),
            "resources": self.resources.model_dump(),
        }


def fresh_seeds(seeds: Sequence[int], count: int) -> tuple[int, ...]:
    """Return seeds that are not among those of a study."""
    return tuple(itertools.islice((s for s in itertools.count(FIRST_FRESH_SEED) if s not in seeds), count))


def content_hash(value: Any) -> str:
    """Hash of plain data (16 hexadecimal digits), the same in every process."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def split_axis(axis: str) -> tuple[str, str]:
    """Section and key that an axis varies: ``m`` -> (method, m), ``training.lr`` -> (training, lr)."""
    section, dot, key = axis.partition(".")
    return (section, key) if dot else ("method", section)


def plain(value: Any) -> Any:
    """Tuples as lists and mappings as dicts, as JSON gives them back."""
    return json.loads(json.dumps(value))
