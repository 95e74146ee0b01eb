"""Whether a jump is taken."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, distributed

from accel._jump.outcome import JumpOutcome
from accel._jump.reports import Proposal

Closure = Callable[[], Tensor | float]


Accept = Literal["always", "improve"]


Moments = Literal["keep", "reset"]


def refuse(proposal: Proposal, max_residual: float | None, max_inconsistency: float | None) -> JumpOutcome | None:
    """Grounds against a prediction that need no evaluation; None if there are none. Groups that stay do not count."""
    if not proposal.finite:
        return JumpOutcome.NOT_FINITE
    if proposal.deficient:
        return JumpOutcome.RANK_DEFICIENT
    if max_residual is not None and proposal.groups.worst("residual") > max_residual:
        return JumpOutcome.REJECTED_RESIDUAL
    if max_inconsistency is not None and proposal.groups.worst("inconsistency") > max_inconsistency:
        return JumpOutcome.REJECTED_INCONSISTENT
    return None


def judge(accept: Accept, loss_before: float | None, loss_after: float | None, margin: float = 0.0) -> JumpOutcome:
    """Outcome of a finite prediction, given the loss at the newest snapshot and at the prediction where known.

    With ``"improve"``, loss_after must be below (1 - margin) loss_before.
    """
    if loss_after is not None and not math.isfinite(loss_after):
        return JumpOutcome.NOT_FINITE
    if accept == "improve":
        improved = (
            loss_after is not None
            and loss_before is not None
            and loss_after < loss_before
            and loss_after < loss_before - margin * abs(loss_before)
        )
        return JumpOutcome.ACCEPTED if improved else JumpOutcome.REJECTED_LOSS
    return JumpOutcome.ACCEPTED


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
