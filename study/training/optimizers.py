"""Torch's optimisers, for one network or for a stack of networks."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from study.replicates.replicate import WITH_MOMENTUM, Recipe
from study.training.networks import Networks

_KINDS: Mapping[str, Any] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
}
Attach = Callable[[torch.optim.Optimizer, nn.Module], tuple[torch.optim.Optimizer, nn.Module]]
"""(optimiser, network) -> (optimiser that takes the steps instead, network that is judged)."""
_FUSED = ("adam", "adamw", "sgd", "adagrad")
_COUNTS_ON_HOST = ("adam", "adamw", "rmsprop", "adadelta")
"""Optimisers that by default keep the count of steps on the host, where a recorded step could not change it."""


def hyperparameters(recipe: Recipe) -> dict[str, float]:
    """Return the options in which replicates of one stack may differ."""
    options = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    return options | ({"momentum": recipe.momentum} if recipe.optimizer in WITH_MOMENTUM else {})


class StackOptimizer:
    """One torch optimiser for all networks of a stack.

    Neighbouring networks with equal hyperparameters form a block, in which each parameter is one tensor. Torch's update
    is elementwise, so it is the same as for each network alone. A network whose state may be reset has its own block.

    Args:
        networks: networks to train.
        recipes: one per network; all name the same optimiser.
        resets: True for each network whose state may be reset.
    """

    def __init__(self, networks: Networks, recipes: Sequence[Recipe], resets: Sequence[bool]) -> None:
        self._networks = networks
        self._recipes = list(recipes)
        keys = [
            (tuple(hyperparameters(recipe).items()), place if reset else -1)
            for place, (recipe, reset) in enumerate(zip(recipes, resets, strict=True))
        ]
        runs = itertools.groupby(keys)
        self._block_numbers = [number for number, (_, run) in enumerate(runs) for _ in run]
        """Number of the block of each network."""
        self._blocks: list[slice] = []
        self._tensors: list[list[Tensor]] = []
        self._optimizer: torch.optim.Optimizer
        self._lay_out()

    def step(self, losses: Tensor) -> None:
        """Take a step down the gradients of these losses, (K,)."""
        for parameter in self._networks.trainable:
            parameter.grad = None
        losses.sum().backward()  # type: ignore[no-untyped-call]
        if len(self._blocks) > 1:
            for block, tensors in zip(self._blocks, self._tensors, strict=True):
                for tensor, stacked in zip(tensors, self._networks.trainable, strict=True):
                    assert stacked.grad is not None
                    tensor.grad = stacked.grad[block]
        self._optimizer.step()

    def attach(self, attach: Attach) -> nn.Module:
        """Attach something to the optimiser of the only network; return the network to judge."""
        self._optimizer, judged = attach(self._optimizer, self._networks.module)
        return judged

    @property
    def state(self) -> list[Tensor]:
        """Tensors of the optimiser's state, which each step changes in place."""
        states = [self._optimizer.state.get(tensor, {}) for tensors in self._tensors for tensor in tensors]
        return [value for state in states for value in state.values() if isinstance(value, Tensor)]

    def reset(self, place: int) -> None:
        """Set the state of the network at this place to that before the first step, in the same memory."""
        for tensor in self._tensors[self._block_of(place)]:
            for value in self._optimizer.state.get(tensor, {}).values():
                if isinstance(value, Tensor):
                    value.zero_()

    def keep(self, places: Sequence[int]) -> None:
        """Keep only the networks at these places; call it after `Networks.keep`."""
        old = [(self._block_of(place), place) for place in places]
        states = []
        for block, members in itertools.groupby(old, key=lambda each: each[0]):
            rows = [place - self._blocks[block].start for _, place in members]
            states.append([_rows(self._optimizer.state.get(t, {}), t, rows) for t in self._tensors[block]])
        self._recipes = [self._recipes[place] for place in places]
        self._block_numbers = [self._block_numbers[place] for place in places]
        self._lay_out()
        for tensors, kept in zip(self._tensors, states, strict=True):
            for tensor, state in zip(tensors, kept, strict=True):
                if state:
                    self._optimizer.state[tensor] = state

    def _block_of(self, place: int) -> int:
        return next(index for index, block in enumerate(self._blocks) if block.start <= place < block.stop)

    def _lay_out(self) -> None:
        recipe = self._recipes[0]
        runs = [len(list(run)) for _, run in itertools.groupby(self._block_numbers)]
        stops = list(itertools.accumulate(runs))
        self._blocks = [slice(stop - size, stop) for size, stop in zip(runs, stops, strict=True)]
        stacked = self._networks.trainable
        if len(self._blocks) == 1:
            self._tensors = [stacked]
        else:
            self._tensors = [[p.detach()[block].requires_grad_() for p in stacked] for block in self._blocks]
        groups = [
            {"params": tensors, **hyperparameters(self._recipes[block.start])}
            for block, tensors in zip(self._blocks, self._tensors, strict=True)
        ]
        self._optimizer = _KINDS[recipe.optimizer](groups, **_options(recipe.optimizer, stacked[0].is_cuda))


def _options(optimizer: str, on_cuda: bool) -> dict[str, bool]:
    # before torch 2.13, Adagrad's fused update raises on CUDA
    can_fuse = not (optimizer == "adagrad" and on_cuda and torch.__version__ < "2.13")
    options = {"fused": True} if optimizer in _FUSED and can_fuse else {}
    return options | ({"capturable": True} if optimizer in _COUNTS_ON_HOST and on_cuda else {})


def _rows(state: Mapping[str, Any], tensor: Tensor, rows: list[int]) -> dict[str, Any]:
    """Return the state of these rows of a tensor; values of another shape, as the count of steps, are shared."""
    return {
        key: value[rows] if isinstance(value, Tensor) and value.shape == tensor.shape else value
        for key, value in state.items()
    }
