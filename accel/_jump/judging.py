"""The judge of a jump: propose every candidate, compare their losses, and take the best one or none.

K replicates are judged at once, each by its own options; an `Accelerator` is K = 1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from accel._jump.options import JumpOptions
from accel._jump.outcome import JumpOutcome
from accel._jump.policy import judge, relative_error
from accel._jump.reports import Proposal
from accel._jump.stacked import StackedAccelerator

Evaluate = Callable[[Sequence[int]], Sequence[float]]
"""(replicates whose losses are needed) -> losses of all K replicates, with the weights that they have now."""


@dataclass(frozen=True)
class Verdict:
    """The judge's decision about one replicate's jump."""

    proposal: Proposal
    """The candidate of lowest loss; the first candidate where none was evaluated."""
    outcome: JumpOutcome
    loss_before: float | None = None
    """Loss at the newest snapshot; None if it was not evaluated."""
    loss_after: float | None = None
    """Loss at the proposal; None if it was not evaluated."""
    evaluations: int = 0
    """Number of losses that this replicate needed."""
    extra_combinations: int = 0
    """Number of times that snapshots were combined into weights, beyond the first of the jump."""

    @property
    def accepted(self) -> bool:
        """True if the weights are now the predicted ones."""
        return self.outcome is JumpOutcome.ACCEPTED

    @property
    def ratio(self) -> float | None:
        """loss_after / loss_before; +inf if the prediction or its loss is not finite, None if it was not evaluated."""
        if self.outcome is JumpOutcome.NOT_FINITE:
            return math.inf
        if self.loss_before is None or self.loss_after is None:
            return None
        return relative_error(self.loss_before, self.loss_after)


@dataclass
class _Case:
    """One replicate's jump while it is judged."""

    proposals: list[Proposal]
    """All candidates."""
    fit: list[Proposal]
    """Candidates that are not refused; empty if there is no sense in trying them."""
    refusal: JumpOutcome | None
    """Reason why no candidate is tried."""
    loss_before: float | None
    evaluations: int
    losses: dict[int, float | None] = field(default_factory=dict)
    """Place in ``fit`` -> loss, of the candidates that are finite in the parameters' dtype."""

    @property
    def best(self) -> int | None:
        """Place in ``fit`` of the lowest loss, where NaN counts as infinite; None if nothing could be evaluated."""
        return min(self.losses, key=lambda place: _rank(self.losses[place]), default=None)

    @property
    def choice(self) -> Proposal | None:
        """The best candidate; None if nothing could be evaluated."""
        return None if self.best is None else self.fit[self.best]

    @property
    def is_open(self) -> bool:
        """True if candidates are tried."""
        return bool(self.fit)

    def verdict(self, options: JumpOptions) -> Verdict:
        """Decide, after all candidates have been tried."""
        best, after = self.best, None
        if not self.is_open:
            assert self.refusal is not None
            return Verdict(self.proposals[0], self.refusal, self.loss_before, None, self.evaluations)
        if best is None:
            outcome = JumpOutcome.NOT_FINITE
        else:
            after = self.losses[best]
            outcome = judge(options, self.loss_before, after)
        applied_again = best is not None and best != len(self.fit) - 1
        return Verdict(
            self.fit[best or 0],
            outcome,
            self.loss_before,
            after,
            self.evaluations,
            extra_combinations=len(self.fit) - 1 + applied_again,
        )


