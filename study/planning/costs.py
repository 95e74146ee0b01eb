"""Predicted cost of replicates, in floating point operations."""

import math

from problems import Problem
from study.replicates.flops import combination_flops, dense_weights, evaluation_flops, jump_flops, step_flops
from study.replicates.outcome import Breakdown
from study.replicates.replicate import Alternative, Probes, Replicate
from study.specification import Spec, split_axis


def predict_cost(spec: Spec, replicate: Replicate) -> Breakdown | None:
    """Predict the cost of one replicate in operations.

    None if only training shows it: for a problem's own network, and for an alternative. It is an upper bound if jumps
    are rejected before they are evaluated, or if candidates round to the same horizon. A best candidate that is not the
    last costs one combination more.
    """
    if spec.has_own_network(replicate.parameters) or isinstance(replicate.method, Alternative):
        return None
    problem = spec.problem(replicate.parameters)
    sizes, recipe = problem.sizes(), replicate.recipe
    weights = dense_weights(sizes.inputs, recipe.hidden, sizes.outputs)
    judged = evaluation_flops(weights, sizes.train_samples + sizes.test_samples)
    training = recipe.epochs * step_flops(weights, sizes.train_samples)
    jumping = replicate.extrapolation
    if jumping is None:
        return Breakdown(training, 0.0, judged)
    m = jumping.m
    if isinstance(replicate.method, Probes):
        probes = replicate.method.count
        return Breakdown(training / probed_cells(spec), probes * jump_flops(weights, m), probes * judged)
    jumps = count_jumps(problem, replicate)
    others = jumps * (jumping.candidates - 1)
    return Breakdown(
        training,
        jumps * jump_flops(weights, m) + others * combination_flops(weights, m),
        (2 * jumps + 1) * judged + others * evaluation_flops(weights, sizes.train_samples),
    )


def probed_cells(spec: Spec) -> int:
    """Count the cells that one training is probed for: all combinations of the method's axes."""
    return math.prod(len(values) for axis, values in spec.axes.items() if split_axis(axis)[0] == "method")


def count_jumps(problem: Problem, replicate: Replicate) -> int:
    """Count the jumps of a replicate that does not diverge."""
    return replicate.jump_count(problem.sizes().train_samples)
