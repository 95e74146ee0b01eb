"""Data of a task on a device, and the batches of an epoch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.replicates.replicate import Recipe, Task
from study.training.random_streams import batch_orders


@dataclass(frozen=True)
class Data:
    """Inputs and targets of both splits."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    @classmethod
    def of(cls, task: Task, dtype: torch.dtype, device: torch.device) -> "Data":
        """Copy a task's arrays to a device.

        Args:
            task: The data.
            dtype: Of the tensors.
            device: Where they go.
        """
        arrays = (task.train_inputs, task.train_targets, task.test_inputs, task.test_targets)
        # a copy, since arrays out of an object store are read-only
        return cls(*(torch.tensor(np.asarray(a), dtype=dtype, device=device) for a in arrays))

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of the split ``train`` or ``test``."""
        return (self.x, self.y) if name == "train" else (self.x_test, self.y_test)


class Batches:
    """Batches of each epoch; replicates of one seed see the same ones, whatever else runs.

    Args:
        data: The training split is drawn from.
        recipe: Size and order of the batches.
        seeds: Seeds of all replicates.
    """

    def __init__(self, data: Data, recipe: Recipe, seeds: Iterable[int]) -> None:
        self._data, self._size = data, recipe.batch
        self._orders = {seed: batch_orders(recipe, seed, len(data.x)) for seed in set(seeds)}

    def epoch(self, running: Callable[[], Sequence[int]]) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """Yield inputs, targets, and True if all replicates share them.

        Args:
            running: Gives the seeds of the replicates that still run, in the order of the stack, before each batch.
        """
        data, size = self._data, self._size
        if size is None:
            yield data.x, data.y, True
            return
        drawn = {seed: _sent(next(orders), data.x.device) for seed, orders in self._orders.items()}
        for start in range(0, len(data.x), size):
            seeds = running()
            if not seeds:
                return
            shared = len(set(seeds)) == 1
            rows = [drawn[seed][start : start + size] for seed in (seeds[:1] if shared else seeds)]
            index = rows[0] if shared else torch.stack(rows)
            yield data.x[index], data.y[index], shared


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """Copy to the device, without waiting for what it still has to do."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values
