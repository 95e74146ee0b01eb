"""Random samples of a group's weights, from which its operator is fitted.

An operator depends on how the snapshots of a group relate to each other, and a sample of the weights shows that as well
as all of them (compressed dynamic mode decomposition: Brunton, Proctor, Tu & Kutz 2015, doi:10.3934/jcd.2015002;
Erichson, Brunton & Kutz 2019, doi:10.1007/s11554-016-0655-2). The prediction still covers every weight. That weights
are drawn in blocks is ours: a processor reads memory by the block.

| symbol | meaning                                                              | shape  |
|--------|----------------------------------------------------------------------|--------|
| n, k   | weights in a part of a group, weights drawn from it                  |        |
| W, C W | its snapshots, the rows of W that were drawn, times sqrt(n / k)      |        |
| R      | RᵀR = (C W)ᵀ (C W), whose expected value is WᵀW                       | (m, m) |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from accel._fields import Bounds

Sample = Literal["all"] | Annotated[float, Bounds(above=0, below=1)] | Annotated[int, Bounds(at_least=2)]
"""Weights of each group that its operator is fitted to: all, a share, or a number."""

LEAST = 1 << 13
"""Weights that a share takes of every group that has as many: with so few, factors cost next to nothing."""
_WIDEST_BLOCK = 64  # weights; four cache lines of float32
_BLOCKS = 256  # drawn at least, while a block has more than one weight


@dataclass(frozen=True)
class Drawn:
    """Weights drawn from a part of a group, for K replicates, each by its own stream."""

    offsets: tuple[int, ...]
    """K numbers of weights to leave out before the first block."""
    blocks: Tensor
    """(K, drawn) int64, ascending; numbers of the blocks."""
    width: int
    """Weights in a block."""
    scale: float
    """sqrt(n / k); see the module."""

    @property
    def count(self) -> int:
        """Number of weights drawn for each replicate."""
        return self.blocks.shape[1] * self.width

    def take(self, values: Tensor) -> Tensor:
        """Return (..., K, k), the weights that were drawn from (..., K, n)."""
        rows = values.flatten(0, -3) if values.dim() > 2 else values[None]
        taken = rows.new_empty(*rows.shape[:2], self.blocks.shape[1], self.width)
        for replicate, blocks in enumerate(self.blocks.to(values.device)):
            start = self.offsets[replicate]
            count = (values.shape[-1] - start) // self.width
            for row, into in zip(rows[:, replicate, start : start + count * self.width], taken, strict=True):
                # one call a row: over several rows index_select() would copy all weights first
                torch.index_select(row.view(count, self.width), 0, blocks, out=into[replicate])
        return taken.view(*values.shape[:-1], self.count)


def sample_size(sample: Sample, size: int) -> int:
    """Return the number of weights to draw from a part of ``size`` weights; ``size`` for all of them."""
    if isinstance(sample, str):
        return size
    wanted = sample if isinstance(sample, int) else max(LEAST, math.ceil(sample * size))
    return min(size, wanted)


def draw(sample: Sample, size: int, streams: Sequence[torch.Generator]) -> Drawn | None:
    """Draw weights of a part of a group, without replacement.

    Args:
        sample: Weights to draw.
        size: Weights in the part.
        streams: One stream of random numbers per replicate, on the CPU.

    Returns:
        None if all weights are to be taken.
    """
    wanted = sample_size(sample, size)
    if wanted == size:
        return None
    width = max(1, min(_WIDEST_BLOCK, wanted // _BLOCKS))
    count = -(-wanted // width)
    blocks, rest = divmod(size, width)
    if count >= blocks:
        return None
    # an offset, so that each weight can be drawn
    offsets = tuple(int(torch.randint(rest + 1, (), generator=stream)) for stream in streams)
    drawn = [torch.randperm(blocks, generator=stream)[:count].sort().values for stream in streams]
    return Drawn(offsets, torch.stack(drawn), width, math.sqrt(size / (count * width)))


def streams(seeds: Sequence[int], window: int) -> list[torch.Generator]:
    """Return the streams that the samples of a window are drawn from, one per replicate.

    Args:
        seeds: Of the replicates.
        window: Number of the window in its training, so that each window has draws of its own, also after a resume.
    """
    # negative numbers, so that these are not the streams of the noise of jumps (see `Reshaping.of_jump`)
    return [torch.Generator().manual_seed((seed * 1_000_003 - (window + 1)) % 2**63) for seed in seeds]
