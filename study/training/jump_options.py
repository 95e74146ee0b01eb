"""Options that `accel` takes, from a replicate's method."""

from collections.abc import Callable, Mapping
from typing import Any

from accel import RULES, ByLoss, Decay, Horizon, JumpOptions, Linear, Rule
from study.replicates.replicate import Jumps, Replicate
from study.training.random_streams import stream_seed


def build_options(replicate: Replicate, rules: Mapping[str, Callable[..., Rule]], samples: int) -> JumpOptions:
    """Make the options of a replicate's jumps, taken or probed.

    Args:
        replicate: A replicate with jumps.
        rules: The user's own rules by name.
        samples: Number of training samples.
    """
    jumps = replicate.extrapolation
    assert jumps is not None
    known: dict[str, Callable[..., Rule]] = {**RULES, **rules}
    options: dict[str, Any] = dict(jumps.options)
    return JumpOptions(
        known[jumps.rule](**jumps.rule_options),
        m=jumps.m,
        s=build_horizon(jumps, replicate.jump_count(samples)),
        seed=stream_seed(replicate.seed, "noise"),
        **options,
    )


def build_horizon(jumps: Jumps, count: int) -> int | Horizon:
    """Make the schedule of s over so many jumps of a training."""
    count = max(jumps.horizon_jumps or count, 1)
    schedules: dict[str, Callable[[], int | Horizon]] = {
        "constant": lambda: jumps.s,
        "linear": lambda: Linear(jumps.s, count),
        "decay": lambda: Decay(jumps.s, count),
        "loss": lambda: ByLoss(jumps.s),
    }
    return schedules[jumps.horizon]()


def resets_moments(replicate: Replicate) -> bool:
    """Return True if an accepted jump makes the replicate's optimiser start afresh."""
    jumps = replicate.extrapolation
    return jumps is not None and jumps.options.get("moments") == "reset"
