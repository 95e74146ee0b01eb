"""MNIST and CIFAR-10, downloaded from OpenML by scikit-learn when their data are first used.

The usual loader, torchvision, can be imported only if it fits the build of torch. scikit-learn needs no torch.
"""

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from problems._classification import (
    Classification,
    classification_data,
    convolutional,
    filter_mistakes,
    whole_number_mistakes,
)
from problems._problem import Data, Progress, Sizes
from problems.pollutant import _cache

if TYPE_CHECKING:
    import torch

CLASSES = 10


@dataclass(frozen=True)
class Source:
    """A dataset of OpenML: its number there, the sizes of its splits (training first), and the shape of its images."""

    title: str
    data_id: int
    train: int
    test: int
    channels: int
    size: int

    @property
    def pixels(self) -> int:
        """Number of values of an image."""
        return self.channels * self.size**2

    def load(self) -> Mapping[str, NDArray[Any]]:
        """Return ``images`` (train + test, pixels) and ``labels``, as bytes, from the cache or by a download into it.

        Raises:
            RuntimeError: they are not in the cache and cannot be downloaded.
            OSError: the cache cannot be used.
        """
        total = self.train + self.test
        shapes = {"images": (total, self.pixels), "labels": (total,)}
        return _cache.load_or_make(self.title.lower(), {"openml": self.data_id}, self._download, shapes)

    def _download(self) -> dict[str, NDArray[Any]]:
        from sklearn.datasets import fetch_openml

        folder = _cache.folder()
        print(
            f"Downloading {self.title} from openml.org into {folder}; this is done once, and can take minutes",
            file=sys.stderr,
            flush=True,
        )
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="A network error occurred")  # the error below says so
                dataset = fetch_openml(
                    data_id=self.data_id, data_home=folder, n_retries=1, as_frame=False, parser="pandas"
                )
        except OSError as error:  # also URLError and TimeoutError
            raise RuntimeError(
                f"{self.title} could not be downloaded from openml.org ({error}); connect this machine to the network, "
                f"or copy {_cache.path(self.title.lower(), {'openml': self.data_id})} from one that has it"
            ) from error
        images, labels = np.asarray(dataset.data, dtype=np.uint8), np.asarray(dataset.target).astype(np.uint8)
        if images.shape != (self.train + self.test, self.pixels):
            raise RuntimeError(
                f"{self.title} of openml.org must be {self.train + self.test} images of {self.pixels} pixels, got "
                f"an array of {images.shape}"
            )
        return {"images": images, "labels": labels}


MNIST = Source("MNIST", data_id=554, train=60_000, test=10_000, channels=1, size=28)
CIFAR10 = Source("CIFAR-10", data_id=40_927, train=50_000, test=10_000, channels=3, size=32)


@dataclass(frozen=True)
class _Images(Classification):
    """Images for a convolutional network, `problems._classification.convolutional`.

    Args:
        samples: number of training images, drawn from the training split.
        test_samples: number of test images, drawn from the test split.
        seed: seed of both draws.
        filters: number of filters of each convolution.
    """

    source: ClassVar[Source]
    samples: int = 10_000
    test_samples: int = 10_000
    seed: int = 0
    filters: tuple[int, ...] = (20, 40)

    def __post_init__(self) -> None:
        wrong = whole_number_mistakes(self, {"samples": CLASSES, "test_samples": 1, "seed": 0})
        for name, most in (("samples", self.source.train), ("test_samples", self.source.test)):
            if not wrong and getattr(self, name) > most:
                wrong.append(
                    f"{name} must be at most the {most} that {self.source.title} has, not {getattr(self, name)}"
                )
        wrong += filter_mistakes(self.filters, self.source.size)
        if wrong:
            raise ValueError(f"{type(self).__name__.lower()}: " + "; ".join(wrong))

    def sizes(self) -> Sizes:
        """Return the shapes of the data."""
        return Sizes(self.source.pixels, CLASSES, self.samples, self.test_samples)

    def data(self, progress: Progress | None = None) -> Data:
        """Read the data from the cache of datasets; the first time, say so and download them."""
        arrays = self.source.load()
        draw, first = np.random.default_rng(self.seed), self.source.train
        train = draw.permutation(first)[: self.samples]
        test = first + draw.permutation(self.source.test)[: self.test_samples]
        if progress is not None:
            progress(len(train) + len(test), len(train) + len(test))
        images, labels = arrays["images"], arrays["labels"]
        return classification_data(images[train], labels[train], images[test], labels[test], CLASSES)

    def network(self) -> "torch.nn.Module":
        """Make the network, with torch's own initial weights."""
        return convolutional(self.source.channels, self.source.size, tuple(self.filters), CLASSES)


@dataclass(frozen=True)
class Mnist(_Images):
    """Handwritten digits, 28 by 28 pixels: 60,000 for training and 10,000 for testing (LeCun, Cortes & Burges).

    Args:
        samples: number of training images, drawn from the training split.
        test_samples: number of test images, drawn from the test split.
        seed: seed of both draws.
        filters: number of filters of each convolution of its network.
    """

    source: ClassVar[Source] = MNIST


@dataclass(frozen=True)
class Cifar10(_Images):
    """Colour photographs of ten kinds, 32 by 32 pixels: 50,000 for training and 10,000 for testing (Krizhevsky).

    Args:
        samples: number of training images, drawn from the training split.
        test_samples: number of test images, drawn from the test split.
        seed: seed of both draws.
        filters: number of filters of each convolution of its network.
    """

    source: ClassVar[Source] = CIFAR10
    filters: tuple[int, ...] = (30, 60)