def judge_jump(
    stack: StackedAccelerator,
    evaluate: Evaluate | None,
    *,
    at_newest: Callable[[Sequence[int]], object] = lambda replicates: None,
    at_choice: Callable[[Sequence[int]], object] = lambda replicates: None,
) -> list[Verdict]:
    """Judge the jump of every replicate from its full window, and write the weights that it goes on with.

    These are the predicted ones of an accepted jump, and the newest snapshot's of any other. The windows are not
    cleared. A loss of NaN at a newest snapshot makes the outcome NOT_FINITE, with ``loss_before`` NaN. If an exception
    comes out of a callable, the weights may be those of any candidate: `StackedAccelerator.restore` them.

    Args:
        stack: Windows of K replicates, and the options that each is judged by.
        evaluate: Gives the losses that decide; all replicates are evaluated in one call. None: the first candidate is
            taken if it is finite, whatever its loss; options that need a loss need ``evaluate``.
        at_newest: Called once with the replicates whose candidates are about to be tried, while all weights are those
            of the newest snapshot; not called if there is none.
        at_choice: Called once with the replicates that have a best candidate, while its weights are applied; not called
            if there is none, or without ``evaluate``.

    Returns:
        One verdict per replicate.
    """
    cases = _open_cases(stack, evaluate)
    tried = [k for k, case in enumerate(cases) if case.is_open]
    if tried:
        at_newest(tried)
        applied = _try_candidates(stack, cases, evaluate)
        choices = [case.choice for case in cases]
        judged = [k for k in tried if choices[k] is not None]
        if judged and any(now is not wanted for now, wanted in zip(applied, choices, strict=True)):
            stack.apply(choices)
        if judged and evaluate is not None:
            at_choice(judged)
    verdicts = [case.verdict(options) for case, options in zip(cases, stack.options, strict=True)]
    if tried and not any(verdict.accepted for verdict in verdicts):
        stack.restore()
    elif any(not verdicts[k].accepted for k in tried):
        stack.apply([verdict.proposal if verdict.accepted else None for verdict in verdicts])
    return verdicts


def _open_cases(stack: StackedAccelerator, evaluate: Evaluate | None) -> list[_Case]:
    """Propose all candidates, refuse those that need no evaluation, and evaluate the newest snapshots of the others."""
    replicates = range(len(stack.options))
    losses: dict[int, float] = {}

    def evaluate_newest(chosen: Sequence[int]) -> None:
        if evaluate is not None and chosen:
            values = evaluate(chosen)
            losses.update((k, values[k]) for k in chosen)

    evaluate_newest([k for k in replicates if stack.options[k].schedule_uses_loss])
    horizons = [stack.horizons(k, losses.get(k)) for k in replicates]
    rounds = [
        stack.propose([steps[min(turn, len(steps) - 1)] for steps in horizons])
        for turn in range(max(map(len, horizons)))
    ]
    cases = []
    for k in replicates:
        proposals = [each[k] for each in rounds[: len(horizons[k])]]
        refusals = [stack.refuses(k, proposal) for proposal in proposals]
        fit = [proposal for proposal, reason in zip(proposals, refusals, strict=True) if reason is None]
        cases.append(_Case(proposals, fit, refusals[0], None, 0))
    evaluate_newest([k for k in replicates if cases[k].is_open and k not in losses])
    for k, loss in losses.items():
        cases[k].loss_before, cases[k].evaluations = loss, 1
        if cases[k].is_open and math.isnan(loss):
            cases[k].fit, cases[k].refusal = [], JumpOutcome.NOT_FINITE
    return cases


def _try_candidates(
    stack: StackedAccelerator, cases: Sequence[_Case], evaluate: Evaluate | None
) -> list[Proposal | None]:
    """Apply and evaluate the candidates, one of each replicate at a time; return those that were applied last."""
    applied: list[Proposal | None] = []
    for turn in range(max(len(case.fit) for case in cases) if evaluate is not None else 1):
        applied = [case.fit[turn] if turn < len(case.fit) else None for case in cases]
        finite = stack.apply(applied).tolist()  # the parameters' dtype may not hold the float64 values
        sound = [k for k, proposal in enumerate(applied) if proposal is not None and finite[k]]
        losses = evaluate(sound) if evaluate is not None and sound else None
        for k in sound:
            cases[k].losses[turn] = None if losses is None else losses[k]
            cases[k].evaluations += losses is not None
    return applied


def _rank(loss: float | None) -> float:
    return math.inf if loss is None or math.isnan(loss) else loss
