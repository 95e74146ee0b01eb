"""Class-based PCA: the first layers are computed, those above them trained as the recipe says, on what they give."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from accel import ClassPCA
from study.replicates.flops import evaluation_flops, step_flops
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Alternative, Plain, Replicate, Task
from study.training.networks import build_network
from study.training.random_streams import global_generator
from study.training.stack import train_stack
from study.training.stopwatch import Clock


def train_class_pca(replicate: Replicate, method: Alternative, task: Task, device: torch.device) -> ReplicateOutcome:
    """Compute the first layers of the network that the baseline begins with, and train the rest of it.

    Raises:
        ValueError: the problem is no classification, or its network no sequence of layers that can be computed.
    """
    recipe = replicate.recipe
    network = build_network(task, recipe, replicate.seed).to(device, getattr(torch, recipe.dtype))
    if task.accuracy is None or not isinstance(network, nn.Sequential):
        raise ValueError("class-based PCA needs a classification, learned by a torch.nn.Sequential")
    x, y, x_test = (
        torch.tensor(np.asarray(a), dtype=getattr(torch, recipe.dtype), device=device)
        for a in (task.train_inputs, task.train_targets, task.test_inputs)
    )
    clock = Clock(device)
    with clock("jumps"), global_generator(replicate.seed, "noise"), torch.no_grad():
        pca = ClassPCA(**method.options)  # type: ignore[arg-type]
        lower, upper, operations = pca.compute(network.eval(), x, y.argmax(dim=1))
        features, features_test = (_in_parts(lower, part) for part in (x, x_test))
    whole, own, below = (sum(p.numel() for p in part.parameters()) for part in (network, upper, lower))
    above = replace(task, train_inputs=features, test_inputs=features_test, network=upper.train)
    plain = replace(replicate, method=Plain())
    outcome = train_stack([plain], above, {}, device)[0]
    plainly = outcome.epoch * step_flops(whole, len(x))
    spent = outcome.epoch * step_flops(own, len(x)) + operations + evaluation_flops(below, len(x) + len(x_test))
    return replace(
        outcome,
        replicate=replicate,
        seconds=replace(outcome.seconds, jumps=clock.take()["jumps"]),
        flops=replace(outcome.flops, training=plainly, jumps=spent - plainly),
    )


def _in_parts(lower: nn.Sequential, x: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return torch.cat([lower(part) for part in torch.split(x, 1000)]).double().cpu().numpy()
