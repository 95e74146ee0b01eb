"""Randomness of a replicate: separate streams from its seed, which no method axis touches."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from study.replicates.replicate import Recipe

STREAMS = {"weights": 0, "batches": 1, "noise": 2}


def stream_seed(seed: int, stream: str) -> int:
    """Seed of one of the streams of a replicate."""
    return int(np.random.SeedSequence([seed, STREAMS[stream]]).generate_state(1, np.uint64)[0] >> 1)


def batch_orders(recipe: Recipe, seed: int, samples: int) -> Iterator[torch.Tensor]:
    """The samples in the order that each epoch's batches take them, without end."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "batches"))
    while True:
        if recipe.order == "fixed":
            yield torch.arange(samples)
        else:
            yield torch.randperm(samples, generator=generator)


@contextmanager
def global_generator(seed: int, stream: str) -> Iterator[None]:
    """Torch's global generator, seeded, for code that draws from no other; afterwards it is as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, stream))
        yield
