"""Predict the memory that a replicate needs on its device, and the number of replicates that fit side by side."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from study.replicates.flops import dense_weights
from study.replicates.replicate import WITH_MOMENTUM, Replicate, Task
from study.training.cuda_graphs import GRAPHS

HEADROOM = 0.8
"""Share of the free memory that is used: allocators round up, and products need workspaces."""
_MOMENTS: Mapping[str, int] = {"adam": 2, "adamw": 2, "adadelta": 2, "adagrad": 1, "rmsprop": 1, "sgd": 0}
"""Name of an optimiser -> state values per weight, without momentum."""


class TooLarge(Exception):
    """Raised if not even one replicate fits on its device."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one replicate in training, by purpose."""

    weights: int
    gradients: int
    moments: int
    window: int
    activations: int
    recorded: int = 0
    """Bytes of a step as a CUDA graph: its gradients and activations, and copies to compare its first replay with."""

    @property
    def total(self) -> int:
        """Sum of all."""
        return self.weights + self.gradients + self.moments + self.window + self.activations + self.recorded


def predict_memory(
    replicate: Replicate,
    inputs: int,
    outputs: int,
    train_samples: int,
    test_samples: int,
    weights: int | None = None,
    *,
    recorded: bool = False,
) -> Memory:
    """Return the bytes that a replicate of a dense network adds to its stack.

    Activations count, for a batch or for an evaluation: the products and activations of every layer, the gradients of
    both for a layer and the next, and three arrays of the size of the targets in the loss.

    Args:
        replicate: replicate to train.
        inputs: numbers per sample.
        outputs: numbers per target.
        train_samples: samples of the training split.
        test_samples: samples of the test split.
        weights: number of weights, if the network is not the recipe's dense one.
        recorded: True if its steps are replayed (`study.training.cuda_graphs`).
    """
    recipe, jumping = replicate.recipe, replicate.extrapolation
    size = 8 if recipe.dtype == "float64" else 4
    count = dense_weights(inputs, recipe.hidden, outputs) if weights is None else weights
    moments = _MOMENTS[recipe.optimizer] + (recipe.optimizer in WITH_MOMENTUM and recipe.momentum > 0)
    widths = [*recipe.hidden, outputs]
    samples = max(recipe.batch or train_samples, test_samples, train_samples if jumping is not None else 0)
    stepped = recipe.batch or train_samples
    stored = 2 * sum(widths[:-1]) + outputs
    passing = 2 * max(a + b for a, b in zip([0, *widths], widths, strict=False)) + outputs
    evaluated = 2 * max(a + b for a, b in zip([0, *widths], widths, strict=False))
    step = size * stepped * (stored + passing)
    return Memory(
        weights=count * size,
        gradients=count * size,
        moments=moments * count * size,
        window=0 if jumping is None else jumping.m * count * size,
        activations=max(step, size * samples * evaluated),
        recorded=count * size * (1 + 2 * (1 + moments)) + step if recorded else 0,
    )


def free_memory(device: torch.device, gpu: float = 1.0) -> int | None:
    """Return the bytes that can still be allocated on a device, or on a share of a GPU; None if they are not known."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(min(free, gpu * total))
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def fitting(replicates: Sequence[Replicate], task: Task, device: torch.device, gpu: float = 1.0) -> int:
    """Return the number of replicates that fit side by side on the device, or on a share of a GPU.

    Args:
        replicates: replicates to train.
        task: data that they share.
        device: device to train on.
        gpu: share of the GPU.

    Raises:
        TooLarge: not even one replicate fits.
    """
    free = free_memory(device, gpu)
    if free is None:
        return len(replicates)
    inputs, outputs = task.train_inputs.shape[1], task.train_targets.shape[1]
    samples, recorded = (len(task.train_inputs), len(task.test_inputs)), device.type in GRAPHS
    needed = max(predict_memory(each, inputs, outputs, *samples, recorded=recorded).total for each in replicates)
    if needed > free:
        where = "the CPU" if device.type == "cpu" else f"{gpu:g} of a GPU"
        raise TooLarge(
            f"one replicate needs about {needed / 2**20:.4g} MiB, but {where} has {free / 2**20:.4g} MiB free. "
            f"Give more (resources.gpu), or choose a smaller m, batch or network."
        )
    return max(1, min(len(replicates), int(HEADROOM * free / needed)))
