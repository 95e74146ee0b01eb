"""The windows of all groups: one buffer of snapshots per dtype and device, groups of one size handled together.

| symbol | meaning                                                           | shape          |
|--------|-------------------------------------------------------------------|----------------|
| n, m   | weights in a group, snapshots in the window                       |                |
| K      | replicates of the network whose windows are kept side by side     |                |
| R      | a group's window in an orthonormal basis, RᵀR = WᵀW               | (min(n, m), m) |
| c      | coefficients that combine a group's snapshots into its prediction | (m,)           |

A group of at most m weights is its own R. Larger groups of a family, such as the nodes of a layer, get theirs in one
batched product: from a Gram matrix of their steps, as in `_snapshots`, or from a QR decomposition where float64 weights
have digits that a Gram matrix would lose. Groups in several buffers join their factors: R is that of the stacked ones.

Group g of replicate k is number ``k * groups + g`` of all.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from accel._rules import Combination, Rule, combine
from accel._window.diagnostics import Diagnosis, diagnose, show_no_direction
from accel._window.gram import factors_of_steps, gram_eps
from accel._window.groups import Family, Group, Layout, Piece
from accel._window.reshaping import Reshaping, reshape
from accel._window.snapshot_buffer import Window, write

_CHUNK = 1 << 21  # float64 numbers of snapshots handled at a time: 16 MiB, whatever the number of groups
_BATCH = 1 << 16  # groups handed to a rule at a time, so that single weights of a large model fit in memory


class Batch(NamedTuple):
    """Groups whose factors have one shape."""

    groups: Tensor
    """(B,) int64; their numbers among the groups of all replicates."""
    factors: Tensor
    """(B, k, m) float64 on the CPU, k <= m."""
    eps: Tensor
    """(B,) float64; relative rounding error of the coarsest dtype that a group is stored in."""
    gram_eps: Tensor
    """(B,) float64; relative rounding error of the Gram matrix that the factor came from; 0 if from no single one."""
    move_eps: Tensor
    """(B,) float64; the same of moves since the first snapshot, where low-precision differences are kept; else 0."""
    several: Tensor
    """(B,) bool; whether a group has more than one weight."""

    def combine(self, rules: Sequence[Rule], s: Sequence[int]) -> Combination:
        """Extrapolate each group by its own rule and its own s."""
        return combine(rules, self.factors, s)

    def show_no_direction(self) -> Tensor:
        """(B,) bool; which groups' snapshots are multiples of one vector, or of single weights did not move."""
        deficient = show_no_direction(self.factors)
        # a layer's factor has m rows however few its weights, so single weights are told by their size
        return deficient & self.several if self.factors.shape[1] > 1 else deficient

    def diagnose(self, chosen: Tensor, coefficients: Tensor, rank: Tensor) -> Diagnosis:
        """What the chosen groups' windows tell, given the combinations (B, m) made of them and the modes kept."""
        columns = (self.factors, coefficients, rank, self.eps, self.gram_eps, self.move_eps)
        return diagnose(*(column[chosen] for column in columns))


