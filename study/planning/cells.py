"""From a spec to its cells, replicates and baselines."""

import itertools
from collections.abc import Iterable, Mapping

from study.replicates.keys import _as_text, key
from study.replicates.replicate import Acceleration, Alternative, Replicate, Value
from study.specification import POLICY_KEYS, Spec, split_axis
from study.specification.saltelli import saltelli


def cells(spec: Spec) -> list[dict[str, Value]]:
    """All combinations of axis values, the first axis varying slowest; or those that the design has sampled, each once.

    Of a search, which has not asked yet, combinations of the ends of its ranges.
    """
    if spec.samples is not None:
        return distinct(saltelli({**spec.axes, **spec.ranges}, spec.samples))
    return [dict(zip(spec.axes, values, strict=True)) for values in itertools.product(*spec.axes.values())]


def distinct(found: Iterable[Mapping[str, Value]]) -> list[dict[str, Value]]:
    """These cells in order, each once."""
    return [dict(cell) for cell in {key(cell, 0): cell for cell in found}.values()]


def replicates(spec: Spec, chosen: Iterable[Mapping[str, Value]] | None = None) -> list[Replicate]:
    """Every cell with every seed; or these cells alone."""
    chosen = cells(spec) if chosen is None else chosen
    return [_replicate(spec, cell, seed) for cell in chosen for seed in spec.seeds]


def baselines(spec: Spec, chosen: Iterable[Mapping[str, Value]] | None = None) -> list[Replicate]:
    """The accelerator off: one for every seed and combination of the axes that are not the method's.

    ``chosen``: the baselines of these cells alone, each once.
    """
    axes = {axis: values for axis, values in spec.axes.items() if split_axis(axis)[0] != "method"}
    if chosen is None and spec.samples is not None:
        chosen = cells(spec)
    if chosen is None:
        plain = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    else:
        plain = distinct({axis: cell[axis] for axis in axes} for cell in chosen)
    any_cell = {axis: values[0] for axis, values in spec.axes.items()}
    return [_replicate(spec, cell, seed, any_cell) for cell in plain for seed in spec.seeds]


def _replicate(spec: Spec, cell: Mapping[str, Value], seed: int, fill: Mapping[str, Value] | None = None) -> Replicate:
    whole = {**(fill or {}), **cell}
    acceleration = alternative = None
    if fill is None:
        method = spec.section("method", whole)
        if spec.jumps:
            policy = {key: method[key] for key in POLICY_KEYS}
            options = {key: value for key, value in method.items() if key != "name" and key not in policy}
            acceleration = Acceleration(rule=method["name"], options=options, **policy)
        else:
            options = {key: value for key, value in method.items() if key != "name"}
            alternative = Alternative(method["name"], options)
    varied = {axis: value for axis, value in whole.items() if split_axis(axis)[0] == "problem"}
    return Replicate(
        parameters=dict(cell),
        seed=seed,
        task=_as_text(varied),
        recipe=spec.recipe(whole),
        acceleration=acceleration,
        alternative=alternative,
    )
