"""One jump: propose every candidate, judge them, keep the best or none."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import distributed

from accel._jump.outcome import JumpOutcome
from accel._jump.policy import Closure, evaluate, judge, relative_error
from accel._jump.reports import Jump, Proposal

if TYPE_CHECKING:
    from accel._accelerator import Accelerator


def take_jump(
    accelerator: "Accelerator", closure: Closure | None, process_group: distributed.ProcessGroup | None
) -> Jump:
    """Jump from a full window, or leave the weights at the newest snapshot, and report; the window is not cleared.

    Raises:
        ValueError: The closure returns no scalar, or NaN at the newest snapshot.
    """
    evaluations = 0

    def loss() -> float:
        nonlocal evaluations
        assert closure is not None
        evaluations += 1
        return evaluate(closure, process_group)

    options = accelerator.options
    before = loss() if closure is not None and options.schedule_uses_loss else None
    proposals = [accelerator.propose(s) for s in accelerator.horizons(before)]
    refusals = [accelerator.refuses(proposal) for proposal in proposals]
    fit = [proposal for proposal, refusal in zip(proposals, refusals, strict=True) if refusal is None]
    best, after = proposals[0], None
    if not fit:
        assert refusals[0] is not None
        outcome = refusals[0]
    elif closure is None:
        best = fit[0]
        outcome = JumpOutcome.ACCEPTED if accelerator.apply(best) else JumpOutcome.NOT_FINITE
    else:
        before = loss() if before is None else before
        if math.isnan(before):
            raise ValueError("the closure must return the loss, got NaN at the weights that training reached")
        best, after = _best(accelerator, fit, loss)
        outcome = JumpOutcome.NOT_FINITE if after is None else judge(options.accept, before, after, options.margin)
    if fit and outcome is not JumpOutcome.ACCEPTED:
        accelerator.restore()
    ratio = None if before is None or after is None else relative_error(before, after)
    if closure is not None and outcome is JumpOutcome.NOT_FINITE:
        ratio = math.inf
    best.groups.settle()
    return Jump(accelerator.calls, best.s, best.groups, before, after, ratio, outcome, evaluations)


def _best(
    accelerator: "Accelerator", proposals: Sequence[Proposal], loss: Callable[[], float]
) -> tuple[Proposal, float | None]:
    """The proposal of lowest loss, which is then applied, and that loss; None where nothing could be evaluated."""
    losses: dict[int, float] = {}
    for index, proposal in enumerate(proposals):
        if accelerator.apply(proposal):  # not if the parameters' dtype cannot hold the float64 values
            losses[index] = loss()
    if not losses:
        return proposals[0], None
    best = min(losses, key=lambda index: math.inf if math.isnan(losses[index]) else losses[index])
    if best != len(proposals) - 1:
        accelerator.apply(proposals[best])
    return proposals[best], losses[best]
