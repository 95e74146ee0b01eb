"""Class-based PCA: compute the first layers, and train the layers above on their outputs as the recipe says."""

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
from study.training.stopwatch import Stopwatch


def train_class_pca(replicate: Replicate, method: Alternative, task: Task, device: torch.device) -> ReplicateOutcome:
    """Compute the first layers of the network with which the baseline begins, and train the other layers.

    Args:
        replicate: replicate to train.
        method: the method and its options.
        task: its data.
        device: device to train on.

    Raises:
        ValueError: the problem is not a classification, or its network is not a sequence of layers.
    """
    recipe = replicate.recipe
    network = build_network(task, recipe, replicate.seed).to(device, getattr(torch, recipe.dtype))
    if task.accuracy is None or not isinstance(network, nn.Sequential):
        raise ValueError("class-based PCA needs a classification problem and a torch.nn.Sequential as its network")
    x, y, x_test = (
        torch.tensor(np.asarray(a), dtype=getattr(torch, recipe.dtype), device=device)
        for a in (task.train_inputs, task.train_targets, task.test_inputs)
    )
    stopwatch = Stopwatch(device)
    with stopwatch("jumps"), global_generator(replicate.seed, "noise"), torch.no_grad():
        pca = ClassPCA(**method.options)  # type: ignore[arg-type]
        lower, upper, operations = pca.compute(network.eval(), x, y.argmax(dim=1))
        features, features_test = (_in_parts(lower, part) for part in (x, x_test))
    all_weights, upper_weights, lower_weights = (
        sum(p.numel() for p in part.parameters()) for part in (network, upper, lower)
    )
    above = replace(task, train_inputs=features, test_inputs=features_test, network=upper.train)
    plain = replace(replicate, method=Plain())
    outcome = train_stack([plain], above, {}, device)[0]
    plain_flops = outcome.epoch * step_flops(all_weights, len(x))
    flops = outcome.epoch * step_flops(upper_weights, len(x)) + operations
    flops += evaluation_flops(lower_weights, len(x) + len(x_test))
    return replace(
        outcome,
        replicate=replicate,
        seconds=replace(outcome.seconds, jumps=stopwatch.take()["jumps"]),
        flops=replace(outcome.flops, training=plain_flops, jumps=flops - plain_flops),
    )


def _in_parts(lower: nn.Sequential, x: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return torch.cat([lower(part) for part in torch.split(x, 1000)]).double().cpu().numpy()
