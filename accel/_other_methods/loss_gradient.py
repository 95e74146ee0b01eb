"""Gradients of a network's loss at many weights, in one call."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from accel._other_methods.mgrit import Gradient


def loss_gradient(
    model: nn.Module,
    loss: Callable[[Any, Tensor, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    order: Tensor | None = None,
    at_once: int | None = None,
) -> Gradient:
    """Return a function that evaluates the gradients of a network's loss at many weights, by `torch.func.vmap`.

    Weights are flat, in the order of `torch.nn.utils.parameters_to_vector`.

    Args:
        model: gives the architecture; its weights are not used. vmap must be able to transform it: no dropout, no
            statistics of batches.
        loss: ``loss(network, inputs, targets)``, a scalar.
        inputs: (samples, …).
        targets: (samples, …).
        order: (batches, samples of a batch); step i trains on the rows ``order[i % batches]``. None: on all samples.
        at_once: largest number of gradients in one call, to bound the memory; None: all.
    """
    named = [(name, parameter.shape, parameter.numel()) for name, parameter in model.named_parameters()]

    def loss_at(weights: Tensor, *batch: Tensor) -> Tensor:
        parts = torch.split(weights, [size for _, _, size in named])
        parameters = {name: part.view(shape) for part, (name, shape, _) in zip(parts, named, strict=True)}
        return loss(lambda *given: functional_call(model, parameters, given), *batch)

    losses_at = vmap(loss_at, in_dims=(0, None, None) if order is None else (0, 0, 0))

    def gradient(weights: Tensor, numbers: Tensor) -> Tensor:
        size = at_once or len(weights)
        gradients: list[Tensor] = []
        for part, steps in zip(torch.split(weights, size), torch.split(numbers, size), strict=True):
            rows = None if order is None else order[steps % len(order)]
            x, y = (inputs, targets) if rows is None else (inputs[rows], targets[rows])
            free = part.detach().contiguous().requires_grad_()
            if len(part) == 1:  # vmap would take twice as long
                total = loss_at(free[0], x if rows is None else x[0], y if rows is None else y[0])
            else:
                total = losses_at(free, x, y).sum()
            gradients += torch.autograd.grad(total, free)
        return gradients[0] if len(gradients) == 1 else torch.cat(gradients)

    return gradient
