"""Predicted cost of replicates, in floating point operations."""

import math
from dataclasses import dataclass

from problems import Problem
from study.replicates.flops import combination_flops, dense_weights, evaluation_flops, jump_flops, step_flops
from study.replicates.replicate import Replicate
from study.specification import Spec, split_axis


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
