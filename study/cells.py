"""From a spec to what must be trained: cells, replicates, baselines, packs, and what they cost."""

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from problems import OwnAccuracy, OwnLoss, OwnNetwork, Problem
from study.designs import saltelli
from study.flops import combination_flops, dense_weights, evaluation_flops, jump_flops, step_flops
from study.pack import Acceleration, Alternative, Pack, Replicate, Task, Value
from study.sections import POLICY_KEYS
from study.spec import Spec, content_hash, split_axis

GPU_PACK = 64
"""Replicates of a pack on a GPU; the trainer puts fewer side by side where its memory holds no more."""
CPU_PACK = 32
CPU_PACK_BELOW = 1e9
"""Operations per epoch below which packs pay on a CPU: there, single products leave it waiting for the interpreter."""
_as_text = json.JSONEncoder(sort_keys=True).encode  # `json.dumps` makes an encoder for each of 10,000 names


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


def key(parameters: Mapping[str, Value], seed: int) -> str:
    """A replicate's name within its study."""
    return _as_text({**parameters, "seed": seed})


def replicate_key(replicate: Replicate) -> str:
    """A replicate's name, in which a baseline is told from a cell."""
    kind = "baseline" if replicate.is_baseline else "cell"
    return f"{kind} {key(replicate.parameters, replicate.seed)}"


def plan(spec: Spec, missing: Iterable[Replicate]) -> list[Pack]:
    """Group replicates into packs: those of one architecture, and among them those of one window, which jump together.

    Cells that one training is probed for stay together. Baselines ride along; packs with baselines come first, since
    every ratio needs them, then the dearest, so that all end at about the same time.
    """
    by_architecture: dict[tuple[object, ...], list[Replicate]] = {}
    for replicate in missing:
        by_architecture.setdefault(replicate.probed_with or replicate.architecture, []).append(replicate)
    chosen: list[tuple[bool, float, list[Replicate]]] = []
    for same in by_architecture.values():
        same.sort(key=lambda r: 0 if r.acceleration is None else r.acceleration.m)  # stable: in the order of the grid
        size = len(same) if same[0].probed_with else _pack_size(spec, same[0])
        packs = -(-len(same) // size)
        for number in range(packs):  # of about equal size
            members = same[number * len(same) // packs : (number + 1) * len(same) // packs]
            costs = [predict_cost(spec, replicate) for replicate in members]
            without = not any(replicate.is_baseline for replicate in members)
            chosen.append((without, -sum(cost.total for cost in costs if cost is not None), members))
    chosen.sort(key=lambda each: each[:2])
    return [
        Pack(
            id=content_hash([spec.hash(), *map(replicate_key, members)]),
            replicates=tuple(members),
            threads=spec.resources.threads,
            device="cuda" if spec.resources.gpu else "cpu",
            gpu=spec.resources.gpu,
        )
        for _, _, members in chosen
    ]


def _pack_size(spec: Spec, replicate: Replicate) -> int:
    if spec.resources.pack != "auto":
        return spec.resources.pack
    if spec.resources.gpu:
        return GPU_PACK
    cost = predict_cost(spec, replicate)
    small = cost is not None and cost.training / replicate.recipe.epochs < CPU_PACK_BELOW
    return CPU_PACK if small else 1


def make_tasks(
    spec: Spec, needed: Iterable[Replicate], progress: Callable[[int, int], None] | None = None
) -> dict[str, Task]:
    """Make the data of every task that these replicates train on."""
    tasks: dict[str, Task] = {}
    for replicate in needed:
        if replicate.task in tasks:
            continue
        problem = spec.problem(replicate.parameters)
        data = problem.data(progress)
        tasks[replicate.task] = Task(
            train_inputs=data.train_inputs,
            train_targets=data.train_targets,
            test_inputs=data.test_inputs,
            test_targets=data.test_targets,
            network=problem.network if isinstance(problem, OwnNetwork) else None,
            loss=problem.loss if isinstance(problem, OwnLoss) else None,
            accuracy=problem.accuracy if isinstance(problem, OwnAccuracy) else None,
        )
    return tasks


@dataclass(frozen=True)
class Cost:
    """Predicted cost of training replicates, in floating point operations, by what they are spent on."""

    training: float = 0.0
    jumps: float = 0.0
    judging: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Costs add up."""
        return Cost(self.training + other.training, self.jumps + other.jumps, self.judging + other.judging)

    @property
    def total(self) -> float:
        """All of it."""
        return self.training + self.jumps + self.judging


def predict_cost(spec: Spec, replicate: Replicate) -> Cost | None:
    """Cost of one replicate; None where only training tells it: of a problem's own network, or an alternative.

    An upper bound where jumps may be rejected before they are evaluated, or candidates round to the same horizon; a
    best candidate that is not the last costs one combination more.
    """
    if spec.has_own_network(replicate.parameters) or replicate.alternative is not None:
        return None
    problem = spec.problem(replicate.parameters)
    sizes, recipe = problem.sizes(), replicate.recipe
    weights = dense_weights(sizes.inputs, recipe.hidden, sizes.outputs)
    judged = evaluation_flops(weights, sizes.train_samples + sizes.test_samples)
    training = recipe.epochs * step_flops(weights, sizes.train_samples)
    if replicate.acceleration is None:
        return Cost(training, 0.0, judged)
    m = replicate.acceleration.m
    if replicate.probed_with is not None:
        probes = replicate.acceleration.probes
        return Cost(training / probed_cells(spec), probes * jump_flops(weights, m), probes * judged)
    jumps = count_jumps(problem, replicate)
    others = jumps * (len(replicate.acceleration.candidates) - 1)
    return Cost(
        training,
        jumps * jump_flops(weights, m) + others * combination_flops(weights, m),
        (2 * jumps + 1) * judged + others * evaluation_flops(weights, sizes.train_samples),
    )


def probed_cells(spec: Spec) -> int:
    """Cells that one training is probed for: all combinations of the method's axes."""
    return math.prod(len(values) for axis, values in spec.axes.items() if split_axis(axis)[0] == "method")


def count_jumps(problem: Problem, replicate: Replicate) -> int:
    """Jumps of a replicate that does not diverge."""
    return replicate.jumps(problem.sizes().train_samples)


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
