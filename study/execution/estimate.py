"""Estimate the cost of a study before it is run: count its operations and, on request, time a few steps."""

from dataclasses import replace

import numpy as np

from study.errors import UserError
from study.planning.cells import baselines, plain_trainings, replicates
from study.planning.costs import count_jumps, predict_cost
from study.replicates.outcome import Breakdown
from study.replicates.replicate import Pack, Replicate, Task
from study.specification import Spec

TIMED_WINDOWS = 2
"""Number of windows, each followed by a jump, that are trained to time them."""


def estimate(spec: Spec) -> list[tuple[str, str]]:
    """Count cells, replicates, jumps and floating point operations, without importing torch or making data.

    Returns:
        (name, amount) pairs.
    """
    trained, plain = replicates(spec), plain_trainings(spec)
    probed = spec.sections["method"].get("mode") == "probe"
    axes = " x ".join(f"{len(values)} {axis}" for axis, values in spec.axes.items())
    if spec.samples is not None:
        axes = f"saltelli, {spec.samples:,} samples of {', '.join(spec.axes)}"
    lines = [
        ("cells", f"{len(trained) // len(spec.seeds):,} ({axes})"),
        ("replicates", f"{len(trained):,} ({len(spec.seeds)} seed{'s' * (len(spec.seeds) > 1)})"),
        ("baselines", f"{len(plain):,}"),
        *([("fresh replicates at the end", f"2 x {spec.confirm}")] if spec.confirm and not probed else []),
    ]
    costs = [predict_cost(spec, replicate) for replicate in [*trained, *plain]]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        why = "only training shows the number of steps"
        if spec.jumps:
            why = "the problem brings its own network; use --time to measure a few steps"
        return [*lines, ("operations", f"not known: {why}")]
    jumps = sum(count_jumps(spec.problem(r.parameters), r) for r in trained)
    jumps_or_probes = ("jumps", f"{jumps:,}")
    if probed:
        probes = spec.sections["method"]["probes"]
        jumps_or_probes = (
            "probes",
            f"{probes * len(trained):,} ({probes} per replicate, along {len(baselines(spec))} trainings)",
        )
    total = sum(known, Breakdown())
    return [
        *lines,
        jumps_or_probes,
        ("training", _operations(total.training)),
        ("jumps", _operations(total.jumps)),
        ("judging jumps", _operations(total.judging)),
        ("total", _operations(total.total)),
    ]


def timing(spec: Spec) -> list[tuple[str, str]]:
    """Train a few steps and jumps with the smallest and the largest window, and scale their times up to the study.

    Returns:
        (name, amount) pairs.

    Raises:
        UserError: training fails.
    """
    if not spec.jumps:
        name = spec.sections["method"]["name"]
        raise UserError(
            f"--time measures steps and jumps, but only training shows how many steps the method {name} takes; "
            f"leave --time out"
        )
    import torch

    from study.execution.protocol import call_here
    from study.execution.settle_products import choose
    from study.training.packs import train_pack

    device = "cuda" if spec.resources.gpu and torch.cuda.is_available() else "cpu"
    trained = replicates(spec)
    windows = sorted({r.extrapolation.m for r in trained if r.extrapolation is not None})
    choice = choose(spec, call_here)
    products = "torch" if choice is None else choice.chosen
    measured = {}
    for m in {windows[0], windows[-1]}:
        same_m = [r for r in trained if r.extrapolation is not None and r.extrapolation.m == m]
        replicate = max(same_m, key=lambda r: _step_cost(spec, r))
        short = replace(replicate, recipe=replace(replicate.recipe, epochs=TIMED_WINDOWS * m)).settled(products)
        pack = Pack("timing", (short,), spec.resources.threads, device)
        outcome = train_pack(pack, {short.task: _random_task(spec, short)}, spec.rules)[0]
        if outcome.status == "failed":
            raise UserError(f"the study cannot be timed, because its training fails:\n{outcome.reason}")
        jumps = max(len(outcome.jumps.epoch), 1)
        measured[m] = (
            outcome.seconds.training / outcome.steps,
            (outcome.seconds.jumps + outcome.seconds.recording) / jumps,
            outcome.seconds.judging / jumps,
        )
    step_s = min(seconds[0] for seconds in measured.values())
    largest = max(_step_cost(spec, replicate) for replicate in trained)
    total_s = 0.0
    for replicate in [*trained, *plain_trainings(spec)]:
        relative_cost = _step_cost(spec, replicate) / largest
        total_s += relative_cost * _steps(spec, replicate) * step_s
        if replicate.extrapolation is None:
            continue
        jumps = count_jumps(spec.problem(replicate.parameters), replicate)
        sizes = sorted(measured)
        per_jump_s = sum(np.interp(replicate.extrapolation.m, sizes, [measured[m][i] for m in sizes]) for i in (1, 2))
        total_s += relative_cost * jumps * float(per_jump_s)
    return [
        ("device", "CUDA" if device == "cuda" else f"CPU, {spec.resources.threads} thread(s)"),
        *([("products", products)] if products == "onednn" else []),
        ("one step", f"{1e3 * step_s:.3g} ms"),
        *(
            (f"one jump at m = {m}", f"{1e3 * t[1]:.3g} ms, and {1e3 * t[2]:.3g} ms to judge it")
            for m, t in sorted(measured.items())
        ),
        ("all replicates, one at a time", _duration(total_s)),
    ]


def _step_cost(spec: Spec, replicate: Replicate) -> float:
    """Return the operations of a step; 1.0 if they are not known for a study, as with a problem's own network."""
    cost = predict_cost(spec, replicate)
    return 1.0 if cost is None else cost.training / _steps(spec, replicate)


def _steps(spec: Spec, replicate: Replicate) -> int:
    batch = replicate.recipe.batch
    per_epoch = 1 if batch is None else -(-spec.problem(replicate.parameters).sizes().train_samples // batch)
    return replicate.recipe.epochs * per_epoch


def _random_task(spec: Spec, replicate: Replicate) -> Task:
    from problems import OwnLoss, OwnNetwork

    problem = spec.problem(replicate.parameters)
    sizes, draw = problem.sizes(), np.random.default_rng(0)
    return Task(
        train_inputs=draw.uniform(-1, 1, (sizes.train_samples, sizes.inputs)),
        train_targets=draw.uniform(-1, 1, (sizes.train_samples, sizes.outputs)),
        test_inputs=draw.uniform(-1, 1, (sizes.test_samples, sizes.inputs)),
        test_targets=draw.uniform(-1, 1, (sizes.test_samples, sizes.outputs)),
        network=problem.network if isinstance(problem, OwnNetwork) else None,
        loss=problem.loss if isinstance(problem, OwnLoss) else None,
    )


def _operations(flops: float) -> str:
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6)):
        if flops >= size:
            return f"{flops / size:.3g} {unit}"
    return f"{flops:.0f} FLOP"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} minutes" if seconds < 7200 else f"{seconds / 3600:.3g} hours"
