"""Windows of thousands of snapshots of small groups, kept as pairs of successive snapshots, compressed as they come.

A rule that only fits the linear operator from each snapshot to the next needs no more than F Fᵀ and F' Fᵀ, sums of
products over all pairs. They are kept as the triangular factor of a running QR decomposition, since the sums themselves
would square the condition number of snapshots that hardly differ. Memory does not grow with m.

| symbol | meaning                                                                         | shape       |
|--------|---------------------------------------------------------------------------------|-------------|
| n      | weights in a group                                                              |             |
| F, F'  | a group's snapshots but the last, but the first                                 | (n, m-1)    |
| T      | triangular factor, TᵀT = ZᵀZ with Z = [Fᵀ, (F' - F)ᵀ]; its two halves stand for | (2n, 2n)    |
|        | Fᵀ and (F' - F)ᵀ in rotated time                                                |             |
| basis  | [F' in rotated time, w_1, w_m-1, w_m]: predictions are combinations of it       | (n, 2n + 3) |
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from accel._rules import Combination, Koopman
from accel._window.diagnostics import Diagnosis, diagnose_pairs, show_no_direction
from accel._window.group_windows import Windows
from accel._window.groups import Family, Layout, Piece
from accel._window.reshaping import Reshaping, reshape
from accel._window.snapshot_buffer import write

_MIN_BLOCK = 64  # snapshots between two decompositions; with fewer, a decomposition costs more than it saves
_EXTRA = 3  # columns of the basis besides F'


def pays(layout: Layout, m: int) -> bool:
    """Return True if factors and a block of snapshots, some 6 n² numbers a group, are less than the m n of a window."""
    largest = max(family.size for family in layout.families)
    return m > max(6 * largest, 2 * _MIN_BLOCK)


class PairBatch(NamedTuple):
    """Groups of one family, of all replicates."""

    groups: Tensor
    """(B,) int64; numbers of the groups, counted over all replicates."""
    holds_all: bool
    """True if these are all groups, in order."""
    lagged: Tensor
    """(B, n, 2n) float64 on the CPU; F in rotated time."""
    factors: Tensor
    """(B, n, width) float64; the basis, with zeros between F' and the three snapshots."""
    m: int
    """Number of snapshots in a window."""
    eps: float
    """Relative rounding error of the dtype that the weights are stored in."""

    @property
    def led(self) -> Tensor:
        """(B, n, 2n) float64; F' in rotated time."""
        return self.factors[:, :, : self.lagged.shape[2]]

    def combine(self, rules: Sequence[Koopman], s: Sequence[int]) -> Combination:
        """Extrapolate each group by its own rule and its own s; the coefficients, (B, width), combine the basis."""
        combined = Koopman.of_pairs(rules, self.lagged, self.led, self.factors[:, :, -1], s, self.m)
        room = self.factors.shape[2] - self.lagged.shape[2]
        return combined._replace(coefficients=nn.functional.pad(combined.coefficients, (0, room)))

    def show_no_direction(self) -> Tensor:
        """Return True, (B,), for groups whose snapshots are multiples of one vector.

        For a single weight: if it did not move.
        """
        if self.factors.shape[1] == 1:
            return (self.led == self.lagged).all(-1)[:, 0]
        return show_no_direction(self.factors)

    def diagnose(self, chosen: Tensor, coefficients: Tensor, rank: Tensor) -> Diagnosis:
        """Diagnose the pairs of the chosen groups.

        Args:
            chosen: (B,) bool; True for the groups to diagnose.
            coefficients: (B, width) float64; combinations of all groups of the batch.
            rank: (B,) int64; number of modes kept, of all groups of the batch.
        """
        basis = self.factors[chosen]
        newest = basis[:, :, -1]
        move = (basis @ coefficients[chosen][:, :, None])[:, :, 0] - newest
        return diagnose_pairs(self.lagged[chosen], self.led[chosen], newest, move, rank[chosen], self.eps, self.m)


