"""Averages of weights along a training, as controls: of all weights so far (EMA), or of every k steps (Lookahead).

Both accompany plain training step by step. They come from torch (`torch.optim.swa_utils`) and pytorch-optimizer.
"""

from dataclasses import replace

import torch
from torch import nn
from torch.optim import Optimizer

from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Alternative, Plain, Replicate, Task
from study.training.optimizers import Attach
from study.training.stack import train_stack

_LERP = 3.0
"""Floating point operations of one a + w (b - a)."""


def train_ema(replicate: Replicate, method: Alternative, task: Task, device: torch.device) -> ReplicateOutcome:
    """Train plainly, and judge the exponential moving average of the weights after each step: decay · average + ….

    The average begins with the weights after the first step. It does not average a network's statistics of batches.

    Args:
        replicate: replicate to train.
        method: the method and its options.
        task: its data.
        device: device to train on.
    """
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    decay = _options(method)["decay"]

    def attach(optimizer: Optimizer, network: nn.Module) -> tuple[Optimizer, nn.Module]:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        optimizer.register_step_post_hook(lambda *_: average.update_parameters(network))
        return optimizer, average.module

    return _train(replicate, task, device, attach, every=1)


def train_lookahead(replicate: Replicate, method: Alternative, task: Task, device: torch.device) -> ReplicateOutcome:
    """Train with Lookahead (Zhang et al. 2019, arXiv:1907.08610): every k steps, go to slow + alpha (fast - slow).

    The optimiser's moments are kept. The loss is that of the fast weights, which equal the slow ones every k steps.

    Args:
        replicate: replicate to train.
        method: the method and its options.
        task: its data.
        device: device to train on.
    """
    import pytorch_optimizer  # imported here, since this takes a second

    options = _options(method)

    def attach(optimizer: Optimizer, network: nn.Module) -> tuple[Optimizer, nn.Module]:
        return pytorch_optimizer.Lookahead(optimizer, k=int(options["k"]), alpha=options["alpha"]), network

    return _train(replicate, task, device, attach, every=int(options["k"]))


def _options(method: Alternative) -> dict[str, float]:
    return {name: float(value) for name, value in method.options.items()}  # type: ignore[arg-type]


def _train(replicate: Replicate, task: Task, device: torch.device, attach: Attach, *, every: int) -> ReplicateOutcome:
    weights = 0

    def count(optimizer: Optimizer, network: nn.Module) -> tuple[Optimizer, nn.Module]:
        nonlocal weights
        weights = sum(parameter.numel() for parameter in network.parameters())
        return attach(optimizer, network)

    plain = replace(replicate, method=Plain())
    outcome = train_stack([plain], task, {}, device, attach=count)[0]
    return replace(
        outcome, replicate=replicate, flops=replace(outcome.flops, jumps=outcome.steps // every * _LERP * weights)
    )
