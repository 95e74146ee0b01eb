"""The factor R of a window, from a Gram matrix precise enough to resolve the steps between the snapshots.

| symbol | meaning                                                                         | shape  |
|--------|---------------------------------------------------------------------------------|--------|
| n, m   | weights in a group, snapshots in the window                                     |        |
| W      | snapshots, oldest first                                                         | (n, m) |
| D      | [w_0, w_1 - w_0, …]: the first snapshot and the steps                           | (n, m) |
| E      | [d_0, d_1, d_2 - d_1, …]: those two, and the changes from step to step          | (n, m) |
| T      | a transform that makes the columns of E T comparable, at first 1                | (m, m) |
| G      | (E T)ᵀ (E T) = S (Q Λ Qᵀ) S, S = sqrt(diag G)                                   | (m, m) |
| R      | sqrt(Λ) Qᵀ S T⁻¹, summed up twice as E is to give W; RᵀR = WᵀW                   | (m, m) |

Weights move by 1e-4 of their size per step, so the steps are a small part of σ0, and WᵀW resolves singular values down
to about 1e-8 σ0 only. Consecutive steps are nearly parallel, which hides most of what is left. So E has each change in
a column of its own, and each column is scaled to unit norm before the eigendecomposition. Weights below float64 lie on
a grid, so differences of near values are exact, and so are the differences of these differences.

*Weights below float64*: products of E are taken in float64 or, for large groups, in float32. Each float32 product
covers 128 weights, and they are summed in float64: this is twice as fast, and right to 4e-9 of the columns' lengths.
Rounding of the snapshots themselves disturbs a window about as much. Measured on windows of a network under Adam (n =
2.7 million): predictions differ from those of a float64 singular value decomposition by less than 1e-4 of the move,
wherever a change of the snapshots by half a unit in the last place makes no larger difference. With products of D in
float32 the difference would be 4e-2.
*Float64 weights*: a second pass with T = Q Λ^-½, taken from the first, resolves the rest (as in CholeskyQR2; Yamamoto
et al. 2015, doi:10.1553/etna_vol44s306).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Levels = Callable[[int, int, torch.dtype], tuple[Tensor, Tensor]]
"""Function (start, stop, dtype) -> for k = stop - start weights of K replicates: their first snapshot, (K, k), and
(m, K, k) numbers whose differences are the steps."""

_LARGE = 1 << 17  # weights; in smaller groups float64 products cost less than a millisecond
_CHUNK = 1 << 19  # numbers in a chunk
_BLOCKS_CHECKED = 16  # leading blocks whose float32 products are compared with float64 ones
_DOUBLE = torch.finfo(torch.float64).eps
_FLOAT32_PRODUCTS = 2e-9  # an eigenvalue of m times this is about as large as its error; measured on networks' windows
_MAX_DISAGREEMENT = 5e-6  # of one block's products: at most 1e-6 in true float32, 2e-5 or more in TensorFloat32
_SAFE_MEAN_SQUARES = 1e-28, 1e28  # of a column, so that its products neither vanish nor overflow in float32


def gram_eps(dtype: torch.dtype, size: int) -> float:
    """Return the relative rounding error of a Gram matrix's entries for ``size`` weights; 0 after two passes."""
    if dtype == torch.float64:
        return 0.0
    return _DOUBLE if size < _LARGE else _FLOAT32_PRODUCTS