class PairWindows:
    """Windows for `Koopman` rules, in place of `Windows`: a triangular factor per group, and a block of snapshots.

    Args:
        layout: The parameters and the groups that they form.
        m: Number of snapshots in a window.
        snapshot_device: Device on which the block is kept and decomposed.
        stacked: See `Windows`.
    """

    def __init__(
        self,
        layout: Layout,
        m: int,
        snapshot_device: torch.device | str | None = None,
        stacked: Sequence[Sequence[Tensor]] | None = None,
    ) -> None:
        self.m, self.layout = m, layout
        largest = max(family.size for family in layout.families)
        self.width = 2 * largest + _EXTRA
        self._block = Windows(layout, max(_MIN_BLOCK, 2 * largest) + 1, None, snapshot_device, stacked)
        self.filled = 0
        self._factors: list[Tensor] = []
        """Triangular factors, one tensor per family; empty until the first block has been decomposed."""
        self._first: list[Tensor] = []
        """First snapshots, one tensor per family."""
        self._batches: tuple[PairBatch, ...] | None = None

    @property
    def replicates(self) -> int:
        """Number of replicates whose windows are kept."""
        return self._block.replicates

    @property
    def tensors(self) -> Sequence[Sequence[Tensor]]:
        """Parameters whose values are recorded, buffer by buffer."""
        return self._block.tensors

    @property
    def groups(self) -> int:
        """Number of groups of all replicates."""
        return self._block.groups

    @property
    def full(self) -> bool:
        """True if m snapshots have been taken."""
        return self.filled == self.m

    def append(self) -> None:
        """Record the parameters' present values as the newest snapshot."""
        if self._block.full:
            newest = [rows[-1:].clone() for rows in self._block.snapshots]
            self._factors = self._fold_block()
            self._block.load(newest)
        self._block.append()
        if not self.filled:
            self._first = [self._snapshot(family, 0) for family in self.layout.families]
        self.filled += 1
        self._batches = None

    def load(self, snapshots: Sequence[Tensor]) -> None:
        """Replace the content by these (filled, K, n) snapshots, one tensor per buffer."""
        self.clear()
        start, total = 0, len(snapshots[0])
        while True:  # neighbouring blocks share a snapshot
            self._block.load([rows[start : start + self._block.m] for rows in snapshots])
            if not start:
                self._first = [self._snapshot(family, 0) for family in self.layout.families]
            start += self._block.filled - 1
            if start == total - 1:
                break
            self._factors = self._fold_block()
        self.filled = total

    def state(self) -> list[Tensor]:
        """Return all that is held, for `restore_state`; with the axis of replicates."""
        if not self.filled:
            return []
        count = torch.tensor(self.filled)
        return [count, *(rows.clone() for rows in self._block.snapshots), *self._first, *self._factors]

    def restore_state(self, state: Sequence[Tensor]) -> None:
        """Hold what `state` returned, here or elsewhere."""
        self.clear()
        if not state:
            return
        buffers, families = len(self.layout.buffers), len(self.layout.families)
        self.filled = int(state[0])
        self._block.load(state[1 : 1 + buffers])
        self._first = list(state[1 + buffers : 1 + buffers + families])
        self._factors = list(state[1 + buffers + families :])

    def clear(self) -> None:
        """Forget the snapshots; the buffers are kept."""
        self.filled = 0
        self._factors, self._first, self._batches = [], [], None
        self._block.clear()

    def release(self) -> None:
        """Forget the snapshots and free their memory."""
        self.clear()
        self._block.release()

    def keep(self, stacked: Sequence[Sequence[Tensor]], replicates: Tensor) -> None:
        """Keep these replicates only; their weights now lie in ``stacked``."""
        before = self.replicates
        self._factors = [f.view(before, -1, *f.shape[1:])[replicates.to(f.device)].flatten(0, 1) for f in self._factors]
        self._first = [first[replicates.to(first.device)] for first in self._first]
        self._batches = None
        self._block.keep(stacked, replicates)

    def newest(self) -> list[Tensor]:
        """Return the newest snapshot, one (K, n) view per buffer."""
        return [rows[-1] for rows in self._block.snapshots]

    def restore(self) -> None:
        """Put the newest snapshot back into the parameters, bit for bit."""
        for tensors, newest in zip(self.tensors, self.newest(), strict=True):
            write(tensors, [newest])

    def batches(self, streams: Sequence[torch.Generator] = ()) -> tuple[PairBatch, ...]:
        """Return the groups of a full window, family by family; computed once per window.

        Args:
            streams: not used, since groups with fewer weights than snapshots are not sampled.
        """
        del streams
        if self._batches is None:
            families = zip(self.layout.families, self._fold_block(), self._first, strict=True)
            self._batches = tuple(self._batch(*each) for each in families)
        return self._batches

    def combine(
        self, coefficients: Tensor, targets: Sequence[Sequence[Tensor]], reshapings: Sequence[Reshaping | None]
    ) -> Tensor:
        """Write all groups' predictions into the targets.

        Args:
            coefficients: (groups, width) float64; they combine the columns of the basis.
            targets: tensors of each buffer.
            reshapings: one per replicate, applied to its predictions.

        Returns:
            (K,) bool, on the CPU; True if all weights written for a replicate are finite.
        """
        predictions: dict[Piece, Tensor] = {}
        for family, batch in zip(self.layout.families, self.batches(), strict=True):
            shape = self.replicates, family.count, family.size
            predicted = (batch.factors @ coefficients[batch.groups][:, :, None])[:, :, 0].reshape(shape)
            if any(reshapings):
                previous, newest = (batch.factors[:, :, k].reshape(shape) for k in (-2, -1))
                predicted = reshape(reshapings, previous, newest, predicted)
            parts = torch.split(predicted, [piece.size for piece in family.pieces], dim=2)
            predictions |= dict(zip(family.pieces, parts, strict=True))
        finite = torch.ones(self.replicates, dtype=torch.bool)
        for buffer, tensors in enumerate(targets):
            pieces = sorted((p for p in predictions if p.buffer == buffer), key=lambda piece: piece.start)
            finite &= write(tensors, [predictions[piece].flatten(1).to(tensors[0].device) for piece in pieces]).cpu()
        return finite

    def _batch(self, family: Family, factor: Tensor, first: Tensor) -> PairBatch:
        n = family.size
        numbers = torch.arange(family.first, family.first + family.count)
        groups = (torch.arange(self.replicates)[:, None] * self.layout.groups + numbers).flatten()
        halves = nn.functional.pad(factor, (0, 0, 0, 2 * n - factor.shape[1])).cpu().mT
        lagged, moves = halves[:, :n], halves[:, n:]
        basis = torch.zeros(len(halves), n, self.width, dtype=torch.float64)
        basis[:, :, : 2 * n] = lagged + moves
        for column, snapshot in enumerate((first, self._snapshot(family, -2), self._snapshot(family, -1))):
            basis[:, :, column - _EXTRA] = snapshot.flatten(0, 1).cpu()
        eps = max(torch.finfo(self.layout.buffers[piece.buffer][0].dtype).eps for piece in family.pieces)
        return PairBatch(groups, len(groups) == self.groups, lagged, basis, self.m, eps)

    def _snapshot(self, family: Family, index: int) -> Tensor:
        """Return one of the block's snapshots, (K, count, n) float64."""
        rows = self._block.rows(family)[:, index]
        return rows.view(self.replicates, -1, family.size)

    def _fold_block(self) -> list[Tensor]:
        """Return the triangular factors of all pairs so far, the block's included: (K * count, rows, 2n) per family."""
        factors = []
        for index, family in enumerate(self.layout.families):
            rows = self._block.rows(family)
            pairs = torch.cat([rows[:, :-1], rows[:, 1:] - rows[:, :-1]], dim=2)
            if self._factors:
                pairs = torch.cat([self._factors[index], pairs], dim=1)
            factors.append(_triangle(pairs))
        return factors


def _triangle(rows: Tensor) -> Tensor:
    """Reduce (B, j, 2n) rows to (B, at most 2n, 2n) with the same products of columns."""
    if rows.shape[2] > 2:
        triangle: Tensor = torch.linalg.qr(rows, mode="r").R
        return triangle
    # single weights: there may be millions of them, and LAPACK would be called for each
    first, second = rows.unbind(2)
    length = first.norm(dim=1)
    along = first / torch.where(length > 0, length, 1.0)[:, None]
    overlap = (along * second).sum(1)
    rest = (second - along * overlap[:, None]).norm(dim=1)
    return torch.stack([torch.stack([length, overlap], 1), torch.stack([torch.zeros_like(rest), rest], 1)], 1)
