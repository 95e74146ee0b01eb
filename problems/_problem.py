"""The protocol every problem meets: what is trained on, and optionally by which network, loss and accuracy."""

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
    """What a problem's data will look like, known before any data exist."""

    inputs: int
    outputs: int
    train_samples: int
    test_samples: int


@dataclass(frozen=True)
class Data:
    """Scaled arrays, ready to train on. Inputs: (samples, inputs); targets: (samples, outputs); float64."""

    train_inputs: NDArray[np.float64]
    train_targets: NDArray[np.float64]
    test_inputs: NDArray[np.float64]
    test_targets: NDArray[np.float64]


@runtime_checkable
class Problem(Protocol):
    """A regression problem: a frozen dataclass whose fields are the keys of the spec's ``problem`` section.

    ``__post_init__`` raises ValueError for values that cannot be. The same fields must always give the same data, in
    every process; randomness comes from a field (``seed``) alone. By default a problem is learned by the dense network
    of the spec's ``network`` section under the mean squared error; `OwnNetwork` and `OwnLoss` change that.
    """

    def sizes(self) -> Sizes:
        """Shapes of the data; cheap, so that a study can be planned without making any data."""
        ...

    def data(self, progress: Progress | None = None) -> Data:
        """Make (or read from the cache) the scaled training and test data."""
        ...


@runtime_checkable
class OwnNetwork(Protocol):
    """Optional: the problem brings its network. The spec's ``network`` section must then be left out."""

    def network(self) -> "torch.nn.Module":
        """A freshly initialised network; torch's global generator is seeded by the caller."""
        ...


@runtime_checkable
class OwnLoss(Protocol):
    """Optional: the problem brings its loss, a scalar tensor that is the mean over the samples given."""

    def loss(self, network: "torch.nn.Module", inputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Loss of the network on these samples."""
        ...


@runtime_checkable
class OwnAccuracy(Protocol):
    """Optional: the problem tells its networks' accuracy, a scalar tensor that is the mean over the samples given."""

    def accuracy(self, network: "torch.nn.Module", inputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Share of these samples that the network gets right."""
        ...
