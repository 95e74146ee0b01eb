"""Cells, replicates and baselines of a spec."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

from study.replicates.keys import as_text, key
from study.replicates.replicate import Alternative, Jumps, Method, Plain, Probes, Replicate, Value
from study.specification import Spec, option_keys, split_axis
from study.specification.saltelli import saltelli


def cells(spec: Spec) -> list[dict[str, Value]]:
    """List all combinations of axis values, the first axis varying slowest, or the cells that were sampled, each once.

    For a search, which has not asked yet, these are the combinations of the ends of its ranges.
    """
    if spec.samples is not None:
        return distinct(saltelli({**spec.axes, **spec.ranges}, spec.samples))
    return [dict(zip(spec.axes, values, strict=True)) for values in itertools.product(*spec.axes.values())]


def distinct(listed: Iterable[Mapping[str, Value]]) -> list[dict[str, Value]]:
    """Return these cells in order, each once."""
    return [dict(cell) for cell in {key(cell, 0): cell for cell in listed}.values()]


def replicates(spec: Spec, chosen: Iterable[Mapping[str, Value]] | None = None) -> list[Replicate]:
    """Make the replicates of all cells, or of the ``chosen`` ones, with every seed."""
    chosen = cells(spec) if chosen is None else chosen
    return [_replicate(spec, cell, seed) for cell in chosen for seed in spec.seeds]


def baselines(spec: Spec, chosen: Iterable[Mapping[str, Value]] | None = None) -> list[Replicate]:
    """Make the baselines: one for every seed and combination of the axes that are not the method's.

    With ``chosen``, only the baselines of these cells, each once.
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


def tuned_baselines(spec: Spec, chosen: Iterable[Mapping[str, Value]] | None = None) -> list[Replicate]:
    """Make the baselines that only `Spec.baseline` asks for: plain training with other values of its keys.

    Those with the spec's own values are among `baselines`. With ``chosen``, only the baselines of these cells, each
    once.
    """
    tuned = [dict(zip(spec.baseline, values, strict=True)) for values in itertools.product(*spec.baseline.values())]
    return [
        replace(baseline, parameters={**baseline.parameters, **values}, recipe=spec.recipe(baseline.parameters, values))
        for baseline in baselines(spec, chosen)
        for values in tuned
        if spec.recipe(baseline.parameters, values) != baseline.recipe
    ]


def plain_trainings(spec: Spec, chosen: Iterable[Mapping[str, Value]] | None = None) -> list[Replicate]:
    """Make all baselines, those with the spec's own values first; ``chosen`` as for `baselines`."""
    chosen = None if chosen is None else list(chosen)
    return [*baselines(spec, chosen), *tuned_baselines(spec, chosen)]


def confirmations(spec: Spec, cell: Mapping[str, Value], plain: Mapping[str, Value]) -> list[Replicate]:
    """Make the replicates that confirm a choice: the best plain training and the cell, on fresh seeds.

    Args:
        spec: The study.
        cell: The chosen cell: axis -> value.
        plain: The best plain training: axis that is not the method's, or key of `Spec.baseline` -> value.
    """
    fresh = replace(spec, seeds=spec.fresh_seeds)
    return [*plain_training(fresh, cell, plain), *replicates(fresh, [cell])]


def plain_training(spec: Spec, cell: Mapping[str, Value], plain: Mapping[str, Value]) -> list[Replicate]:
    """Make one plain training with every seed, also if its values are recorded, but no longer in the spec.

    Args:
        spec: The study.
        cell: Cell that it is compared with: axis -> value.
        plain: Its parameters, as for `confirmations`.
    """
    same_axes = {axis: plain.get(axis, value) for axis, value in cell.items()}
    tuned = {name: value for name, value in plain.items() if name not in cell}
    return [
        replace(baseline, parameters={**baseline.parameters, **tuned}, recipe=spec.recipe(baseline.parameters, tuned))
        for baseline in baselines(spec, [same_axes])
    ]


def _replicate(spec: Spec, cell: Mapping[str, Value], seed: int, fill: Mapping[str, Value] | None = None) -> Replicate:
    filled = {**(fill or {}), **cell}
    varied = {axis: value for axis, value in filled.items() if split_axis(axis)[0] == "problem"}
    return Replicate(
        parameters=dict(cell),
        seed=seed,
        task=as_text(varied),
        recipe=spec.recipe(filled),
        method=Plain() if fill is not None else _method(spec, filled),
    )


def _method(spec: Spec, cell: Mapping[str, Value]) -> Method:
    section = dict(spec.section("method", cell))
    name = section.pop("name")
    if not spec.jumps:
        return Alternative(name, section)
    mode, probes = section.pop("mode"), section.pop("probes")
    keys = option_keys() - {"m", "s"}
    options = {key: section.pop(key) for key in sorted(keys)}
    run = {key: section.pop(key) for key in ("m", "s", "snapshots", "horizon", "horizon_jumps")}
    jumps = Jumps(rule=name, options=options, rule_options=section, **run)
    return Probes(jumps, probes) if mode == "probe" else jumps
