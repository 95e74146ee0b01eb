"""Checks across the sections of a spec: the problem's own rules, and that a jump can happen at all."""

import itertools
import math
from collections.abc import Callable
from typing import Any

from problems import OwnLoss, OwnNetwork, Problem
from study.errors import shortened
from study.replicates.replicate import WITH_MOMENTUM
from study.specification._alternative_checks import alternative_mistakes
from study.specification._spec import Spec, split_axis


def mistakes_together(spec: Spec, given: dict[str, dict[str, Any]]) -> list[str]:
    """Return the mistakes of a spec whose single sections are valid; ``given`` holds the sections as written."""
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
            where = f" at {cell}" if cell else ""
            mistakes.append(f"problem: {error}{where}")
            continue
        problems.append(problem)
        network_axes = [axis for axis in spec.axes if split_axis(axis)[0] == "network"]
        if isinstance(problem, OwnNetwork) and (given["network"] or network_axes):
            mistakes.append(f"network: must be left out, because {spec.problem_class.__name__} brings its own network")

    samples = [problem.sizes().train_samples for problem in problems]

    def values_of(section: str, key: str) -> tuple[Any, ...]:
        axis = key if section == "method" else f"{section}.{key}"
        return spec.axes.get(axis) or (spec.sections[section][key],)

    batches = {
        "training.batch": values_of("training", "batch"),
        "baseline.training.batch": spec.baseline.get("training.batch", ()),
    }
    for where, sizes in batches.items():
        for batch in sizes:
            if isinstance(batch, int) and samples and batch > min(samples):
                mistakes.append(f"{where}: must be at most the {min(samples)} training samples, got {batch}")
    optimizers, momenta = values_of("training", "optimizer"), values_of("training", "momentum")
    if any(momenta) and not set(optimizers) & set(WITH_MOMENTUM):
        mistakes.append(
            f"training.momentum: must be 0.0 with the optimizer {' or '.join(optimizers)}, which has none (only "
            f"{' and '.join(WITH_MOMENTUM)} have), got {max(momenta)}"
        )
    mistakes += _products_mistakes(spec, values_of, problems)
    tuned = spec.baseline.get("training.momentum", ())
    if any(tuned) and not {*optimizers, *spec.baseline.get("training.optimizer", ())} & set(WITH_MOMENTUM):
        mistakes.append(
            f"baseline.training.momentum: has no effect with the optimizer {' or '.join(optimizers)} (only "
            f"{' and '.join(WITH_MOMENTUM)} have momentum); leave it out"
        )
    mistakes += [f"axes.{a}: must be a list, because {a} is not a number" for a in spec.ranges if not spec.is_number(a)]
    if spec.design == "saltelli" and spec.sections["method"].get("mode") == "probe":
        mistakes.append("method.mode: must be train with design: saltelli; probes need a grid")
    if spec.jumps:
        mistakes += _jump_mistakes(spec, values_of, samples)
    else:
        mistakes += alternative_mistakes(str(spec.sections["method"]["name"]), values_of, problems)
    return list(dict.fromkeys(mistakes))


def _products_mistakes(
    spec: Spec, values_of: Callable[[str, str], tuple[Any, ...]], problems: list[Problem]
) -> list[str]:
    """Return a mistake if products of oneDNN are asked for in a training that cannot have them."""
    if spec.sections["training"]["products"] != "onednn":
        return []
    reasons = [
        f"training.{key} is {value}"
        for key, needed in (("dtype", "float32"), ("precision", "full"))
        for value in (*values_of("training", key), *spec.baseline.get(f"training.{key}", ()))
        if value != needed
    ]
    if any(isinstance(problem, OwnNetwork) for problem in problems):
        reasons.append(f"{spec.problem_class.__name__} brings its own network")
    if any(isinstance(problem, OwnLoss) for problem in problems):
        reasons.append(f"{spec.problem_class.__name__} brings its own loss")
    if spec.resources.gpu:
        reasons.append(f"resources.gpu is {spec.resources.gpu:g}")
    if not reasons:
        return []
    return [
        f"training.products: onednn multiplies in dense networks in float32 and full precision on the CPU, but "
        f"{' and '.join(dict.fromkeys(reasons))}; use torch or auto"
    ]


def _jump_mistakes(spec: Spec, values_of: Callable[[str, str], tuple[Any, ...]], samples: list[int]) -> list[str]:
    """Return mistakes if jumps do not go with the training around them, or if no jump can happen."""
    mistakes = []
    if "adagrad" in values_of("training", "optimizer") and "reset" in values_of("method", "moments"):
        mistakes.append("method.moments: must be keep with the optimizer adagrad, whose state cannot be reset")
    longest_m, fewest_epochs = max(values_of("method", "m")), min(values_of("training", "epochs"))
    snapshots = fewest_epochs
    if samples and "step" in values_of("method", "snapshots"):
        steps = min(1 if b == "full" else math.ceil(min(samples) / b) for b in values_of("training", "batch"))
        snapshots = fewest_epochs * (steps if values_of("method", "snapshots") == ("step",) else 1)
    start = max(values_of("method", "start"))
    snapshots -= start
    skipped = f", of which method.start skips {start}," if start else ""
    mistakes += _method_mistakes(spec, values_of) + _probe_mistakes(spec, values_of)
    if snapshots < longest_m:
        mistakes.append(
            f"training.epochs: {fewest_epochs} epochs{skipped} give {max(snapshots, 0)} snapshots, fewer than the "
            f"window m = {longest_m}, so no jump would happen; give more epochs or a smaller m"
        )
    return mistakes


def _method_mistakes(spec: Spec, values_of: Callable[[str, str], tuple[Any, ...]]) -> list[str]:
    """Return mistakes for keys of the method that do not go together in some cell."""
    mistakes = []
    m, start, margin = values_of("method", "m"), max(values_of("method", "start")), max(values_of("method", "margin"))
    if margin > 0 and "always" in values_of("method", "accept"):
        mistakes.append(f"method.margin: must be 0 with accept always, which accepts every jump, got {margin}")
    truncated = spec.rule_class is None and "rank" in spec.models["method"].model_fields
    ranks = values_of("method", "rank") if truncated else ()
    if too_large := [rank for rank in ranks if rank is not None and rank >= min(m)]:
        mistakes.append(f"method.rank: must be less than every m, got {too_large[0]} with m = {min(m)}")
    too_few = [sample for sample in values_of("method", "sample") if isinstance(sample, int) and sample < max(m)]
    if too_few:
        mistakes.append(
            f"method.sample: must be a number of weights of at least every m, so that they tell the snapshots apart, "
            f"got {too_few[0]} with m = {max(m)}"
        )
    stops = [stop for stop in values_of("method", "stop") if stop is not None]
    if stops and min(stops) < start + max(m):
        mistakes.append(
            f"method.stop: must leave room for a window, at least start + m = {start + max(m)}, got {min(stops)}"
        )
    return mistakes


def _probe_mistakes(spec: Spec, values_of: Callable[[str, str], tuple[Any, ...]]) -> list[str]:
    """Return mistakes for policies that a probe cannot test, because it takes no jump."""
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
                f"use mode train to test it"
            )
    if len(values_of("method", "snapshots")) > 1:
        mistakes.append("method.snapshots: must be one value with mode probe, got an axis")
    return mistakes
