"""Outcomes of a jump, and advice about each."""

from enum import Enum


class JumpOutcome(Enum):
    """The outcome of a jump, or of a call that did not jump; `advice` says what to do about it."""

    ACCEPTED = "accepted"
    REJECTED_LOSS = "rejected_loss"
    REJECTED_RESIDUAL = "rejected_residual"
    REJECTED_INCONSISTENT = "rejected_inconsistent"
    NOT_FINITE = "not_finite"
    RANK_DEFICIENT = "rank_deficient"
    WARMING_UP = "warming_up"
    RECORDING = "recording"
    FINISHED = "finished"

    @property
    def advice(self) -> str:
        """One sentence on what happened to the weights, and what to change if it happens often."""
        return _ADVICE[self]


_ADVICE = {
    JumpOutcome.ACCEPTED: "The predicted weights were taken; training goes on from them.",
    JumpOutcome.REJECTED_LOSS: (
        "The loss would not have fallen by more than the margin, so the weights stayed; if this is frequent, lower s, "
        "raise the tolerance, or try several candidates."
    ),
    JumpOutcome.REJECTED_RESIDUAL: (
        "No linear operator maps the kept modes onto themselves to within max_residual, so the weights stayed and "
        "nothing was evaluated; raise the tolerance to keep fewer modes of noise, or raise max_residual."
    ),
    JumpOutcome.REJECTED_INCONSISTENT: (
        "The operators fitted forwards and backwards in time disagree by more than max_inconsistency, so the weights "
        "stayed and nothing was evaluated; lengthen the window m, or raise max_inconsistency."
    ),
    JumpOutcome.NOT_FINITE: (
        "The prediction or its loss was not finite, so the weights stayed; lower s, raise the tolerance, "
        'or set growth="clip", and check that training itself has not diverged.'
    ),
    JumpOutcome.RANK_DEFICIENT: (
        "The snapshots of every group were multiples of one vector and show no direction to follow, so the weights "
        "stayed; check that the optimiser moves the weights."
    ),
    JumpOutcome.WARMING_UP: "Snapshots begin after start calls, so nothing was recorded; lower start to jump sooner.",
    JumpOutcome.RECORDING: "The window is not full yet, so training goes on by itself; a jump comes with the m-th.",
    JumpOutcome.FINISHED: "The call that stop names has passed, so nothing is recorded; raise stop to jump for longer.",
}
