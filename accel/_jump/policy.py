"""Decides whether a jump is taken, before and after its prediction is evaluated."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, distributed

from accel._jump.options import JumpOptions
from accel._jump.outcome import JumpOutcome
from accel._jump.reports import Proposal

Closure = Callable[[], Tensor | float]
"""Returns the loss, without a backward pass."""


def refuse(proposal: Proposal, options: JumpOptions) -> JumpOutcome | None:
    """Return the ground against a prediction that needs no evaluation; None if there is none.

    Groups that stay at their newest snapshot do not count.
    """
    if not proposal.finite:
        return JumpOutcome.NOT_FINITE
    if proposal.deficient:
        return JumpOutcome.RANK_DEFICIENT
    if options.max_residual is not None and proposal.groups.worst("residual") > options.max_residual:
        return JumpOutcome.REJECTED_RESIDUAL
    if options.max_inconsistency is not None and proposal.groups.worst("inconsistency") > options.max_inconsistency:
        return JumpOutcome.REJECTED_INCONSISTENT
    return None


def judge(options: JumpOptions, loss_before: float | None, loss_after: float | None) -> JumpOutcome:
    """Return the outcome of a finite prediction.

    With ``accept="improve"``, ``loss_after`` must be below (1 - margin) ``loss_before``.

    Args:
        options: Which jumps are accepted.
        loss_before: Loss at the newest snapshot; None if it was not evaluated.
        loss_after: Loss at the prediction; None if it was not evaluated.
    """
    if loss_after is not None and not math.isfinite(loss_after):
        return JumpOutcome.NOT_FINITE
    if options.accept == "always":
        return JumpOutcome.ACCEPTED
    improved = (
        loss_after is not None
        and loss_before is not None
        and loss_after < loss_before
        and loss_after < loss_before - options.margin * abs(loss_before)
    )
    return JumpOutcome.ACCEPTED if improved else JumpOutcome.REJECTED_LOSS


def relative_error(loss_before: float, loss_after: float) -> float:
    """Return the paper's relative error of a jump, loss_after / loss_before; +inf if it is not finite, 1 for 0 / 0."""
    if loss_before == 0:
        return 1.0 if loss_after == 0 else math.inf
    ratio = loss_after / loss_before
    return ratio if math.isfinite(ratio) else math.inf


def evaluate(closure: Closure, process_group: distributed.ProcessGroup | None = None) -> float:
    """Evaluate a closure without gradients, and return its loss; the mean over the processes if there are several.

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
