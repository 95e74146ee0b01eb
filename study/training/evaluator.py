"""Losses of a stack of networks on whole splits, in the precision that their recipe asks for."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from study.replicates.replicate import Recipe
from study.training.data import Data
from study.training.networks import Networks


class Evaluator:
    """Judges the networks of a stack.

    Args:
        recipe: Says the precision of matrix products.
        data: Both splits.
        networks: The networks that are trained.
        judged: The networks that are judged in their place, such as an average of weights; None for the trained ones.
        keeps_forward: True if the training loss of all networks is that of a step, whose forward pass may be kept.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        networks: Networks,
        judged: Networks | None = None,
        *,
        keeps_forward: bool = False,
    ) -> None:
        self._recipe, self._data, self._networks = recipe, data, networks
        self._judged = judged or networks
        self._keeps_forward = keeps_forward
        self._forward: tuple[Tensor, float] | None = None

    def losses(self, split: str, part: slice = slice(None), *, keep_forward: bool = False) -> Tensor:
        """Return the losses on a split, (K,), of the networks at these places of the stack.

        Args:
            split: ``train`` or ``test``.
            part: places of the networks.
            keep_forward: True to keep the forward pass for `take_forward`, where it can be that of a step.
        """
        x, y = self._data.split(split)
        with precision(self._recipe, x.device):
            everything = len(range(len(self._networks))[part]) == len(self._networks)
            if not (keep_forward and self._keeps_forward and everything):
                return self._judged.judge(x, y, part)
            start_s = time.perf_counter()
            losses = self._networks.losses(x, y)
            self._forward = losses, time.perf_counter() - start_s
            return losses.detach()

    def take_forward(self) -> tuple[Tensor, float] | None:
        """Return the latest forward pass that was kept, and forget it.

        Returns:
            Losses with the graph of their gradients, and the seconds that they took; None if none was kept.
        """
        forward, self._forward = self._forward, None
        return forward

    def losses_at(self, split: str, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the losses on a split of the networks with these stacked weights, (K, *shape) each."""
        x, y = self._data.split(split)
        with precision(self._recipe, x.device):
            return self._networks.judge_at(weights, x, y)

    def accuracies(self, accuracy: Callable[[Any, Any, Any], Any]) -> dict[str, list[float]]:
        """Return the accuracy of each replicate on both splits, by column of the table."""
        splits = {split: self._data.split(split) for split in ("train", "test")}
        return {f"accuracy_{split}": self._judged.accuracies(accuracy, x, y) for split, (x, y) in splits.items()}


@contextmanager
def precision(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Lower the precision of matrix products if the recipe asks for it; weights and updates keep their dtype."""
    if recipe.precision == "full":
        yield
    elif recipe.precision == "bf16":
        with torch.autocast(device.type, torch.bfloat16):
            yield
    else:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
