"""Exclusive or, the smallest problem of Schroder's multigrid over training steps (arXiv:1708.02276)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from problems._logic import Logic, sigmoid_network
from problems._problem import Data, Progress, Sizes

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Xor(Logic):
    """The four cases of a xor b, with a third input that is always 1: Trask's network in 11 lines, 3-4-1, 16 weights.

    The truth table is both training and test data. The paper's batch training at α = 1 is ``lr: 4`` here, see
    `problems._logic.Logic`.
    """

    def sizes(self) -> Sizes:
        """Return the shapes of the data."""
        return Sizes(3, 1, 4, 4)

    def data(self, progress: Progress | None = None) -> Data:
        """Make the data; instant."""
        inputs = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
        targets = np.array([[0.0], [1.0], [1.0], [0.0]])
        if progress is not None:
            progress(4, 4)
        return Data(inputs, targets, inputs.copy(), targets.copy())

    def network(self) -> "torch.nn.Module":
        """Make a network 3-4-1 with fresh weights."""
        return sigmoid_network(3, 4, 1)
