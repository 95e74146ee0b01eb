"""The protocol of a problem: its data, and optionally its network, loss and accuracy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` while a dataset is made."""


@dataclass(frozen=True)
class Sizes:
    """Shapes of a problem's data, known before any data exist."""

    inputs: int
    outputs: int
    train_samples: int
    test_samples: int


@dataclass(frozen=True)
class Data:
    """Scaled arrays to train on, float64: inputs (samples, inputs) and targets (samples, outputs)."""

    train_inputs: NDArray[np.float64]
    train_targets: NDArray[np.float64]
    test_inputs: NDArray[np.float64]
    test_targets: NDArray[np.float64]


@runtime_checkable
class Problem(Protocol):
    """A regression problem: a frozen dataclass whose fields are the keys of the spec's ``problem`` section.

    ``__post_init__`` raises ValueError for values that make no sense. The same fields must give the same data in every
    process: all randomness comes from a field, ``seed``. By default the dense network of the spec's ``network`` section
    learns the problem under the mean squared error; `OwnNetwork` and `OwnLoss` change that.
    """

    def sizes(self) -> Sizes:
        """Return the shapes of the data. Must be cheap: a study is planned without making any data."""
        ...

    def data(self, progress: Progress | None = None) -> Data:
        """Make the scaled training and test data, or read them from the cache."""
        ...


@runtime_checkable
class OwnNetwork(Protocol):
    """A problem with a network of its own. The spec must then have no ``network`` section."""

    def network(self) -> "torch.nn.Module":
        """Make a freshly initialised network. The caller has seeded torch's global generator."""
        ...


@runtime_checkable
class OwnLoss(Protocol):
    """A problem with a loss of its own."""

    def loss(self, network: "torch.nn.Module", inputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the loss of the network as a scalar tensor, the mean over these samples.

        Args:
            network: the network to evaluate.
            inputs: (samples, inputs).
            targets: (samples, outputs).
        """
        ...


@runtime_checkable
class OwnAccuracy(Protocol):
    """A problem that can tell the accuracy of a network."""

    def accuracy(self, network: "torch.nn.Module", inputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the share of these samples that the network gets right, as a scalar tensor.

        Args:
            network: the network to evaluate.
            inputs: (samples, inputs).
            targets: (samples, outputs).
        """
        ...
