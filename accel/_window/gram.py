"""The factor R of a window, from a Gram matrix that resolves what the snapshots hold.

| symbol | meaning                                                                         | shape  |
|--------|---------------------------------------------------------------------------------|--------|
| n, m   | weights in a group, snapshots in the window                                     |        |
| W      | snapshots, oldest first                                                         | (n, m) |
| D      | [w_0, w_1 - w_0, …]: the first snapshot and the steps                           | (n, m) |
| E      | [d_0, d_1, d_2 - d_1, …]: those two, and the changes from step to step          | (n, m) |
| T      | a transform that makes the columns of E T comparable, at first 1                | (m, m) |
| G      | (E T)ᵀ (E T) = S (Q Λ Qᵀ) S, S = sqrt(diag G)                                   | (m, m) |
| R      | sqrt(Λ) Qᵀ S T⁻¹, summed up twice as E is to give W; RᵀR = WᵀW                   | (m, m) |

Weights move by 1e-4 of their size per step, so WᵀW resolves singular values down to about 1e-8 σ0 only, of which the
steps are but a small part. Consecutive steps are nearly parallel, which hides most of what is left. In E each change
stands in a column of its own, and each column is scaled to unit norm before the eigendecomposition. Weights of less
than float64 lie on a grid, so that differences of near values are exact, and again the differences of those.

*Weights below float64*: products of E in float64, or, for large groups, in float32, each over 128 weights, summed in
float64: twice as fast, and right to 4e-9 of the columns' lengths. Rounding of the snapshots themselves disturbs a
window about as much. Measured on windows of a network under Adam (n = 2.7 million): predictions differ from those of a
float64 singular value decomposition by less than 1e-4 of the move wherever half a unit in the last place of the
snapshots makes no more; with products of D in float32 the difference would be 4e-2.
*Float64 weights*: a second pass with T = Q Λ^-½, taken from the first, resolves the rest (as CholeskyQR2 does; Yamamoto
et al. 2015, doi:10.1553/etna_vol44s306).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from accel._linalg import split_finite, where_finite

Levels = Callable[[int, int, torch.dtype], tuple[Tensor, Tensor]]
"""(start, stop, dtype) -> the first snapshot of these weights, (K, k) for K replicates, and (m, K, k) numbers whose
differences are the steps."""

_LARGE = 1 << 17  # weights; below, float64 products cost less than a millisecond
_CHUNK = 1 << 19  # numbers in a chunk
_TRIED = 16  # blocks whose products are checked
_DOUBLE = torch.finfo(torch.float64).eps
_FLOAT32_PRODUCTS = 2e-9  # m times this is an eigenvalue about as large as its error, measured on networks' windows
_DISAGREEMENT = 5e-6  # of one block's products: at most 1e-6 in honest float32, 2e-5 or more in TensorFloat32
_SAFE = 1e-28, 1e28  # mean square of a column whose products neither vanish nor overflow in float32


def gram_eps(dtype: torch.dtype, size: int) -> float:
    """Relative rounding error of a Gram matrix's entries for that many weights of that dtype; 0 after two passes."""
    if dtype == torch.float64:
        return 0.0
    return _DOUBLE if size < _LARGE else _FLOAT32_PRODUCTS


