"""Whether a jump is taken: the outcomes there are, and the judgements that pick one."""

import math
from collections.abc import Callable
from enum import Enum
from typing import Literal

import torch
from torch import Tensor, distributed

from accel._reports import Proposal

Closure = Callable[[], Tensor | float]
Accept = Literal["always", "improve"]
Moments = Literal["keep", "reset"]


class Outcome(Enum):
    """What became of a jump, or of a call that did not jump; `advice` says what to make of it."""

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
        """One sentence: what happened to the weights, and what to change if it happens often."""
        return _ADVICE[self]


_ADVICE = {
    Outcome.ACCEPTED: "The predicted weights were taken; training goes on from them.",
    Outcome.REJECTED_LOSS: (
        "The loss would not have fallen by more than the margin, so the weights stayed; if this is frequent, lower s, "
        "raise the tolerance, or try several candidates."
    ),
    Outcome.REJECTED_RESIDUAL: (
        "No linear operator maps the kept modes onto themselves to within max_residual, so the weights stayed and "
        "nothing was evaluated; raise the tolerance to keep fewer modes of noise, or raise max_residual."
    ),
    Outcome.REJECTED_INCONSISTENT: (
        "The operators fitted forwards and backwards in time disagree by more than max_inconsistency, so the weights "
        "stayed and nothing was evaluated; lengthen the window m, or raise max_inconsistency."
    ),
    Outcome.NOT_FINITE: (
        "The prediction or its loss was not finite, so the weights stayed; lower s, raise the tolerance, "
        'or set growth="clip", and check that training itself has not diverged.'
    ),
    Outcome.RANK_DEFICIENT: (
        "The snapshots of every group were multiples of one vector and show no direction to follow, so the weights "
        "stayed; check that the optimiser moves the weights."
    ),
    Outcome.WARMING_UP: "Snapshots begin after start calls, so nothing was recorded; lower start to jump sooner.",
    Outcome.RECORDING: "The window is not full yet, so training goes on by itself; a jump comes with the m-th.",
    Outcome.FINISHED: "The call that stop names has passed, so nothing is recorded; raise stop to jump for longer.",
}


def refuse(proposal: Proposal, max_residual: float | None, max_inconsistency: float | None) -> Outcome | None:
    """Grounds against a prediction that need no evaluation; None if there are none. Groups that stay do not count."""
    if not proposal.finite:
        return Outcome.NOT_FINITE
    if proposal.deficient:
        return Outcome.RANK_DEFICIENT
    if max_residual is not None and proposal.groups.worst("residual") > max_residual:
        return Outcome.REJECTED_RESIDUAL
    if max_inconsistency is not None and proposal.groups.worst("inconsistency") > max_inconsistency:
        return Outcome.REJECTED_INCONSISTENT
    return None


def judge(accept: Accept, loss_before: float | None, loss_after: float | None, margin: float = 0.0) -> Outcome:
    """Outcome of a finite prediction, given the loss at the newest snapshot and at the prediction where known.

    With ``"improve"``, loss_after must be below (1 - margin) loss_before.
    """
    if loss_after is not None and not math.isfinite(loss_after):
        return Outcome.NOT_FINITE
    if accept == "improve":
        improved = (
            loss_after is not None
            and loss_before is not None
            and loss_after < loss_before
            and loss_after < loss_before - margin * abs(loss_before)
        )
        return Outcome.ACCEPTED if improved else Outcome.REJECTED_LOSS
    return Outcome.ACCEPTED


def relative_error(loss_before: float, loss_after: float) -> float:
    """The paper's relative error of a jump, loss_after / loss_before; +inf where that is not finite, 1 for 0 / 0."""
    if loss_before == 0:
        return 1.0 if loss_after == 0 else math.inf
    ratio = loss_after / loss_before
    return ratio if math.isfinite(ratio) else math.inf


def evaluate(closure: Closure, process_group: distributed.ProcessGroup | None = None) -> float:
    """The loss that a closure returns, evaluated without gradients; its mean over the processes, if there are several.

    Every process of ``process_group`` (None: all of them, where torch.distributed is initialised) must call this at the
    same time; all get the same number and so decide alike.

    Raises:
        ValueError: It is no scalar.
    """
    with torch.no_grad():
        value = closure()
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"the closure must return a scalar loss, got a tensor of shape {tuple(value.shape)}")
        device = value.device
        value = float(value)
    elif isinstance(value, int | float):
        device = torch.device("cpu")
    else:
        raise ValueError(f"the closure must return a scalar loss, got {value!r}")
    if not (distributed.is_available() and distributed.is_initialized()):
        return float(value)
    processes = distributed.get_world_size(process_group)
    if processes < 2:
        return float(value)
    if distributed.get_backend(process_group) == "nccl" and device.type != "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    total = torch.tensor(float(value), dtype=torch.float64, device=device)
    distributed.all_reduce(total, group=process_group)
    return float(total) / processes
