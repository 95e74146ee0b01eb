"""Where snapshots lie: whole, in the weights' dtype, or as low-precision differences from the window's first."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_CHUNK = 1 << 18  # weights whose differences are taken at a time


class WholeStore:
    """m snapshots of n weights in their own dtype."""

    def __init__(self, m: int, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.rows = _allocate((m, size), dtype, device)
        self.move_eps = 0.0

    @property
    def newest(self) -> Tensor:
        """(n,) view of the last snapshot of a full window."""
        return self.rows[-1]

    def put(self, index: int, flats: Sequence[Tensor]) -> None:
        """Keep the present values of these flat tensors as a snapshot."""
        if flats[0].device == self.rows.device and flats[0].dtype == self.rows.dtype:
            torch.cat(list(flats), out=self.rows[index])
            return
        for part, flat in zip(self.rows[index].split_with_sizes([flat.numel() for flat in flats]), flats, strict=True):
            part.copy_(flat)

    def values(self, filled: int, start: int, stop: int) -> Tensor:
        """(filled, stop - start) view of the snapshots, oldest first."""
        return self.rows[:filled, start:stop]

    def levels(self, start: int, stop: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The first snapshot, and (m, stop - start) numbers whose differences are the steps; of a full window."""
        rows = self.rows[:, start:stop].to(dtype)
        return rows[0], rows


class DifferenceStore:
    """m snapshots of n weights: the first and the last as they are, differences from the first for those between.

    Differences in bfloat16 keep 8 bits of a move, while weights in bfloat16 would lose 94 % of a step of 1e-4 of their
    size. Differences in float16 keep 11 bits; a power of two from the window's first move brings them into its range.
    """

    def __init__(self, m: int, size: int, dtype: torch.dtype, device: torch.device, low: torch.dtype) -> None:
        self.first = _allocate((size,), dtype, device)
        self.newest = _allocate((size,), dtype, device)
        self.rows = _allocate((m - 2, size), low, device)
        self.scale = 1.0
        self.move_eps = torch.finfo(low).eps if m > 2 else 0.0

    def put(self, index: int, flats: Sequence[Tensor]) -> None:
        """Keep the present values of these flat tensors as a snapshot."""
        if index in (0, len(self.rows) + 1):
            whole = self.first if index == 0 else self.newest
            for part, flat in zip(whole.split_with_sizes([flat.numel() for flat in flats]), flats, strict=True):
                part.copy_(flat)
            return
        if index == 1 and self.rows.dtype == torch.float16:
            largest = max(float(self._move(*where).abs().amax()) for where in self._chunks(flats))
            # 16 leaves room for later moves 4000 times as large
            self.scale = 2.0 ** math.floor(math.log2(16 / largest)) if 0 < largest < math.inf else 1.0
        for start, part in self._chunks(flats):
            row = self.rows[index - 1, start : start + part.numel()]
            row.copy_(self._move(start, part) * self.scale)

    def values(self, filled: int, start: int, stop: int) -> Tensor:
        """(filled, stop - start) float64; the snapshots, oldest first."""
        found = torch.empty(filled, stop - start, dtype=torch.float64, device=self.first.device)
        last = len(self.rows) + 1
        between = found[1:last]
        between.copy_(self.rows[: len(between), start:stop]).div_(self.scale).add_(self.first[start:stop])
        found[:1] = self.first[start:stop]
        found[last:] = self.newest[start:stop]
        return found

    def levels(self, start: int, stop: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The first snapshot, and (m, stop - start) numbers whose differences are the steps; of a full window."""
        first = self.first[start:stop]
        moves = torch.zeros(len(self.rows) + 2, stop - start, dtype=dtype, device=first.device)
        moves[1:-1].copy_(self.rows[:, start:stop]).div_(self.scale)
        torch.sub(self.newest[start:stop], first, out=moves[-1])
        return first, moves

    def _move(self, start: int, part: Tensor) -> Tensor:
        first = self.first[start : start + part.numel()]
        return part.to(first.device) - first

    def _chunks(self, flats: Sequence[Tensor]) -> list[tuple[int, Tensor]]:
        """(place in the snapshot, weights), few weights at a time."""
        found, start = [], 0
        for flat in flats:
            found += [(start + k, flat[k : k + _CHUNK]) for k in range(0, flat.numel(), _CHUNK)]
            start += flat.numel()
        return found


Store = WholeStore | DifferenceStore


def build_store(
    m: int, size: int, dtype: torch.dtype, device: torch.device, snapshot_dtype: torch.dtype | None
) -> Store:
    """A store for m snapshots of weights of this dtype, on this device."""
    if snapshot_dtype is None or snapshot_dtype.itemsize >= dtype.itemsize:
        return WholeStore(m, size, dtype, device)
    return DifferenceStore(m, size, dtype, device, snapshot_dtype)


def _allocate(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    # numpy asks Linux for huge pages, which torch does not: a third off the time to write and read snapshots.
    return torch.from_numpy(np.empty(math.prod(shape) * dtype.itemsize, dtype=np.uint8)).view(dtype).view(shape)