def factors(
    levels: Levels, spans: Sequence[tuple[int, int]], m: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """R of the weights in each span (start, stop), which hold that dtype.

    Returns:
        (spans, K, m, m) float64 on the CPU; NaN where a replicate's snapshots are not finite.
    """
    with torch.autocast(device.type, enabled=False):  # which would multiply in less than float32
        if dtype != torch.float64:
            grams, eps = _one_pass(levels, spans, m, device)
            return _summed(_root(grams.cpu().flatten(0, 1), eps.view(-1, 1))).view(grams.shape)
        first = _grams(levels, spans, m, torch.float64, device)
        q, roots, scale = _decompose(split_finite(first.cpu().flatten(0, 1))[0])
        floor = (m * _DOUBLE) ** 0.5 * roots.amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        roots = roots.maximum(floor)
        transforms = (q / scale[:, :, None] / roots[:, None, :]).to(device).view(first.shape)
        second = _grams(levels, spans, m, torch.float64, device, transforms).cpu().flatten(0, 1)
    return _summed(_root(second) @ (roots[:, :, None] * q.mT * scale[:, None, :])).view(first.shape)


def factors_of_steps(steps: Tensor) -> Tensor:
    """R of every group, (groups, m, m), from its (groups, m, n) float64 first snapshots and steps, in one pass."""
    changes = torch.cat([steps[:, :2], steps[:, 2:] - steps[:, 1:-1]], dim=1)
    return _summed(_root(changes @ changes.mT))


def _decompose(grams: Tensor, eps: Tensor | float = _DOUBLE) -> tuple[Tensor, Tensor, Tensor]:
    """Q, sqrt(Λ), S of finite G = S (Q Λ Qᵀ) S; rounding-level eigenvalues, below m eps, count as zero."""
    scale = grams.diagonal(dim1=-2, dim2=-1).sqrt()
    scale = scale.masked_fill_(scale == 0, 1.0)
    eigenvalues, q = torch.linalg.eigh(grams / (scale[:, :, None] * scale[:, None, :]))
    return q, eigenvalues.masked_fill_(eigenvalues <= grams.shape[-1] * eps, 0.0).sqrt_(), scale


def _root(grams: Tensor, eps: Tensor | float = _DOUBLE) -> Tensor:
    """Matrices with these Gram matrices; NaN where those are not finite."""
    grams, finite = split_finite(grams)
    q, roots, scale = _decompose(grams, eps)
    return where_finite(finite, roots[:, :, None] * q.mT * scale[:, None, :], torch.nan)


def _summed(changes: Tensor) -> Tensor:
    """W from E, both by columns."""
    steps = torch.cat([changes[:, :, :1], torch.cumsum(changes[:, :, 1:], dim=-1)], dim=-1)
    return torch.cumsum(steps, dim=-1)


def _one_pass(levels: Levels, spans: Sequence[tuple[int, int]], m: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Lower triangles of EᵀE, (spans, K, m, m) float64 on the device, and their entries' rounding error, (spans, K)."""
    large = [stop - start >= _LARGE for start, stop in spans]
    small = [span for span, many in zip(spans, large, strict=True) if not many]
    grams = _grams(levels, small, m, torch.float64, device) if small else torch.empty(0, device=device)
    if not any(large):
        return grams, torch.full(grams.shape[:2], _DOUBLE, dtype=torch.float64)
    found = iter(grams)
    parts = [
        _of_many(levels, span, m, device) if many else (next(found), None)
        for span, many in zip(spans, large, strict=True)
    ]
    grams = torch.stack([gram for gram, _ in parts])
    eps = torch.full(grams.shape[:2], _DOUBLE, dtype=torch.float64)
    for row, (_, honest) in zip(eps, parts, strict=True):
        if honest is not None:
            row[honest] = _FLOAT32_PRODUCTS
    return grams, eps


def _of_many(levels: Levels, span: tuple[int, int], m: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(K, m, m) of a large group by float32 products, or by float64 where those were not right; where they were."""
    gram = _grams(levels, [span], m, torch.float32, device)[0]
    mean_squares = gram.diagonal(dim1=-2, dim2=-1) / (span[1] - span[0])
    honest = ((mean_squares > _SAFE[0]) & (mean_squares < _SAFE[1])).all(-1)
    if not honest.all():
        gram = torch.where(honest[:, None, None], gram, _grams(levels, [span], m, torch.float64, device)[0])
    return gram, honest.cpu()


class _Part(NamedTuple):
    """Consecutive weights of a span in a chunk."""

    span: int
    start: int
    size: int
    block: int
    """Where they begin, in blocks."""
    blocks: int


def _chunks(spans: Sequence[tuple[int, int]], stride: int, limit: int) -> list[list[_Part]]:
    """Cut spans into chunks of at most so many blocks of stride weights; a span that fits into one is not cut."""
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
    """Lower triangles of (E T)ᵀ (E T), (spans, K, m, m) float64 on the device; NaN where products are not of the dtype.

    The weights are read in chunks that stay in a processor's cache, each cut into blocks whose products are one batched
    call. Products with 16 columns are the fastest there are: float32 blocks of fewer rows are stacked, or padded.
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
                own = slice(part.block, part.block + part.blocks)
                _write_transformed(
                    steps.view(m, replicates, most, block)[:, :, own], changes[:, own], transforms[part.span]
                )
        if single and chunk is chunks[0]:
            total[:, _disagree(changes[:, :_TRIED])] = torch.nan
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
    """First snapshot and steps of these weights, and zeros behind them, into (m, K, weights)."""
    first, values = levels(part.start, part.start + part.size, steps.dtype)
    steps[0, :, : part.size] = first
    torch.sub(values[1:], values[:-1], out=steps[1:, :, : part.size])
    if part.size < steps.shape[2]:
        steps[:, :, part.size :] = 0


def _write_changes(steps: Tensor, changes: Tensor) -> None:
    """E from (m, K, weights) steps into (K, pieces, stack, m, block)."""
    replicates, pieces, stack, m, block = changes.shape
    target = changes.permute(3, 0, 1, 2, 4)
    source = steps.view(m, replicates, pieces, stack, block)
    target[:2].copy_(source[:2])
    torch.sub(source[2:], source[1:-1], out=target[2:])


def _write_transformed(steps: Tensor, changes: Tensor, transforms: Tensor) -> None:
    """E T from (m, K, pieces, block) steps and (K, m, m) transforms into (K, pieces, m, block)."""
    whole = torch.cat([steps[:2], steps[2:] - steps[1:-1]]).transpose(0, 1)
    changes.copy_((transforms.mT @ whole.flatten(2)).view(whole.shape).transpose(1, 2))


def _disagree(changes: Tensor) -> Tensor:
    """Whether products are not those of float32, (K,): of a lower precision that was asked for, or out of range."""
    blocks = changes.flatten(0, 1)
    products, exact = torch.bmm(blocks, blocks.mT), blocks.double() @ blocks.double().mT
    lengths = exact.diagonal(dim1=-2, dim2=-1).sqrt()
    error = (products - exact).abs() - _DISAGREEMENT * lengths[:, :, None] * lengths[:, None, :]
    return ~(error <= 0).view(len(changes), -1).all(1)
