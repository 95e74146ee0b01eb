"""Random numbers of a replicate: separate streams from its seed, which do not depend on the axes of the method."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from study.replicates.replicate import Recipe

STREAMS = {"weights": 0, "batches": 1, "noise": 2}
"""Name of a stream -> its number."""


def stream_seed(seed: int, stream: str) -> int:
    """Return the seed of a stream of a replicate."""
    return int(np.random.SeedSequence([seed, STREAMS[stream]]).generate_state(1, np.uint64)[0] >> 1)


def batch_orders(recipe: Recipe, seed: int, samples: int) -> Iterator[torch.Tensor]:
    """Yield the order of the samples in each epoch, without end.

    Args:
        recipe: recipe of the training.
        seed: seed of the replicate.
        samples: number of samples.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, "batches"))
    while True:
        if recipe.order == "fixed":
            yield torch.arange(samples)
        else:
            yield torch.randperm(samples, generator=generator)


@contextmanager
def global_generator(seed: int, stream: str) -> Iterator[None]:
    """Seed torch's global generator for code that can draw from no other; restore its state afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, stream))
        yield
