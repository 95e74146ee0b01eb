"""Losses of a stack of networks on whole splits, in the precision that their recipe asks for."""

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
    """

    def __init__(self, recipe: Recipe, data: Data, networks: Networks, judged: Networks | None = None) -> None:
        self._recipe, self._data, self._networks = recipe, data, networks
        self._judged = judged or networks

    def losses(self, split: str, part: slice = slice(None)) -> Tensor:
        """Return the losses on a split, (K,), of the networks at these places of the stack."""
        x, y = self._data.split(split)
        with precision(self._recipe, x.device):
            return self._judged.judge(x, y, part)

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
