"""Outcomes of jumps in words, and how often each came about."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from study.replicates.outcome import ACCEPTED, NOT_RECORDED, PROBED

LABELS = {
    ACCEPTED: "accepted",
    PROBED: "evaluated, not taken (probe)",
    "rejected_loss": "rejected: loss not low enough",
    "not_finite": "rejected: not finite",
    "rejected_residual": "rejected: residual too large",
    "rejected_inconsistent": "rejected: inconsistent",
    "rank_deficient": "rejected: no direction to follow",
    NOT_RECORDED: "not accepted, reason not recorded",
}
"""Outcome -> words, in the order in which legends and tables list them."""


def outcomes_of(row: Mapping[str, Any]) -> list[str]:
    """Return the outcome of each jump of a replicate.

    Older records tell only which jumps were accepted; the others are `NOT_RECORDED`.
    """
    if row["jump_outcome"] is not None:
        return list(row["jump_outcome"])
    return [ACCEPTED if taken else NOT_RECORDED for taken in row["jump_accepted"]]


def count_outcomes(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of jumps by outcome, in the order of `LABELS`; empty if no outcome was recorded."""
    rows = [row for row in rows if row["jump_accepted"]]  # others, such as baselines, have no jumps
    if all(row["jump_outcome"] is None for row in rows):
        return {}
    counts = Counter(outcome for row in rows for outcome in outcomes_of(row))
    return {outcome: counts[outcome] for outcome in LABELS if counts[outcome]}
