"""The keys of a spec's top level in words, for the manual. `_validate` checks them, `Spec` holds their values."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TopLevelKey:
    """One key of the top level in words.

    Args:
        kind: Kind of its value, with bounds.
        default: Value if it is left out.
        meaning: Effect of the key, in one or two sentences.
    """

    kind: str
    default: str
    meaning: str


TOP_LEVEL_KEYS: Mapping[str, TopLevelKey] = {
    "name": TopLevelKey(
        "1 to 64 letters, digits, `.`, `_` or `-`",
        "must be given",
        "Name of the study. Its folder is `results/NAME` unless `--out` names another.",
    ),
    "problem": TopLevelKey("mapping", "must be given", "The problem to train on: its name and its keys; see below."),
    "network": TopLevelKey("mapping", "see below", "The dense network that learns the problem; see below."),
    "training": TopLevelKey("mapping", "see below", "Plain training, which replicates share with their baselines."),
    "method": TopLevelKey("mapping", "`{name: dmd}`", "The accelerator that is studied: its name and its keys."),
    "axes": TopLevelKey(
        "mapping; each value a list, `{from, to, step}`, or a range `{from, to, log}`",
        "must be given",
        "The keys that vary, one or more. A key of `method` stands alone (`m`), other keys with their section "
        "(`training.lr`). A range is for `search` and for `design: saltelli`.",
    ),
    "baseline": TopLevelKey(
        "mapping of keys of `training` to lists",
        "none",
        "Values that baselines alone are trained with, so that plain training is tuned as well, for example "
        "`{training.lr: [1e-3, 3e-3, 1e-2]}`. With several keys, all combinations.",
    ),
    "seeds": TopLevelKey(
        "whole number ≥ 1, or a list of different whole numbers ≥ 0",
        "`1`",
        "Seeds that every cell is trained with. A number N stands for the seeds 0 to N - 1.",
    ),
    "confirm": TopLevelKey(
        "0, or a whole number from 2 to 100",
        "`0`",
        "Number of fresh seeds that the recommended cell and the best plain training are trained with at the end. The "
        "answer then reports these: the best of many cells looks better than it is.",
    ),
    "smallest_effect": TopLevelKey(
        "number above 0 and below 1",
        "`0.02`",
        "Smallest gain that matters, as a part of the final loss. The answer is no if such a gain is excluded.",
    ),
    "design": TopLevelKey(
        "`grid`, `saltelli`, `search`",
        "`grid`",
        "Which cells there are: all combinations of the axis values, samples for Sobol' indices, or the cells that a "
        "search asks for. `dmd-study search` sets `search` by itself.",
    ),
    "samples": TopLevelKey(
        "a power of two from 2 on",
        "none",
        "Number of samples. It must be given with `design: saltelli`, and only there.",
    ),
    "resources": TopLevelKey("mapping", "see below", "The resources of each pack; see below."),
}
"""Key -> its words; the same keys as `study.specification._spec.TOP_LEVEL`."""
