"""The window of snapshots: written one row per step, read once per jump.

A rule gets the window as R, an (m, m) matrix with RᵀR = WᵀW: the snapshots in an orthonormal basis of their span (see
`gram`). It returns the coefficients that combine the snapshots.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from accel._window import gram
from accel._window.groups import Group
from accel._window.sampling import Drawn
from accel._window.storage import Store, build_store

_CHUNK = 1 << 19  # float64 numbers combined at a time, few enough to stay in a processor's cache
_PREDICTED = 1 << 17  # weights predicted at a time, few enough to be still in the cache when they are written
_LARGEST_SUM = 100  # of a group's coefficients: float32 products then err by less than 1e-5 of the weights


class Window:
    """Up to m flattened snapshots of tensors that share one dtype and one device.

    Tensors of several replicates of a network have a leading axis of K; n is the number of weights of one replicate.

    Snapshots are allocated when the first one is taken, so that a model may still move between devices before that.

    Args:
        tensors: The tensors whose values are recorded.
        m: Number of snapshots; at least 2.
        dtype: If narrower than the tensors' dtype, all snapshots but the first and the newest are kept as differences
            from the first in this dtype, and so are rounded. None keeps every snapshot as it is.
        device: Device on which snapshots are kept and jumps are computed; None for that of the tensors.
        replicates: K; None for tensors of one network, which have no leading axis.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        m: int,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        replicates: int | None = None,
    ) -> None:
        self.m = m
        self.filled = 0
        self.replicates = 1 if replicates is None else replicates
        self._tensors = tuple(tensors)
        self._shapes = tuple(tensor.shape for tensor in self._tensors)
        self._snapshot_dtype = dtype
        self._snapshot_device = None if device is None else torch.device(device)
        self._rows: Store | None = None
        self._dtype, self._device = self._tensors[0].dtype, self._tensors[0].device
        self._flats: list[Tensor] = []
        self._signature: list[tuple[int, torch.Size, torch.dtype, tuple[int, ...]]] | None = None

    @property
    def full(self) -> bool:
        """True if m snapshots are held."""
        return self.filled == self.m

    @property
    def device(self) -> torch.device:
        """Device on which snapshots are kept."""
        return self._store().newest.device

    @property
    def snapshots(self) -> Tensor:
        """Snapshots, (filled, K, n), oldest first: a view, or a new float64 tensor where differences are kept."""
        return self.values(0, self._size)

    @property
    def newest(self) -> Tensor:
        """Last snapshot of a full window, a (K, n) view, bit for bit as recorded."""
        return self._store().newest

    @property
    def move_eps(self) -> float:
        """Relative rounding error of stored moves since the first snapshot; 0 if snapshots are kept as they are."""
        return self._store().move_eps

    def values(self, start: int, stop: int) -> Tensor:
        """Return weights ``start`` to ``stop`` of all snapshots, (filled, K, stop - start), oldest first."""
        return self._store().values(self.filled, start, stop)

    def append(self) -> None:
        """Record the tensors' present values as the newest snapshot."""
        # Comparing signatures costs 2 µs; preparing views of a small network's tensors costs ten times that.
        signature = [(tensor.data_ptr(), tensor.shape, tensor.dtype, tensor.stride()) for tensor in self._tensors]
        if signature != self._signature or self._rows is None:
            self._check_unchanged()
            self._flats = [tensor.detach().reshape(self.replicates, -1) for tensor in self._tensors]
            views = all(tensor.is_contiguous() for tensor in self._tensors)  # reshape() copies any other
            self._signature = signature if views else None
        with torch.no_grad():
            self._store().put(self.filled, self._flats)
        self.filled += 1

    def load(self, snapshots: Tensor) -> None:
        """Replace the content by these (k, K, n) snapshots, k <= m."""
        self.filled = 0
        for row in snapshots:
            self._store().put(self.filled, [row])
            self.filled += 1

    def clear(self) -> None:
        """Forget the snapshots, but keep their memory."""
        self.filled = 0

    def release(self) -> None:
        """Forget the snapshots and free their memory."""
        self.filled, self._rows = 0, None

    def keep(self, tensors: Sequence[Tensor], replicates: Tensor) -> None:
        """Keep these replicates only; their weights now lie in ``tensors``."""
        self._tensors, self._shapes = tuple(tensors), tuple(tensor.shape for tensor in tensors)
        self._signature = None
        self.replicates = len(replicates)
        if self._rows is not None:
            self._rows.keep(replicates.to(self._rows.newest.device))

    def factors(self, groups: Sequence[Group], draws: Sequence[Drawn | None] | None = None) -> Tensor:
        """Return R of every group of a full window, (groups, K, m, m) float64 on the CPU; NaN where not finite.

        Args:
            groups: groups of the window.
            draws: what to take of each group's weights; None for all.
        """
        store = self._store()
        spans = [(group.start, group.stop) for group in groups]
        dtype, device = store.newest.dtype, store.newest.device
        if draws is None or not any(draws):
            return gram.factors(store.levels, spans, self.m, dtype, device)
        parts = [store.levels(*span, dtype, drawn) for span, drawn in zip(spans, draws, strict=True)]
        first, rows = (torch.cat(columns, dim=-1) for columns in zip(*parts, strict=True))
        ends = [0, *itertools.accumulate(part.shape[-1] for part, _ in parts)]

        def _levels(start: int, stop: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            return first[..., start:stop].to(dtype), rows[..., start:stop].to(dtype)

        factors = gram.factors(_levels, list(itertools.pairwise(ends)), self.m, dtype, device)
        scales = [1.0 if drawn is None else drawn.scale for drawn in draws]
        return factors * torch.tensor(scales, dtype=torch.float64)[:, None, None, None]

    def combine(self, groups: Sequence[Group], coefficients: Tensor) -> Iterator[Tensor]:
        """Return the combined snapshots of a full window, flattened, in consecutive blocks of (K, weights).

        Blocks are float64, or of the weights' dtype where products in it are about as accurate as the snapshots: see
        `WholeStore.multiplies`, and no coefficients are so large that the roundings of the products count.

        Args:
            groups: groups that follow each other in the snapshot.
            coefficients: (K, groups, m) float64.
        """
        store = self._store()
        begin, end = groups[0].start, groups[-1].stop
        device = store.newest.device
        in_place = store.multiplies
        # of each replicate for itself, so that none notices the others
        in_float32 = in_place and store.newest.dtype == torch.float32
        large = (coefficients.abs().sum(-1) > _LARGEST_SUM).tolist() if in_float32 else []
        is_large = any(map(any, large))
        rows = (_rounded(coefficients, store.newest.dtype) if in_place else coefficients.to(device))[:, :, None]
        wide = in_place and not is_large
        width = _PREDICTED // self.replicates if wide else _CHUNK // (self.m * self.replicates)
        width = min(max(1, width), end - begin)
        scratch: Tensor | None = None
        for start in range(begin, end, width):
            stop = min(start + width, end)
            block = store.values(self.m, start, stop).transpose(0, 1)
            if block.dtype != rows.dtype:
                if scratch is None:
                    scratch = torch.empty(self.replicates, self.m, width, dtype=rows.dtype, device=device)
                block = scratch[:, :, : stop - start].copy_(block)
            spans = [
                (index, max(group.start - start, 0), min(group.stop, stop) - start)
                for index, group in enumerate(groups)
                if group.start < stop and group.stop > start
            ]
            products = _products(rows, block, spans)
            if is_large:
                for index, a, b in spans:
                    for k in (k for k, groups_large in enumerate(large) if groups_large[index]):
                        products[k, a:b] = coefficients[k, index] @ block[k, :, a:b].to(torch.float64)
            yield products

    @property
    def _size(self) -> int:
        return sum(shape.numel() for shape in self._shapes) // self.replicates

    def _store(self) -> Store:
        like = self._tensors[0]
        if self._rows is None or (self.filled == 0 and self._device != like.device):
            self._dtype, self._device = like.dtype, like.device
            device = self._snapshot_device or like.device
            self._rows = build_store(self.m, self.replicates, self._size, like.dtype, device, self._snapshot_dtype)
        return self._rows

    def _check_unchanged(self) -> None:
        self._store()
        for tensor, shape in zip(self._tensors, self._shapes, strict=True):
            if tensor.shape != shape or tensor.dtype != self._dtype or tensor.device != self._device:
                raise ValueError(
                    "parameters must keep shape, dtype and device between steps: "
                    f"expected {tuple(shape)} {self._dtype} on {self._device}, "
                    f"got {tuple(tensor.shape)} {tensor.dtype} on {tensor.device}; "
                    "build a new Accelerator after such a change"
                )


def write(tensors: Sequence[Tensor], blocks: Iterable[Tensor]) -> Tensor:
    """Write consecutive blocks of flattened vectors, each (K, weights), into the tensors in place.

    Returns:
        (K,) bool; True if all weights written for a replicate are finite.
    """
    flats: list[Tensor] = []
    finite: Tensor | None = None
    index = offset = 0
    for block in blocks:
        if not flats:  # views, except for tensors that are not contiguous
            flats = [tensor.detach().reshape(len(block), -1) for tensor in tensors]
        block = block.to(flats[0])
        block_finite = _rows_are_finite(block)
        finite = block_finite if finite is None else finite & block_finite
        targets: list[Tensor] = []
        left = block.shape[1]
        while left:
            flat = flats[index]
            end = min(offset + left, flat.shape[1])
            targets.append(flat if end - offset == flat.shape[1] else flat[:, offset:end])
            left -= end - offset
            index, offset = (index + 1, 0) if end == flat.shape[1] else (index, end)
        for target, part in zip(targets, block.split_with_sizes([t.shape[1] for t in targets], dim=1), strict=True):
            target.copy_(part)
    for tensor, flat in zip(tensors, flats, strict=True):
        if not tensor.is_contiguous():
            tensor.detach().copy_(flat.view(tensor.shape))
    assert finite is not None  # a buffer has weights
    return finite


def _rows_are_finite(block: Tensor) -> Tensor:
    """Return (K,) bool; True if all numbers of a (K, weights) block's row are finite."""
    # the sum takes a tenth of the time; but that of finite numbers may overflow, and reading it waits for a GPU
    if block.device.type == "cpu" and math.isfinite(block.sum().item()):
        return torch.ones(len(block), dtype=torch.bool)
    return block.isfinite().all(1)


def _products(rows: Tensor, block: Tensor, spans: Sequence[tuple[int, int, int]]) -> Tensor:
    """Return (K, weights): (K, groups, 1, m) rows times a (K, m, weights) block, each row times its span of the block.

    By numpy on the CPU: its small operations cost a third of torch's, and no autocast and no setting of precision of
    the caller's lowers its products.

    Args:
        rows: coefficients.
        block: snapshots.
        spans: (group, its first weight, the weight after its last) for all weights of the block, in order.
    """
    if block.device.type != "cpu":
        return torch.cat([torch.bmm(rows[:, index], block[:, :, a:b]) for index, a, b in spans], dim=2)[:, 0]
    factors, snapshots = rows.numpy(), block.numpy()
    products = np.empty((len(factors), 1, snapshots.shape[2]), snapshots.dtype)
    with np.errstate(all="ignore"):  # predictions that are not finite are found when they are written
        for index, a, b in spans:
            np.matmul(factors[:, index], snapshots[:, :, a:b], out=products[:, :, a:b])
    return torch.from_numpy(products[:, 0])


def _rounded(coefficients: Tensor, dtype: torch.dtype) -> Tensor:
    """Round (..., m) coefficients so that their sum keeps its value, but for the rounding of the smallest.

    Snapshots are nearly equal, so an error of the sum would stretch all weights alike.
    """
    if dtype == coefficients.dtype:
        return coefficients
    rounded = coefficients.to(dtype)
    smallest = coefficients.abs().argmin(-1, keepdim=True)
    lost = (coefficients - rounded).sum(-1, keepdim=True)
    return rounded.scatter(-1, smallest, (coefficients.gather(-1, smallest) + lost).to(dtype))
