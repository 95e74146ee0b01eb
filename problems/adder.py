"""Addition of binary numbers, the larger problem of Schroder's multigrid over training steps (arXiv:1708.02276)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from problems._classification import whole_number_mistakes
from problems._logic import Logic, sigmoid_network
from problems._problem import Data, Progress, Sizes

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Adder(Logic):
    """Pairs of binary numbers and their sum, without its carry out of the last bit: 24-128-64-12, 12,032 weights.

    `problems._logic.Logic` says how learning rates relate to the paper's.

    Args:
        bits: number of bits of each number.
        samples: number of training pairs, each drawn evenly from all pairs.
        test_samples: number of test pairs.
        seed: seed of the draw.
    """

    bits: int = 12
    samples: int = 500
    test_samples: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = whole_number_mistakes(self, {"bits": 1, "samples": 1, "test_samples": 1, "seed": 0})
        if not wrong and self.bits > 62:
            wrong.append(f"bits must be at most 62, not {self.bits}")
        if wrong:
            raise ValueError("adder: " + "; ".join(wrong))

    def sizes(self) -> Sizes:
        """Return the shapes of the data."""
        return Sizes(2 * self.bits, self.bits, self.samples, self.test_samples)

    def data(self, progress: Progress | None = None) -> Data:
        """Make the data; instant. Bits are 0 and 1, the highest first."""
        total = self.samples + self.test_samples
        pairs = np.random.default_rng(self.seed).integers(0, 2**self.bits, (total, 2))
        inputs = np.concatenate([self._in_binary(pairs[:, 0]), self._in_binary(pairs[:, 1])], axis=1)
        targets = self._in_binary(pairs.sum(axis=1))
        if progress is not None:
            progress(total, total)
        cut = self.samples
        return Data(inputs[:cut], targets[:cut], inputs[cut:], targets[cut:])

    def network(self) -> "torch.nn.Module":
        """Make a network 2·bits-128-64-bits with fresh weights."""
        return sigmoid_network(2 * self.bits, 128, 64, self.bits)

    def _in_binary(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(numbers[:, None] >> np.arange(self.bits)[::-1] & 1, dtype=np.float64)
