"""Stores of snapshots: complete, in the weights' dtype, or as low-precision differences from the window's first.

The snapshots of K stacked replicates of a network lie side by side in one store; usually K is 1.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from accel._window.sampling import Drawn

_CHUNK = 1 << 18  # weights whose differences are computed at a time


class WholeStore:
    """m snapshots of K times n weights, in the weights' dtype.

    Args:
        m: Number of snapshots.
        replicates: K.
        size: n, number of weights of one replicate.
        dtype: Of the weights.
        device: Device on which the snapshots are kept.
    """

    def __init__(self, m: int, replicates: int, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.rows = _allocate((m, replicates, size), dtype, device)
        self.move_eps = 0.0
        self.multiplies = device.type == "cpu" and dtype in (torch.float32, torch.float64)
        """True if snapshots may be combined by products in their own dtype. These err a few times as much as the
        rounding of the snapshots. A GPU may round such products to fewer bits."""

    @property
    def newest(self) -> Tensor:
        """Last snapshot of a full window, a (K, n) view."""
        return self.rows[-1]

    def put(self, index: int, flats: Sequence[Tensor]) -> None:
        """Store the present values of these (K, size) tensors as snapshot ``index``."""
        if flats[0].device == self.rows.device and flats[0].dtype == self.rows.dtype:
            torch.cat(list(flats), dim=1, out=self.rows[index])
            return
        _copy(self.rows[index], flats)

    def values(self, filled: int, start: int, stop: int) -> Tensor:
        """Return weights of the snapshots, a (filled, K, stop - start) view, oldest first.

        Args:
            filled: number of snapshots held.
            start: first weight.
            stop: weight after the last.
        """
        return self.rows[:filled, :, start:stop]

    def levels(self, start: int, stop: int, dtype: torch.dtype, drawn: Drawn | None = None) -> tuple[Tensor, Tensor]:
        """Return the first snapshot of a full window, and numbers whose differences are the steps.

        The numbers are (m, K, stop - start), or of the weights that were drawn.

        Args:
            start: first weight.
            stop: weight after the last.
            dtype: of the numbers.
            drawn: what to take of these weights; None for all.
        """
        rows = _part(self.rows, start, stop, drawn).to(dtype)
        return rows[0], rows

    def keep(self, replicates: Tensor) -> None:
        """Keep these replicates only."""
        self.rows = self.rows[:, replicates]


class DifferenceStore:
    """m snapshots of K times n weights: the first and the last as they are, the others as differences from the first.

    Differences in bfloat16 keep 8 bits of a move, while weights in bfloat16 would lose 94 % of a step of 1e-4 of their
    size. Differences in float16 keep 11 bits; scaling by a power of two, chosen from the window's first move, brings
    them into its range.

    Args:
        m: Number of snapshots.
        replicates: K.
        size: n, number of weights of one replicate.
        dtype: Of the weights.
        device: Device on which the snapshots are kept.
        low: Dtype of the differences.
    """

    def __init__(
        self, m: int, replicates: int, size: int, dtype: torch.dtype, device: torch.device, low: torch.dtype
    ) -> None:
        self.first = _allocate((replicates, size), dtype, device)
        self.newest = _allocate((replicates, size), dtype, device)
        self.rows = _allocate((m - 2, replicates, size), low, device)
        self.scale = torch.ones(replicates, 1, dtype=dtype, device=device)
        self.move_eps = torch.finfo(low).eps if m > 2 else 0.0
        self.multiplies = False  # differences are no snapshots

    def put(self, index: int, flats: Sequence[Tensor]) -> None:
        """Store the present values of these (K, size) tensors as snapshot ``index``."""
        if index in (0, len(self.rows) + 1):
            _copy(self.first if index == 0 else self.newest, flats)
            return
        if index == 1 and self.rows.dtype == torch.float16:
            largest = torch.stack([self._move(*chunk).abs().amax(1, keepdim=True) for chunk in self._chunks(flats)])
            exponent = torch.floor(torch.log2(16 / largest.amax(0)))  # leaves room for moves 4000 times as large
            self.scale = torch.where(exponent.isfinite(), torch.ldexp(torch.ones_like(exponent), exponent), 1.0)
        for start, part in self._chunks(flats):
            row = self.rows[index - 1, :, start : start + part.shape[1]]
            row.copy_(self._move(start, part) * self.scale)

    def values(self, filled: int, start: int, stop: int) -> Tensor:
        """Return weights of the snapshots, a new (filled, K, stop - start) float64 tensor, oldest first.

        Args:
            filled: number of snapshots held.
            start: first weight.
            stop: weight after the last.
        """
        shape = (filled, len(self.first), stop - start)
        snapshots = torch.empty(shape, dtype=torch.float64, device=self.first.device)
        last = len(self.rows) + 1
        between = snapshots[1:last]
        between.copy_(self.rows[: len(between), :, start:stop]).div_(self.scale).add_(self.first[:, start:stop])
        snapshots[:1] = self.first[:, start:stop]
        snapshots[last:] = self.newest[:, start:stop]
        return snapshots

    def levels(self, start: int, stop: int, dtype: torch.dtype, drawn: Drawn | None = None) -> tuple[Tensor, Tensor]:
        """Return the first snapshot of a full window, and numbers whose differences are the steps.

        The numbers are (m, K, stop - start), or of the weights that were drawn.

        Args:
            start: first weight.
            stop: weight after the last.
            dtype: of the numbers.
            drawn: what to take of these weights; None for all.
        """
        first = _part(self.first, start, stop, drawn).to(dtype)
        moves = torch.zeros(len(self.rows) + 2, *first.shape, dtype=dtype, device=first.device)
        moves[1:-1].copy_(_part(self.rows, start, stop, drawn)).div_(self.scale)
        torch.sub(_part(self.newest, start, stop, drawn), first, out=moves[-1])
        return first, moves

    def keep(self, replicates: Tensor) -> None:
        """Keep these replicates only."""
        self.first, self.newest = self.first[replicates], self.newest[replicates]
        self.rows, self.scale = self.rows[:, replicates], self.scale[replicates]

    def _move(self, start: int, part: Tensor) -> Tensor:
        first = self.first[:, start : start + part.shape[1]]
        return part.to(first.device) - first

    def _chunks(self, flats: Sequence[Tensor]) -> list[tuple[int, Tensor]]:
        """Cut the tensors into chunks: (index of the first weight in the snapshot, weights)."""
        chunks, start = [], 0
        width = max(1, _CHUNK // len(self.first))
        for flat in flats:
            chunks += [(start + k, flat[:, k : k + width]) for k in range(0, flat.shape[1], width)]
            start += flat.shape[1]
        return chunks


Store = WholeStore | DifferenceStore


def build_store(
    m: int, replicates: int, size: int, dtype: torch.dtype, device: torch.device, snapshot_dtype: torch.dtype | None
) -> Store:
    """Make a store for m snapshots of K times n weights.

    Args:
        m: number of snapshots.
        replicates: K.
        size: n, number of weights of one replicate.
        dtype: of the weights.
        device: device on which the snapshots are kept.
        snapshot_dtype: of the differences, if narrower than ``dtype``; otherwise snapshots are kept as they are.
    """
    if snapshot_dtype is None or snapshot_dtype.itemsize >= dtype.itemsize:
        return WholeStore(m, replicates, size, dtype, device)
    return DifferenceStore(m, replicates, size, dtype, device, snapshot_dtype)


def _part(values: Tensor, start: int, stop: int, drawn: Drawn | None) -> Tensor:
    """Return weights ``start`` to ``stop`` of (..., K, n), or those drawn from them."""
    part = values[..., start:stop]
    return part if drawn is None else drawn.take(part)


def _copy(row: Tensor, flats: Sequence[Tensor]) -> None:
    for part, flat in zip(row.split_with_sizes([flat.shape[1] for flat in flats], dim=1), flats, strict=True):
        part.copy_(flat)


def _allocate(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    # numpy asks Linux for huge pages, torch does not: writing and reading snapshots takes a third less time.
    return torch.from_numpy(np.empty(math.prod(shape) * dtype.itemsize, dtype=np.uint8)).view(dtype).view(shape)