class Windows:
    """Up to m snapshots of a layout's parameters.

    Args:
        layout: Which weights form groups.
        m: Snapshots in a window.
        snapshot_dtype: As in `Accelerator`.
        snapshot_device: As in `Accelerator`.
        stacked: In place of the layout's own parameters, those of K replicates, (K, *shape) for each, buffer by buffer.
    """

    def __init__(
        self,
        layout: Layout,
        m: int,
        snapshot_dtype: torch.dtype | None = None,
        snapshot_device: torch.device | str | None = None,
        stacked: Sequence[Sequence[Tensor]] | None = None,
    ) -> None:
        self.m = self.width = m
        self.layout = layout
        self.replicates = len(stacked[0][0]) if stacked else 1
        self.tensors: Sequence[Sequence[Tensor]] = stacked or layout.buffers
        count = self.replicates if stacked else None
        self._windows = tuple(Window(own, m, snapshot_dtype, snapshot_device, count) for own in self.tensors)
        self._batches: tuple[Batch, ...] | None = None
        self._known: list[tuple[list[int], list[Tensor]]] | None = None  # the same for every window

    @property
    def filled(self) -> int:
        """How many snapshots are held."""
        return self._windows[0].filled

    @property
    def full(self) -> bool:
        """Whether m snapshots are held."""
        return self._windows[0].full

    @property
    def groups(self) -> int:
        """Number of groups of all replicates."""
        return self.replicates * self.layout.groups

    @property
    def snapshots(self) -> list[Tensor]:
        """(filled, K, n) per buffer, oldest first; see `Window.snapshots`."""
        return [window.snapshots for window in self._windows]

    def append(self) -> None:
        """Copy the parameters' present values in as the newest snapshot."""
        for window in self._windows:
            window.append()

    def state(self) -> list[Tensor]:
        """All that is held, for `restore_state`; the replicates' axis is kept."""
        return [rows.clone() for rows in self.snapshots] if self.filled else []

    def restore_state(self, state: Sequence[Tensor]) -> None:
        """Hold what another's `state` gave."""
        self.clear()
        if state:
            self.load(state)

    def rows(self, family: Family) -> Tensor:
        """The snapshots taken of a family's groups, (K * count, filled, n) float64."""
        return self._rows(family, 0, family.count)

    def load(self, snapshots: Sequence[Tensor]) -> None:
        """Replace the content by these (filled, K, n) snapshots, one tensor per buffer."""
        self._batches = None
        for window, rows in zip(self._windows, snapshots, strict=True):
            window.load(rows)

    def clear(self) -> None:
        """Forget the snapshots; the buffers are kept."""
        self._batches = None
        for window in self._windows:
            window.clear()

    def keep(self, stacked: Sequence[Sequence[Tensor]], replicates: Tensor) -> None:
        """Go on with these replicates only, whose weights now lie in these tensors."""
        self._batches = self._known = None
        self.replicates, self.tensors = len(replicates), stacked
        for window, tensors in zip(self._windows, stacked, strict=True):
            window.keep(tensors, replicates)

    def release(self) -> None:
        """Forget the snapshots and give their memory back."""
        self.clear()
        for window in self._windows:
            window.release()

    def batches(self) -> tuple[Batch, ...]:
        """Factors of all groups of a full window, those of one shape together; computed once per window."""
        if self._batches is None:
            self._batches = tuple(self._batched())
        return self._batches

    def restore(self) -> None:
        """Put the newest snapshot back into the parameters, bit for bit."""
        for tensors, newest in zip(self.tensors, self.newest(), strict=True):
            write(tensors, [newest])

    def newest(self) -> list[Tensor]:
        """The newest snapshot, one (K, n) view per buffer."""
        return [window.newest for window in self._windows]

    def combine(
        self, coefficients: Tensor, targets: Sequence[Sequence[Tensor]], reshapings: Sequence[Reshaping | None]
    ) -> Tensor:
        """Write all groups' combined snapshots into the targets, per buffer.

        Args:
            coefficients: (groups, m) float64.
            targets: tensors of each buffer.
            reshapings: what else happens to each replicate's predictions; that needs a float64 copy of them.

        Returns:
            (K,) bool, on the CPU; whether all of a replicate's weights are finite there.
        """
        whole = self._reshaped(coefficients, reshapings) if any(reshapings) else None
        finite = torch.ones(self.replicates, dtype=torch.bool)
        for buffer, tensors in enumerate(targets):
            finite &= write(tensors, self._blocks(buffer, coefficients, whole)).cpu()
        return finite

    def _batched(self) -> Iterator[Batch]:
        factors = self._single_factors()
        found = [self._family_factors(f) if f.shape else factors[f.first] for f in self.layout.families]
        if self._known is None:
            self._known = self._properties([factor.shape[1] for factor in found])
        for members, properties in self._known:
            stacked = torch.cat([found[index] for index in members])
            for start in range(0, len(stacked), _BATCH):
                part = slice(start, start + _BATCH)
                yield Batch(properties[0][part], stacked[part], *(column[part] for column in properties[1:]))

    def _properties(self, rows: Sequence[int]) -> list[tuple[list[int], list[Tensor]]]:
        """For every number of rows of a factor: which families have it, and what their batches hold beside factors."""
        families = self.layout.families
        known = []
        for count in dict.fromkeys(rows):
            members = [index for index, each in enumerate(rows) if each == count]
            columns = [
                (self._numbers(f), self._eps(f), self._gram_eps(f), self._move_eps(f), f.size > 1)
                for f in (families[index] for index in members)
            ]
            groups = [numbers for numbers, *_ in columns]
            kinds = (torch.float64, torch.float64, torch.float64, torch.bool)
            others = [
                torch.cat([torch.full((len(g),), v, dtype=kind) for g, v in zip(groups, values, strict=True)])
                for kind, values in zip(kinds, list(zip(*columns, strict=True))[1:], strict=True)
            ]
            known.append((members, [torch.cat(groups), *others]))
        return known

    def _numbers(self, family: Family) -> Tensor:
        """(K * count,) the numbers of a family's groups, replicate by replicate."""
        own = torch.arange(family.first, family.first + family.count)
        return (torch.arange(self.replicates)[:, None] * self.layout.groups + own).flatten()

    def _single_factors(self) -> dict[int, Tensor]:
        """(K, m, m) of every family of one, by its number; all that lie in one buffer in one call."""
        parts: dict[int, list[Tensor]] = {}
        for buffer, window in enumerate(self._windows):
            placed = [(f, p) for f, p in self._pieces(buffer) if not f.shape]
            if placed:
                for (family, _), factor in zip(
                    placed, window.factors([_stretch(*each) for each in placed]), strict=True
                ):
                    parts.setdefault(family.first, []).append(factor)
        return {first: found[0] if len(found) == 1 else _joined(found) for first, found in parts.items()}

    def _family_factors(self, family: Family) -> Tensor:
        """(K * count, min(n, m), m)."""
        chunk = max(1, _CHUNK // (self.replicates * self.m * family.size))
        found = []
        for start in range(0, family.count, chunk):
            rows = self._rows(family, start, min(start + chunk, family.count))
            finite = rows.isfinite().all(-1).all(-1)
            rows = torch.where(finite[:, None, None], rows, 0.0)
            if family.size <= self.m:
                factor = rows.mT
            elif self._gram_eps(family):
                factor = factors_of_steps(torch.cat([rows[:, :1], rows[:, 1:] - rows[:, :-1]], dim=1))
            else:
                factor = torch.linalg.qr(rows.mT, mode="r").R
            found.append(
                torch.where(finite[:, None, None], factor, torch.nan).view(self.replicates, -1, *factor.shape[1:]).cpu()
            )
        return torch.cat(found, dim=1).flatten(0, 1)

    def _rows(self, family: Family, start: int, stop: int) -> Tensor:
        """Snapshots of some of a family's groups, (K * groups, filled, n) float64 on the device of the first piece."""
        device = self._windows[family.pieces[0].buffer].device
        parts = [self._piece_rows(piece, start, stop).to(device) for piece in family.pieces]
        return torch.cat(parts, dim=3).flatten(1, 2).transpose(0, 1)

    def _piece_rows(self, piece: Piece, start: int, stop: int) -> Tensor:
        """(filled, K, groups, size) float64 on its device."""
        rows = self._windows[piece.buffer].values(piece.start + start * piece.size, piece.start + stop * piece.size)
        return rows.reshape(*rows.shape[:2], stop - start, piece.size).to(torch.float64)

    def _pieces(self, buffer: int) -> list[tuple[Family, Piece]]:
        """What a buffer consists of, in order."""
        placed = [(f, p) for f in self.layout.families for p in f.pieces if p.buffer == buffer]
        return sorted(placed, key=lambda each: each[1].start)

    def _blocks(self, buffer: int, coefficients: Tensor, whole: dict[Piece, Tensor] | None) -> Iterator[Tensor]:
        pieces = self._pieces(buffer)
        if whole is not None:
            yield from (whole[piece].flatten(1) for _, piece in pieces)
        elif any(family.shape for family, _ in pieces):
            for family, piece in pieces:
                yield from self._predicted(family, piece, coefficients)
        else:  # together: each operation counts where groups are small
            own = coefficients.view(self.replicates, -1, self.m)[:, [family.first for family, _ in pieces]]
            yield from self._windows[buffer].combine([_stretch(*each) for each in pieces], own)

    def _predicted(self, family: Family, piece: Piece, coefficients: Tensor) -> Iterator[Tensor]:
        """A piece's combined snapshots, flattened, in float64 blocks (K, weights) on its device."""
        window = self._windows[piece.buffer]
        own = coefficients.view(self.replicates, -1, self.m)[:, family.first : family.first + family.count]
        if not family.shape:
            yield from window.combine([_stretch(family, piece)], own)
            return
        own = own.to(window.device)
        chunk = max(1, _CHUNK // (self.replicates * self.m * piece.size))
        for start in range(0, family.count, chunk):
            stop = min(start + chunk, family.count)
            rows = self._piece_rows(piece, start, stop)
            yield (rows * own[:, start:stop].permute(2, 0, 1)[..., None]).sum(0).flatten(1)

    def _reshaped(self, coefficients: Tensor, reshapings: Sequence[Reshaping | None]) -> dict[Piece, Tensor]:
        """(K, count, size) of every piece."""
        whole: dict[Piece, Tensor] = {}
        masks = any(own is not None and own.shape == "masked" for own in reshapings)
        for family in self.layout.families:
            parts = [torch.cat(list(self._predicted(family, p, coefficients)), dim=1) for p in family.pieces]
            predicted = self._joined_pieces(family, parts)
            previous = self._snapshot(family, -2) if masks else None
            reshaped = reshape(reshapings, previous, self._snapshot(family, -1), predicted)
            sizes = [piece.size for piece in family.pieces]
            whole |= dict(zip(family.pieces, torch.split(reshaped, sizes, dim=2), strict=True))
        return whole

    def _snapshot(self, family: Family, index: int) -> Tensor:
        """One of a full window's snapshots, (K, count, n) float64 on the device of the family's first piece."""
        parts = [self._windows[p.buffer].values(p.start, p.start + family.count * p.size)[index] for p in family.pieces]
        return self._joined_pieces(family, parts)

    def _joined_pieces(self, family: Family, parts: Sequence[Tensor]) -> Tensor:
        shape, device = (self.replicates, family.count, -1), parts[0].device
        return torch.cat([part.to(device, torch.float64).reshape(shape) for part in parts], dim=2)

    def _eps(self, family: Family) -> float:
        return max(torch.finfo(self._dtype(piece)).eps for piece in family.pieces)

    def _gram_eps(self, family: Family) -> float:
        """Of the Gram matrix that the factors of a family come from; 0 if they come from none, or from a second one."""
        if not family.shape:
            return max(gram_eps(self._dtype(piece), piece.size) for piece in family.pieces)
        double = torch.finfo(torch.float64).eps
        return double if family.size > self.m and self._eps(family) > double else 0.0

    def _move_eps(self, family: Family) -> float:
        return max(self._windows[piece.buffer].move_eps for piece in family.pieces)

    def _dtype(self, piece: Piece) -> torch.dtype:
        return self.layout.buffers[piece.buffer][0].dtype


def _stretch(family: Family, piece: Piece) -> Group:
    return Group(family.name, piece.start, piece.start + piece.size)


def _joined(factors: list[Tensor]) -> Tensor:
    """The factor of groups that lie in several buffers: RᵀR is the sum over the parts."""
    stacked = torch.cat(factors, dim=1)
    finite = stacked.isfinite().flatten(1).all(1)[:, None, None]
    return torch.where(finite, torch.linalg.qr(torch.where(finite, stacked, 0.0), mode="r").R, math.nan)
