"""What problems share whose targets are classes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from problems._problem import Data

if TYPE_CHECKING:
    import torch


class Classification:
    """Targets are classes, (samples, classes) of zeros and a one; the network's outputs are logits."""

    def loss(self, network: Callable[[Any], Any], inputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Cross entropy, mean over the samples."""
        import torch

        return torch.nn.functional.cross_entropy(network(inputs), targets)

    def accuracy(
        self, network: Callable[[Any], Any], inputs: "torch.Tensor", targets: "torch.Tensor"
    ) -> "torch.Tensor":
        """Share of the samples whose largest logit is that of their class."""
        right: torch.Tensor = network(inputs).argmax(dim=-1) == targets.argmax(dim=-1)
        return right.to(targets.dtype).mean()


def classification_data(
    train: NDArray[Any], train_labels: NDArray[Any], test: NDArray[Any], test_labels: NDArray[Any], classes: int
) -> Data:
    """Pixels scaled to mean 0 and variance 1 over the whole training split, labels as rows of zeros and a one.

    Args:
        train: training images, (samples, pixels).
        train_labels: whole numbers from 0, (samples,).
        test: test images.
        test_labels: theirs.
        classes: how many there are.
    """
    one_hot = np.eye(classes)
    pixels = np.asarray(train, dtype=np.float64)
    mean, deviation = pixels.mean(), pixels.std()
    scaled = (np.asarray(test, dtype=np.float64) - mean) / deviation
    return Data((pixels - mean) / deviation, one_hot[train_labels], scaled, one_hot[test_labels])


def convolutional(channels: int, size: int, filters: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Blocks of a 3-by-3 convolution, ReLU and 2-by-2 maxima, and a linear layer on what is left.

    Args:
        channels: of the images, which come flat, (samples, channels * size * size).
        size: their height and width.
        filters: of each block.
        classes: logits.
    """
    from torch import nn

    layers: list[nn.Module] = [nn.Unflatten(1, (channels, size, size))]
    for inputs, outputs in zip((channels, *filters), filters, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        size //= 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(filters[-1] * size * size, classes))


def whole_number_mistakes(problem: object, least: dict[str, int]) -> list[str]:
    """A line for each of these fields that is not a whole number, or below its least value."""
    values = {name: getattr(problem, name) for name in least}
    return [
        f"{name} must be a whole number >= {least[name]}, not {value!r}"
        for name, value in values.items()
        if not isinstance(value, int) or isinstance(value, bool) or value < least[name]
    ]


def filter_mistakes(filters: tuple[int, ...], size: int) -> list[str]:
    """What is wrong with the filters of `convolutional` for images of this size."""
    most = int(np.log2(size))
    whole = all(isinstance(f, int) and not isinstance(f, bool) and f >= 1 for f in filters)
    if whole and 1 <= len(filters) <= most:
        return []
    return [f"filters must be 1 to {most} whole numbers >= 1, one for each halving of the images, not {filters!r}"]
