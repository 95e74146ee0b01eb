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
    """The gradients of a network's loss at many weights, evaluated together by `torch.func.vmap`.

    Weights are flat, as `torch.nn.utils.parameters_to_vector` makes them.

    Args:
        model: gives the architecture; its own weights do not matter. It must be one that vmap can transform: no
            dropout, no statistics of batches.
        loss: ``loss(network, inputs, targets)``, a scalar.
        inputs: (samples, …).
        targets: (samples, …).
        order: (batches, samples of a batch): step i trains on the rows ``order[i % batches]``. None: on all samples.
        at_once: gradients in one call at most, to bound the memory; None: all.
    """
    named = [(name, parameter.shape, parameter.numel()) for name, parameter in model.named_parameters()]

    def one(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
        parts = torch.split(weights, [size for _, _, size in named])
        whole = {name: part.view(shape) for part, (name, shape, _) in zip(parts, named, strict=True)}
        return loss(lambda *given: functional_call(model, whole, given), x, y)

    each = vmap(one, in_dims=(0, None, None) if order is None else (0, 0, 0))

    def gradient(weights: Tensor, numbers: Tensor) -> Tensor:
        size = at_once or len(weights)
        parts: list[Tensor] = []
        for some, steps in zip(torch.split(weights, size), torch.split(numbers, size), strict=True):
            rows = None if order is None else order[steps % len(order)]
            x, y = (inputs, targets) if rows is None else (inputs[rows], targets[rows])
            free = some.detach().contiguous().requires_grad_()
            if len(some) == 1:  # vmap would take twice as long
                found = one(free[0], x if rows is None else x[0], y if rows is None else y[0])
            else:
                found = each(free, x, y).sum()
            parts += torch.autograd.grad(found, free)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    return gradient
