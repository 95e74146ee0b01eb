"""Weights of lower layers computed instead of trained: principal components of every class.

Dehmamy, Rohani & Katsaggelos ("Direct estimation of weights and efficient training of deep neural networks without
SGD", ICASSP 2019; arXiv:1703.04757). Their abstract says what is done, not every detail; what is chosen here is said in
`ClassPCA`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK = 2**22
"""Numbers of an array of patches that are held at a time."""


class Parts(NamedTuple):
    """A network cut in two.

    lower: its first modules, whose weights are computed. upper: the rest, to be trained on what lower makes of the
    inputs. operations: floating point operations that computing the weights took.
    """

    lower: nn.Sequential
    upper: nn.Sequential
    operations: float


@dataclass(frozen=True)
class ClassPCA:
    """The first layers of a network from the principal components of their own inputs, one layer after another.

    The filters of a layer (rows of a linear one, channels of a convolution) are divided evenly among the classes; each
    class has the leading principal components of its samples' inputs (of a convolution: of its patches, at all
    positions). Filters beyond the size of an input are the negatives of those before, which ReLU
    tells from them. Of v and -v the one is taken on which the mean input has a positive part. All filters of a layer
    are scaled by one number, so that the mean square of what they give is 1; biases are 0.

    layers: how many are computed; at least one must be left to train.
    basis: ``class`` as above; ``all`` divides nothing and takes the components of all samples together; ``random``
        takes random directions of equal size (the global generator of torch draws them): the controls.
    fraction: share of the samples of each class that is used, the first ones.
    centred: components of the covariance; else of the second moments, where the first is about the mean.

    Raises:
        ValueError: an option that cannot be.
    """

    layers: int = 1
    basis: Literal["class", "all", "random"] = "class"
    fraction: float = 1.0
    centred: bool = True

    def __post_init__(self) -> None:
        wrong = []
        if not isinstance(self.layers, int) or isinstance(self.layers, bool) or self.layers < 1:
            wrong.append(f"layers must be a whole number >= 1, got {self.layers!r}")
        if self.basis not in ("class", "all", "random"):
            wrong.append(f"basis must be class, all or random, got {self.basis!r}")
        if not 0 < self.fraction <= 1:
            wrong.append(f"fraction must be above 0 and at most 1, got {self.fraction!r}")
        if wrong:
            raise ValueError("ClassPCA: " + "; ".join(wrong))

    @torch.no_grad()
    def compute(self, model: nn.Sequential, inputs: Tensor, labels: Tensor) -> Parts:
        """Compute the weights of the first layers, in place, and cut the network behind them.

        Args:
            model: a sequence of modules; those with weights must be linear or convolutions without groups. It is
                evaluated as it is, so one with dropout should be in ``eval()``.
            inputs: (samples, …), of which every class has at least one.
            labels: whole numbers from 0, (samples,).

        Raises:
            ValueError: a layer that is neither, too few layers or filters, a class without samples.
        """
        modules = list(model)
        weighted = [place for place, module in enumerate(modules) if any(True for _ in module.parameters())]
        if len(weighted) <= self.layers:
            raise ValueError(f"layers must leave one to train: {self.layers} of {len(weighted)} are to be computed")
        classes = int(labels.max()) + 1
        chosen = self._chosen(labels, classes)
        x, labels, operations = inputs[chosen], labels[chosen], 0.0
        cut = weighted[self.layers]
        for place, module in enumerate(modules[:cut]):
            if place in weighted:
                if not isinstance(module, nn.Linear | nn.Conv2d) or getattr(module, "groups", 1) != 1:
                    raise ValueError(
                        f"layer {place} must be linear, or a convolution without groups, got {type(module).__name__}"
                    )
                operations += self._set(module, x, labels, classes)
            x = module(x)
        return Parts(nn.Sequential(*modules[:cut]), nn.Sequential(*modules[cut:]), operations)

    def _chosen(self, labels: Tensor, classes: int) -> Tensor:
        """The samples that are used, in order."""
        rows = [torch.nonzero(labels == own).flatten() for own in range(classes)]
        if empty := [own for own, found in enumerate(rows) if not len(found)]:
            raise ValueError(f"every class must have a sample, but {empty} of {classes} have none")
        return torch.cat([found[: math.ceil(self.fraction * len(found))] for found in rows]).sort().values

    def _set(self, layer: nn.Linear | nn.Conv2d, x: Tensor, labels: Tensor, classes: int) -> float:
        """Compute a layer's weights; returns the operations that took."""
        filters, size = len(layer.weight), layer.weight[0].numel()
        divided = classes if self.basis == "class" else 1
        if filters < divided:
            raise ValueError(f"a layer must have a filter for each of the {classes} classes, got {filters}")
        operations, rows = 0.0, []
        for own in range(divided):
            count = filters // divided + (own < filters % divided)
            chosen = x[labels == own] if self.basis == "class" else x
            if self.basis == "random":
                rows.append(functional.normalize(torch.randn(count, size, dtype=x.dtype, device=x.device)))
                continue
            if count > 2 * size:
                raise ValueError(f"a layer's inputs of size {size} give {2 * size} filters at most, {count} are wanted")
            moments, mean, inputs = _moments(layer, chosen)
            if self.centred:
                moments -= torch.outer(mean, mean)
            vectors = torch.linalg.eigh(moments).eigenvectors.flip(1).T  # the largest first
            vectors = torch.where((vectors @ mean < 0)[:, None], -vectors, vectors)
            rows.append(torch.cat([vectors, -vectors])[:count].to(x.dtype))
            operations += 2.0 * size**2 * inputs + 9.0 * size**3  # of the moments, and about as many of their vectors
        layer.weight.copy_(torch.cat(rows).view_as(layer.weight))
        if layer.bias is not None:
            layer.bias.zero_()
        layer.weight /= layer(x).square().mean().sqrt().clamp_min(torch.finfo(x.dtype).tiny)
        return operations


def _moments(layer: nn.Linear | nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Second moments and mean of a layer's inputs, in float64, and how many inputs there are."""
    size = layer.weight[0].numel()
    moments = torch.zeros(size, size, dtype=torch.float64, device=x.device)
    total, count = torch.zeros(size, dtype=torch.float64, device=x.device), 0
    for rows in _inputs(layer, x):
        wide = rows.double()
        moments += wide.T @ wide
        total += wide.sum(dim=0)
        count += len(wide)
    return moments / count, total / count, count


def _inputs(layer: nn.Linear | nn.Conv2d, x: Tensor) -> Iterator[Tensor]:
    """What each filter of a layer is multiplied with, (inputs, size of a filter), in parts."""
    if isinstance(layer, nn.Linear):
        yield x.reshape(-1, layer.in_features)
        return
    if isinstance(layer.padding, str):
        raise ValueError(f"a convolution's padding must be given in numbers, got {layer.padding}")
    patch = functional.unfold(x[:1], layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    for part in torch.split(x, max(1, CHUNK // patch.numel())):
        found = functional.unfold(part, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        yield found.transpose(1, 2).reshape(-1, found.shape[1])
