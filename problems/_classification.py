"""Loss, accuracy, data and network of problems whose targets are classes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from problems._problem import Data

if TYPE_CHECKING:
    import torch


class Classification:
    """A problem whose targets are rows of zeros with a one, (samples, classes); its network returns logits."""

    def loss(self, network: Callable[[Any], Any], inputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the cross entropy, averaged over the samples.

        Args:
            network: the network, or a function that evaluates it.
            inputs: (samples, inputs).
            targets: (samples, classes), rows of zeros with a one.
        """
        import torch

        return torch.nn.functional.cross_entropy(network(inputs), targets)

    def accuracy(
        self, network: Callable[[Any], Any], inputs: "torch.Tensor", targets: "torch.Tensor"
    ) -> "torch.Tensor":
        """Return the share of samples whose largest logit is that of their class.

        Args:
            network: the network, or a function that evaluates it.
            inputs: (samples, inputs).
            targets: (samples, classes), rows of zeros with a one.
        """
        right: torch.Tensor = network(inputs).argmax(dim=-1) == targets.argmax(dim=-1)
        return right.to(targets.dtype).mean()


def classification_data(
    train: NDArray[Any], train_labels: NDArray[Any], test: NDArray[Any], test_labels: NDArray[Any], classes: int
) -> Data:
    """Scale pixels to mean 0 and variance 1 over the training split, and turn labels into rows of zeros with a one.

    Args:
        train: training images, (samples, pixels).
        train_labels: whole numbers from 0, (samples,).
        test: test images.
        test_labels: labels of the test images.
        classes: number of classes.
    """
    one_hot = np.eye(classes)
    pixels = np.asarray(train, dtype=np.float64)
    mean, deviation = pixels.mean(), pixels.std()
    scaled = (np.asarray(test, dtype=np.float64) - mean) / deviation
    return Data((pixels - mean) / deviation, one_hot[train_labels], scaled, one_hot[test_labels])


def convolutional(channels: int, size: int, filters: tuple[int, ...], classes: int) -> "torch.nn.Module":
    """Make a network of blocks (3-by-3 convolution, ReLU, 2-by-2 maximum) and a linear layer on their output.

    Args:
        channels: number of channels of the images, which come flat, (samples, channels * size * size).
        size: height and width of the images.
        filters: number of filters of each block.
        classes: number of logits.
    """
    from torch import nn

    layers: list[nn.Module] = [nn.Unflatten(1, (channels, size, size))]
    for inputs, outputs in zip((channels, *filters), filters, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        size //= 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(filters[-1] * size * size, classes))


def whole_number_mistakes(problem: object, least: dict[str, int]) -> list[str]:
    """Return a line for each of these fields that is not a whole number, or is below its least value."""
    values = {name: getattr(problem, name) for name in least}
    return [
        f"{name} must be a whole number >= {least[name]}, not {value!r}"
        for name, value in values.items()
        if not isinstance(value, int) or isinstance(value, bool) or value < least[name]
    ]


def filter_mistakes(filters: tuple[int, ...], size: int) -> list[str]:
    """Return a line if these filters do not suit `convolutional` for images of this size."""
    most = int(np.log2(size))
    valid = all(isinstance(f, int) and not isinstance(f, bool) and f >= 1 for f in filters)
    if valid and 1 <= len(filters) <= most:
        return []
    return [f"filters must be 1 to {most} whole numbers >= 1, one for each halving of the images, not {filters!r}"]
