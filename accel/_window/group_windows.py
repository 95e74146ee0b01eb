"""The windows of all groups: one buffer of snapshots per dtype and device; groups of one size are handled together.

| symbol | meaning                                                           | shape          |
|--------|-------------------------------------------------------------------|----------------|
| n, m   | weights in a group, snapshots in the window                       |                |
| K      | replicates of the network whose windows are kept side by side     |                |
| R      | a group's window in an orthonormal basis, RᵀR = WᵀW               | (min(n, m), m) |
| c      | coefficients that combine a group's snapshots into its prediction | (m,)           |

A group of at most m weights is its own R. R of a larger group may be made of a sample of its weights (see `sampling`).
Larger groups of a family, such as the nodes of a layer, get R in one batched
product: from a Gram matrix of their steps, as in `gram`, or from a QR decomposition where float64 weights have digits
that a Gram matrix would lose. A group that lies in several buffers has the R of its stacked factors.

Group g of replicate k has the number ``k * groups + g``.
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
from accel._window.sampling import Drawn, Sample, draw, sample_size
from accel._window.snapshot_buffer import Window, write

_CHUNK = 1 << 21  # float64 numbers of snapshots handled at a time, for any number of groups: 16 MiB
_BATCH = 1 << 16  # groups passed to a rule at a time, so that single weights of a large model fit in memory


class Batch(NamedTuple):
    """Groups whose factors have one shape."""

    groups: Tensor
    """(B,) int64; numbers of the groups, counted over all replicates."""
    holds_all: bool
    """True if these are all groups, in order."""
    factors: Tensor
    """(B, k, m) float64 on the CPU, k <= m."""
    eps: Tensor
    """(B,) float64; relative rounding error of the least precise dtype that a group is stored in."""
    gram_eps: Tensor
    """(B,) float64; relative rounding error of the Gram matrix that a factor came from; 0 if from no single one."""
    move_eps: Tensor
    """(B,) float64; relative rounding error of moves since the first snapshot where those are stored; else 0."""
    several: Tensor
    """(B,) bool; True if a group has more than one weight."""

    def combine(self, rules: Sequence[Rule], s: Sequence[int]) -> Combination:
        """Extrapolate each group by its own rule and its own s."""
        return combine(rules, self.factors, s)

    def show_no_direction(self) -> Tensor:
        """Return True, (B,), for groups whose snapshots are multiples of one vector.

        For a single weight: if it did not move.
        """
        deficient = show_no_direction(self.factors)
        # a layer's factor has m rows even for few weights, so `several` tells single weights apart
        return deficient & self.several if self.factors.shape[1] > 1 else deficient

    def diagnose(self, chosen: Tensor, coefficients: Tensor, rank: Tensor) -> Diagnosis:
        """Diagnose the windows of the chosen groups.

        Args:
            chosen: (B,) bool; True for the groups to diagnose.
            coefficients: (B, m) float64; combinations of all groups of the batch.
            rank: (B,) int64; number of modes kept, of all groups of the batch.
        """
        columns = (self.factors, coefficients, rank, self.eps, self.gram_eps, self.move_eps)
        return diagnose(*(column[chosen] for column in columns))


class Windows:
    """Up to m snapshots of a layout's parameters.

    Args:
        layout: The parameters and the groups that they form.
        m: Number of snapshots in a window.
        snapshot_dtype: See `Accelerator`.
        snapshot_device: See `Accelerator`.
        stacked: Parameters of K replicates, (K, *shape) each, buffer by buffer; they replace those of the layout.
        sample: Weights of each group that its R is made of.
    """

    def __init__(
        self,
        layout: Layout,
        m: int,
        snapshot_dtype: torch.dtype | None = None,
        snapshot_device: torch.device | str | None = None,
        stacked: Sequence[Sequence[Tensor]] | None = None,
        sample: Sample = "all",
    ) -> None:
        self.m = self.width = m
        self.sample = sample
        self.layout = layout
        self.replicates = len(stacked[0][0]) if stacked else 1
        self.tensors: Sequence[Sequence[Tensor]] = stacked or layout.buffers
        count = self.replicates if stacked else None
        self._windows = tuple(Window(buffer, m, snapshot_dtype, snapshot_device, count) for buffer in self.tensors)
        self._pieces = [self._find_pieces(buffer) for buffer in range(len(self._windows))]
        self._batches: tuple[Batch, ...] | None = None
        self._columns: list[tuple[list[int], list[Tensor]]] | None = None  # of batches; the same for every window

    @property
    def filled(self) -> int:
        """Number of snapshots held."""
        return self._windows[0].filled

    @property
    def full(self) -> bool:
        """True if m snapshots are held."""
        return self._windows[0].full

    @property
    def groups(self) -> int:
        """Number of groups of all replicates."""
        return self.replicates * self.layout.groups

    @property
    def snapshots(self) -> list[Tensor]:
        """Snapshots, (filled, K, n) per buffer, oldest first; see `Window.snapshots`."""
        return [window.snapshots for window in self._windows]

    def append(self) -> None:
        """Record the parameters' present values as the newest snapshot."""
        for window in self._windows:
            window.append()

    def state(self) -> list[Tensor]:
        """Return all that is held, for `restore_state`; with the axis of replicates."""
        return [rows.clone() for rows in self.snapshots] if self.filled else []

    def restore_state(self, state: Sequence[Tensor]) -> None:
        """Hold what `state` returned, here or elsewhere."""
        self.clear()
        if state:
            self.load(state)

    def rows(self, family: Family) -> Tensor:
        """Return the snapshots of a family's groups, (K * count, filled, n) float64."""
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
        """Keep these replicates only; their weights now lie in ``stacked``."""
        self._batches = self._columns = None
        self.replicates, self.tensors = len(replicates), stacked
        for window, tensors in zip(self._windows, stacked, strict=True):
            window.keep(tensors, replicates)

    def release(self) -> None:
        """Forget the snapshots and free their memory."""
        self.clear()
        for window in self._windows:
            window.release()

    def batches(self, streams: Sequence[torch.Generator] = ()) -> tuple[Batch, ...]:
        """Return the factors of all groups of a full window, those of one shape together; computed once per window.

        Args:
            streams: random numbers to draw samples with, one stream per replicate; not used where all weights are
                taken.
        """
        if self._batches is None:
            self._batches = tuple(self._build_batches(streams))
        return self._batches

    def restore(self) -> None:
        """Put the newest snapshot back into the parameters, bit for bit."""
        for tensors, newest in zip(self.tensors, self.newest(), strict=True):
            write(tensors, [newest])

    def newest(self) -> list[Tensor]:
        """Return the newest snapshot, one (K, n) view per buffer."""
        return [window.newest for window in self._windows]

    def combine(
        self, coefficients: Tensor, targets: Sequence[Sequence[Tensor]], reshapings: Sequence[Reshaping | None]
    ) -> Tensor:
        """Write all groups' combined snapshots into the targets.

        Args:
            coefficients: (groups, m) float64.
            targets: tensors of each buffer.
            reshapings: one per replicate, applied to its predictions; any of them needs a float64 copy of these.

        Returns:
            (K,) bool, on the CPU; True if all weights written for a replicate are finite.
        """
        reshaped = self._reshaped(coefficients, reshapings) if any(reshapings) else None
        finite = torch.ones(self.replicates, dtype=torch.bool)
        for buffer, tensors in enumerate(targets):
            finite &= write(tensors, self._blocks(buffer, coefficients, reshaped)).cpu()
        return finite

    def _build_batches(self, streams: Sequence[torch.Generator]) -> Iterator[Batch]:
        single_factors = self._single_factors(streams)
        factors = [
            self._family_factors(f, streams) if f.shape else single_factors[f.first] for f in self.layout.families
        ]
        if self._columns is None:
            self._columns = self._build_columns([factor.shape[1] for factor in factors])
        for members, columns in self._columns:
            stacked = factors[0] if len(factors) == 1 else torch.cat([factors[index] for index in members])
            for start in range(0, len(stacked), _BATCH):
                if len(stacked) <= _BATCH:
                    holds_all = len(self._columns) == self.replicates == 1
                    yield Batch(columns[0], holds_all, stacked, *columns[1:])
                    continue
                part = slice(start, start + _BATCH)
                yield Batch(columns[0][part], False, stacked[part], *(column[part] for column in columns[1:]))

    def _build_columns(self, rows: Sequence[int]) -> list[tuple[list[int], list[Tensor]]]:
        """Return, for every number of rows of a factor, the families that have it and their batches' other fields."""
        families = self.layout.families
        columns_by_rows = []
        for count in dict.fromkeys(rows):
            members = [index for index, each in enumerate(rows) if each == count]
            properties = [
                (self._numbers(f), self._eps(f), self._gram_eps(f), self._move_eps(f), f.size > 1)
                for f in (families[index] for index in members)
            ]
            groups = [numbers for numbers, *_ in properties]
            dtypes = (torch.float64, torch.float64, torch.float64, torch.bool)
            others = [
                torch.cat([torch.full((len(g),), v, dtype=dtype) for g, v in zip(groups, values, strict=True)])
                for dtype, values in zip(dtypes, list(zip(*properties, strict=True))[1:], strict=True)
            ]
            columns_by_rows.append((members, [torch.cat(groups), *others]))
        return columns_by_rows

    def _numbers(self, family: Family) -> Tensor:
        """Return the numbers of a family's groups, (K * count,), replicate by replicate."""
        numbers = torch.arange(family.first, family.first + family.count)
        return (torch.arange(self.replicates)[:, None] * self.layout.groups + numbers).flatten()

    def _single_factors(self, streams: Sequence[torch.Generator]) -> dict[int, Tensor]:
        """Return R, (K, m, m), of every family of one group, by its number; one call per buffer."""
        parts: dict[int, list[Tensor]] = {}
        for buffer, window in enumerate(self._windows):
            singles = [(f, p) for f, p in self._pieces[buffer] if not f.shape]
            if singles:
                draws = [draw(self.sample, piece.size, streams) for _, piece in singles]
                factors = window.factors([_as_group(*each) for each in singles], draws)
                for (family, _), factor in zip(singles, factors, strict=True):
                    parts.setdefault(family.first, []).append(factor)
        return {first: factors[0] if len(factors) == 1 else _join(factors) for first, factors in parts.items()}

    def _family_factors(self, family: Family, streams: Sequence[torch.Generator]) -> Tensor:
        """Return R of a family's groups, (K * count, min(n, m), m); groups of a replicate have one sample."""
        chunk = max(1, _CHUNK // (self.replicates * self.m * family.size))
        factors = []
        draws = [draw(self.sample, piece.size, streams) for piece in family.pieces]
        for start in range(0, family.count, chunk):
            rows = self._rows(family, start, min(start + chunk, family.count), draws)
            finite = rows.isfinite().all(-1).all(-1)
            rows = torch.where(finite[:, None, None], rows, 0.0)
            if family.size <= self.m:
                factor = rows.mT
            elif self._gram_eps(family):
                factor = factors_of_steps(torch.cat([rows[:, :1], rows[:, 1:] - rows[:, :-1]], dim=1))
            else:
                factor = torch.linalg.qr(rows.mT, mode="r").R
            factor = torch.where(finite[:, None, None], factor, torch.nan)
            factors.append(factor.view(self.replicates, -1, *factor.shape[1:]).cpu())
        return torch.cat(factors, dim=1).flatten(0, 1)

    def _rows(self, family: Family, start: int, stop: int, draws: Sequence[Drawn | None] | None = None) -> Tensor:
        """Return the snapshots of groups ``start`` to ``stop`` of a family, (K * groups, filled, n) float64.

        They lie on the device of the first piece.

        Args:
            family: groups of one size.
            start: first group.
            stop: group after the last.
            draws: what to take of each piece; None for all. What was drawn is scaled.
        """
        device = self._windows[family.pieces[0].buffer].device
        parts = []
        for piece, drawn in zip(family.pieces, draws or [None] * len(family.pieces), strict=True):
            rows = self._piece_rows(piece, start, stop)
            if drawn is not None:
                rows = drawn.take(rows.transpose(1, 2)).transpose(1, 2) * drawn.scale
            parts.append(rows.to(device))
        return torch.cat(parts, dim=3).flatten(1, 2).transpose(0, 1)

    def _piece_rows(self, piece: Piece, start: int, stop: int) -> Tensor:
        """Return the snapshots of a piece, (filled, K, groups, size) float64 on its device."""
        rows = self._windows[piece.buffer].values(piece.start + start * piece.size, piece.start + stop * piece.size)
        return rows.reshape(*rows.shape[:2], stop - start, piece.size).to(torch.float64)

    def _find_pieces(self, buffer: int) -> list[tuple[Family, Piece]]:
        """Return the pieces of a buffer, in order, each with its family."""
        pieces = [(f, p) for f in self.layout.families for p in f.pieces if p.buffer == buffer]
        return sorted(pieces, key=lambda each: each[1].start)

    def _blocks(self, buffer: int, coefficients: Tensor, reshaped: dict[Piece, Tensor] | None) -> Iterator[Tensor]:
        """Return a buffer's predictions, in consecutive blocks (K, weights)."""
        pieces = self._pieces[buffer]
        if reshaped is not None:
            yield from (reshaped[piece].flatten(1) for _, piece in pieces)
        elif any(family.shape for family, _ in pieces):
            for family, piece in pieces:
                yield from self._predicted(family, piece, coefficients)
        else:  # in one call: for small groups, the number of operations decides
            chosen = coefficients.view(self.replicates, -1, self.m)
            if len(self._windows) > 1:
                chosen = chosen[:, [family.first for family, _ in pieces]]
            yield from self._windows[buffer].combine([_as_group(*each) for each in pieces], chosen)

    def _predicted(self, family: Family, piece: Piece, coefficients: Tensor) -> Iterator[Tensor]:
        """Return a piece's combined snapshots, flattened, in float64 blocks (K, weights) on its device."""
        window = self._windows[piece.buffer]
        chosen = coefficients.view(self.replicates, -1, self.m)[:, family.first : family.first + family.count]
        if not family.shape:
            yield from window.combine([_as_group(family, piece)], chosen)
            return
        chosen = chosen.to(window.device)
        chunk = max(1, _CHUNK // (self.replicates * self.m * piece.size))
        for start in range(0, family.count, chunk):
            stop = min(start + chunk, family.count)
            rows = self._piece_rows(piece, start, stop)
            yield (rows * chosen[:, start:stop].permute(2, 0, 1)[..., None]).sum(0).flatten(1)

    def _reshaped(self, coefficients: Tensor, reshapings: Sequence[Reshaping | None]) -> dict[Piece, Tensor]:
        """Return the reshaped predictions, (K, count, size), of every piece."""
        reshaped_pieces: dict[Piece, Tensor] = {}
        masks = any(reshaping is not None and reshaping.shape == "masked" for reshaping in reshapings)
        for family in self.layout.families:
            parts = [torch.cat(list(self._predicted(family, p, coefficients)), dim=1) for p in family.pieces]
            predicted = self._join_pieces(family, parts)
            previous = self._snapshot(family, -2) if masks else None
            reshaped = reshape(reshapings, previous, self._snapshot(family, -1), predicted)
            sizes = [piece.size for piece in family.pieces]
            reshaped_pieces |= dict(zip(family.pieces, torch.split(reshaped, sizes, dim=2), strict=True))
        return reshaped_pieces

    def _snapshot(self, family: Family, index: int) -> Tensor:
        """Return one of a full window's snapshots, (K, count, n) float64 on the device of the family's first piece."""
        parts = [self._windows[p.buffer].values(p.start, p.start + family.count * p.size)[index] for p in family.pieces]
        return self._join_pieces(family, parts)

    def _join_pieces(self, family: Family, parts: Sequence[Tensor]) -> Tensor:
        """Return a family's pieces as one tensor, (K, count, n) float64, on the device of the first."""
        shape, device = (self.replicates, family.count, -1), parts[0].device
        return torch.cat([part.to(device, torch.float64).reshape(shape) for part in parts], dim=2)

    def _eps(self, family: Family) -> float:
        return max(torch.finfo(self._dtype(piece)).eps for piece in family.pieces)

    def _gram_eps(self, family: Family) -> float:
        """Return the rounding error of the Gram matrix that a family's factors come from.

        0 if they come from none, or from a second pass.
        """
        if not family.shape:
            return max(gram_eps(self._dtype(piece), sample_size(self.sample, piece.size)) for piece in family.pieces)
        double = torch.finfo(torch.float64).eps
        return double if family.size > self.m and self._eps(family) > double else 0.0

    def _move_eps(self, family: Family) -> float:
        return max(self._windows[piece.buffer].move_eps for piece in family.pieces)

    def _dtype(self, piece: Piece) -> torch.dtype:
        return self.layout.buffers[piece.buffer][0].dtype


def _as_group(family: Family, piece: Piece) -> Group:
    """Return the one group of a family, or the part of it that lies in this piece's buffer."""
    return Group(family.name, piece.start, piece.start + piece.size)


def _join(factors: list[Tensor]) -> Tensor:
    """Return the factor of groups that lie in several buffers: RᵀR is the sum over the parts."""
    stacked = torch.cat(factors, dim=1)
    finite = stacked.isfinite().flatten(1).all(1)[:, None, None]
    return torch.where(finite, torch.linalg.qr(torch.where(finite, stacked, 0.0), mode="r").R, math.nan)
