"""Handwritten digits, 8 by 8 pixels, from scikit-learn: a classification that trains in seconds."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from problems._classification import (
    Classification,
    classification_data,
    convolutional,
    filter_mistakes,
    whole_number_mistakes,
)
from problems._problem import Data, Progress, Sizes

if TYPE_CHECKING:
    import torch

IMAGES = 1797
SIZE = 8
CLASSES = 10


@dataclass(frozen=True)
class Digits(Classification):
    """The 1797 digits of `sklearn.datasets.load_digits` for a dense network, under the cross entropy.

    Args:
        samples: number of training samples.
        test_samples: number of test samples, drawn from the others.
        seed: seed of both draws.
    """

    samples: int = 1437
    test_samples: int = 360
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = whole_number_mistakes(self, {"samples": CLASSES, "test_samples": 1, "seed": 0})
        if not wrong and self.samples + self.test_samples > IMAGES:
            wrong.append(f"samples and test_samples must be at most {IMAGES} together, not {self.samples} and "
                         f"{self.test_samples}")  # fmt: skip
        if wrong:
            raise ValueError("digits: " + "; ".join(wrong))

    def sizes(self) -> Sizes:
        """Return the shapes of the data."""
        return Sizes(SIZE * SIZE, CLASSES, self.samples, self.test_samples)

    def data(self, progress: Progress | None = None) -> Data:
        """Read the data; instant, without a download."""
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        drawn = np.random.default_rng(self.seed).permutation(IMAGES)
        train, test = drawn[: self.samples], drawn[self.samples : self.samples + self.test_samples]
        if progress is not None:
            progress(len(train) + len(test), len(train) + len(test))
        return classification_data(images[train], labels[train], images[test], labels[test], CLASSES)


@dataclass(frozen=True)
class DigitsConv(Digits):
    """The same digits for a convolutional network, `problems._classification.convolutional`.

    Args:
        filters: number of filters of each convolution.
    """

    filters: tuple[int, ...] = (10, 20)

    def __post_init__(self) -> None:
        super().__post_init__()
        if wrong := filter_mistakes(self.filters, SIZE):
            raise ValueError("digits_conv: " + "; ".join(wrong))

    def network(self) -> "torch.nn.Module":
        """Make the network, with torch's own initial weights."""
        return convolutional(1, SIZE, tuple(self.filters), CLASSES)