def factors(
    levels: Levels, spans: Sequence[tuple[int, int]], m: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return R of the weights in each span.

    Args:
        levels: reads the snapshots; see `Levels`.
        spans: (start, stop) of each group.
        m: number of snapshots.
        dtype: of the weights.
        device: where the snapshots are.

    Returns:
        (spans, K, m, m) float64 on the CPU; NaN where a replicate's snapshots are not finite.
    """
    # autocast would multiply in less than float32; windows that are not finite give NaN
    with torch.autocast(device.type, enabled=False), np.errstate(all="ignore"):
        if dtype != torch.float64:
            grams, eps = _one_pass(levels, spans, m, device)
            return torch.from_numpy(_summed_twice(_root(grams.cpu().numpy(), eps)))
        first = _grams(levels, spans, m, torch.float64, device)
        q, roots, scale = _decompose(_split_finite(first.cpu().numpy())[0])
        floor = (m * _DOUBLE) ** 0.5 * np.maximum(roots.max(-1, keepdims=True), np.finfo(np.float64).tiny)
        roots = np.maximum(roots, floor)
        transforms = torch.from_numpy(q / scale[..., :, None] / roots[..., None, :]).to(device)
        second = _grams(levels, spans, m, torch.float64, device, transforms).cpu().numpy()
    back = roots[..., :, None] * q.swapaxes(-2, -1) * scale[..., None, :]
    return torch.from_numpy(_summed_twice(_root(second) @ back))


def factors_of_steps(steps: Tensor) -> Tensor:
    """Return R of every group, (groups, m, m), in one pass, given (groups, m, n) float64 first snapshots and steps."""
    changes = torch.cat([steps[:, :2], steps[:, 2:] - steps[:, 1:-1]], dim=1)
    with np.errstate(all="ignore"):
        return torch.from_numpy(_summed_twice(_root((changes @ changes.mT).cpu().numpy()))).to(steps.device)


def _decompose(grams: Array, eps: Array | float = _DOUBLE) -> tuple[Array, Array, Array]:
    """Return Q, sqrt(Λ), S of finite G = S (Q Λ Qᵀ) S; eigenvalues at rounding level, up to m eps, count as zero."""
    scale = np.sqrt(grams.diagonal(axis1=-2, axis2=-1))
    scale = np.where(scale == 0, 1.0, scale)
    eigenvalues, q = np.linalg.eigh(grams / (scale[..., :, None] * scale[..., None, :]))
    floor = grams.shape[-1] * np.asarray(eps)[..., None]
    return q, np.sqrt(np.where(eigenvalues <= floor, 0.0, eigenvalues)), scale


def _root(grams: Array, eps: Array | float = _DOUBLE) -> Array:
    """Return matrices that have these Gram matrices; NaN where those are not finite."""
    grams, finite = _split_finite(grams)
    q, roots, scale = _decompose(grams, eps)
    root = roots[..., :, None] * q.swapaxes(-2, -1) * scale[..., None, :]
    return root if finite is None else np.where(finite, root, np.nan)


def _split_finite(grams: Array) -> tuple[Array, Flags | None]:
    """Replace Gram matrices that are not finite by zeros; also return which are finite, (..., 1, 1); None if all."""
    if np.isfinite(grams.sum()):
        return grams, None
    finite = np.asarray(np.isfinite(grams).all((-2, -1), keepdims=True))
    return np.where(finite, grams, 0.0), finite


def _summed_twice(changes: Array) -> Array:
    """Return W, given E."""
    steps = changes.copy()
    np.cumsum(changes[..., 1:], axis=-1, out=steps[..., 1:])
    return np.asarray(np.cumsum(steps, axis=-1, out=steps))


def _one_pass(levels: Levels, spans: Sequence[tuple[int, int]], m: int, device: torch.device) -> tuple[Tensor, Array]:
    """Return lower triangles of EᵀE, (spans, K, m, m) float64 on the device, and their rounding errors, (spans, K)."""
    is_large = [stop - start >= _LARGE for start, stop in spans]
    if not any(is_large):
        grams = _small_grams(levels, spans, m) if device.type == "cpu" else None
        if grams is None:
            grams = _grams(levels, spans, m, torch.float64, device)
        return grams, np.full(grams.shape[:2], _DOUBLE)
    small_spans = [span for span, large in zip(spans, is_large, strict=True) if not large]
    grams = _grams(levels, small_spans, m, torch.float64, device) if small_spans else torch.empty(0, device=device)
    small_grams = iter(grams)
    parts = [
        _large_gram(levels, span, m, device) if large else (next(small_grams), None)
        for span, large in zip(spans, is_large, strict=True)
    ]
    grams = torch.stack([gram for gram, _ in parts])
    eps = np.full(grams.shape[:2], _DOUBLE)
    for row, (_, in_float32) in zip(eps, parts, strict=True):
        if in_float32 is not None:
            row[in_float32.numpy()] = _FLOAT32_PRODUCTS
    return grams, eps


def _small_grams(levels: Levels, spans: Sequence[tuple[int, int]], m: int) -> Tensor | None:
    """Return EᵀE, (spans, K, m, m) float64, in few operations; None if the spans' weights are too many for a cache.

    In numpy: for small networks the number of operations decides, and its own cost a third of torch's.
    """
    start, stop = min(span[0] for span in spans), max(span[1] for span in spans)
    replicates = len(levels(0, 0, torch.float64)[0])
    if replicates * m * (stop - start) > _CHUNK:
        return None
    first, rows = (values.numpy() for values in levels(start, stop, torch.float64))
    changes = np.empty((replicates, m, stop - start))
    steps = np.diff(rows, axis=0).swapaxes(0, 1)
    changes[:, 0], changes[:, 1] = first, steps[:, 0]
    np.subtract(steps[:, 1:], steps[:, :-1], out=changes[:, 2:])
    parts = [changes[:, :, a - start : b - start] for a, b in spans]
    return torch.from_numpy(np.stack([part @ part.swapaxes(1, 2) for part in parts]))


def _large_gram(levels: Levels, span: tuple[int, int], m: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a large group's Gram matrices, (K, m, m), and which replicates' come from float32 products, (K,) bool.

    Where float32 products were not right, those of float64 are taken.
    """
    gram = _grams(levels, [span], m, torch.float32, device)[0]
    mean_squares = gram.diagonal(dim1=-2, dim2=-1) / (span[1] - span[0])
    low, high = _SAFE_MEAN_SQUARES
    in_float32 = ((mean_squares > low) & (mean_squares < high)).all(-1)
    if not in_float32.all():
        gram = torch.where(in_float32[:, None, None], gram, _grams(levels, [span], m, torch.float64, device)[0])
    return gram, in_float32.cpu()


class _Part(NamedTuple):
    """Part of a span that lies in one chunk."""

    span: int
    start: int
    size: int
    block: int
    """Number of the chunk's blocks before it."""
    blocks: int
    """Number of blocks that it takes."""


def _chunks(spans: Sequence[tuple[int, int]], stride: int, limit: int) -> list[list[_Part]]:
    """Cut spans into chunks of at most ``limit`` blocks of ``stride`` weights; a span that fits into one is not cut."""
    chunks: list[list[_Part]] = []
    used = limit
    for index, (start, stop) in enumerate(spans):
        for begin in range(start, stop, limit * stride):
            size = min(limit * stride, stop - begin)
            blocks = -(-size // stride)
            if used + blocks > limit:
                chunks.append([])
                used = 0
            chunks[-1].append(_Part(index, begin, size, used, blocks))
            used += blocks
    return chunks


def _grams(
    levels: Levels,
    spans: Sequence[tuple[int, int]],
    m: int,
    dtype: torch.dtype,
    device: torch.device,
    transforms: Tensor | None = None,
) -> Tensor:
    """Return lower triangles of (E T)ᵀ (E T), (spans, K, m, m) float64 on the device.

    They are NaN for replicates whose products turn out less precise than the dtype, or out of its range. The weights
    are read in chunks that stay in a processor's cache. Each chunk is cut into blocks, whose products are one batched
    call. Products with 16 columns are the fastest, so float32 blocks of fewer rows are stacked, or padded.
    """
    single = dtype == torch.float32
    block = 128 if single else 256
    stack = max(1, 16 // m) if single else 1
    rows = max(16, m) if single else m
    stride = block * stack
    replicates = len(levels(0, 0, dtype)[0])
    chunks = _chunks(
        spans, stride, max(1, (_CHUNK if device.type == "cpu" else 8 * _CHUNK) // (replicates * m * stride))
    )
    most = max(chunk[-1].block + chunk[-1].blocks for chunk in chunks)
    steps = torch.empty(m, replicates, most * stride, dtype=dtype, device=device)
    changes = torch.empty(replicates, most, rows, block, dtype=dtype, device=device)
    if stack * m < rows:
        changes[:, :, stack * m :] = 0
    blocks = changes.flatten(0, 1)
    total = torch.zeros(len(spans), replicates, rows, rows, dtype=torch.float64, device=device)
    for chunk in chunks:
        for part in chunk:
            begin, end = part.block * stride, (part.block + part.blocks) * stride
            _read(levels, part, steps[:, :, begin:end])
        if transforms is None:
            _write_changes(steps, changes[:, :, : stack * m].view(replicates, most, stack, m, block))
        else:
            for part in chunk:
                taken = slice(part.block, part.block + part.blocks)
                _write_transformed(
                    steps.view(m, replicates, most, block)[:, :, taken], changes[:, taken], transforms[part.span]
                )
        if single and chunk is chunks[0]:
            total[:, _products_are_wrong(changes[:, :_BLOCKS_CHECKED])] = torch.nan
            if total.isnan().all():
                break
        for left in range(0, rows, 16):  # panels of 16 columns; eigh() reads the lower triangle only
            products = torch.bmm(blocks[:, left:], blocks[:, left : left + 16].mT).view(
                replicates, most, rows - left, -1
            )
            for part in chunk:
                summed = products[:, part.block : part.block + part.blocks].sum(1, dtype=torch.float64)
                total[part.span, :, left:, left : left + 16] += summed
    if stack == 1:
        return total[:, :, :m, :m]
    return torch.stack([total[:, :, k : k + m, k : k + m] for k in range(0, stack * m, m)]).sum(0)


def _read(levels: Levels, part: _Part, steps: Tensor) -> None:
    """Write the first snapshot and the steps of a part into (m, K, weights), and zeros behind them."""
    first, values = levels(part.start, part.start + part.size, steps.dtype)
    steps[0, :, : part.size] = first
    torch.sub(values[1:], values[:-1], out=steps[1:, :, : part.size])
    if part.size < steps.shape[2]:
        steps[:, :, part.size :] = 0


def _write_changes(steps: Tensor, changes: Tensor) -> None:
    """Write E, given (m, K, weights) steps, into (K, pieces, stack, m, block)."""
    replicates, pieces, stack, m, block = changes.shape
    target = changes.permute(3, 0, 1, 2, 4)
    source = steps.view(m, replicates, pieces, stack, block)
    target[:2].copy_(source[:2])
    torch.sub(source[2:], source[1:-1], out=target[2:])


def _write_transformed(steps: Tensor, changes: Tensor, transforms: Tensor) -> None:
    """Write E T, given (m, K, pieces, block) steps and (K, m, m) transforms, into (K, pieces, m, block)."""
    plain = torch.cat([steps[:2], steps[2:] - steps[1:-1]]).transpose(0, 1)
    changes.copy_((transforms.mT @ plain.flatten(2)).view(plain.shape).transpose(1, 2))


def _products_are_wrong(changes: Tensor) -> Tensor:
    """Return True, (K,), for replicates whose products are not those of float32.

    They are out of range, or of a lower precision that PyTorch was told to use.
    """
    blocks = changes.flatten(0, 1)
    products, exact = torch.bmm(blocks, blocks.mT), blocks.double() @ blocks.double().mT
    lengths = exact.diagonal(dim1=-2, dim2=-1).sqrt()
    error = (products - exact).abs() - _MAX_DISAGREEMENT * lengths[:, :, None] * lengths[:, None, :]
    return ~(error <= 0).view(len(changes), -1).all(1)
