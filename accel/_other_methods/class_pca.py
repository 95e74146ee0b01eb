"""Class-based PCA: compute the weights of lower layers from principal components of every class, without training.

Dehmamy, Rohani & Katsaggelos ("Direct estimation of weights and efficient training of deep neural networks without
SGD", ICASSP 2019; arXiv:1703.04757). Their abstract describes the method, but not every detail; `ClassPCA` describes
the choices made here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK = 2**22
"""Largest number of elements of an array of patches."""


class Parts(NamedTuple):
    """A network cut in two."""

    lower: nn.Sequential
    """The first modules, whose weights have been computed."""
    upper: nn.Sequential
    """The other modules, to be trained on the outputs of ``lower``."""
    operations: float
    """Number of floating point operations that computing the weights took."""


@dataclass(frozen=True)
class ClassPCA:
    """Class-based PCA: the first layers of a network from the principal components of their inputs, layer by layer.

    The filters of a layer (rows of a linear layer, channels of a convolution) are divided evenly among the classes.
    Each class gets the leading principal components of its samples' inputs (for a convolution: of its patches, at all
    positions). Filters beyond the size of an input are the negatives of the earlier ones, which a ReLU can distinguish.
    Of v and -v, the one is taken on which the mean input has a positive component. All filters of a layer are scaled by
    one number, so that the mean square of their outputs is 1; biases are 0.

    Args:
        layers: Number of layers to compute; at least one must be left to train.
        basis: ``class`` as above. Two controls: ``all`` takes the components of all samples together; ``random`` takes
            random directions of equal length, drawn by the global generator of torch.
        fraction: Share of the samples of each class that is used: the first ones.
        centred: True for the components of the covariance; False for those of the second moments, whose first component
            is about the mean.

    Raises:
        ValueError: An option is outside its range; the message lists all such mistakes.
    """

    layers: int = 1
    basis: Literal["class", "all", "random"] = "class"
    fraction: float = 1.0
    centred: bool = True

    def __post_init__(self) -> None:
        mistakes = []
        if not isinstance(self.layers, int) or isinstance(self.layers, bool) or self.layers < 1:
            mistakes.append(f"layers must be a whole number >= 1, got {self.layers!r}")
        if self.basis not in ("class", "all", "random"):
            mistakes.append(f"basis must be class, all or random, got {self.basis!r}")
        if not 0 < self.fraction <= 1:
            mistakes.append(f"fraction must be above 0 and at most 1, got {self.fraction!r}")
        if mistakes:
            raise ValueError("ClassPCA: " + "; ".join(mistakes))

    @torch.no_grad()
    def compute(self, model: nn.Sequential, inputs: Tensor, labels: Tensor) -> Parts:
        """Compute the weights of the first layers, in place, and cut the network behind them.

        Args:
            model: a sequence of modules; those with weights must be linear, or convolutions without groups. It is
                evaluated in its present mode, so a model with dropout should be in ``eval()``.
            inputs: (samples, …); every class must have at least one sample.
            labels: whole numbers from 0, (samples,).

        Raises:
            ValueError: a layer is of another kind, there are too few layers or filters, or a class has no sample.
        """
        modules = list(model)
        weighted = [index for index, module in enumerate(modules) if any(True for _ in module.parameters())]
        if len(weighted) <= self.layers:
            raise ValueError(
                f"layers must leave one to train: {self.layers} of {len(weighted)} would be computed; give fewer"
            )
        classes = int(labels.max()) + 1
        chosen = self._used_samples(labels, classes)
        x, labels, operations = inputs[chosen], labels[chosen], 0.0
        cut = weighted[self.layers]
        for index, module in enumerate(modules[:cut]):
            if index in weighted:
                if not isinstance(module, nn.Linear | nn.Conv2d) or getattr(module, "groups", 1) != 1:
                    raise ValueError(
                        f"layer {index} must be linear, or a convolution without groups, got {type(module).__name__}"
                    )
                operations += self._compute_layer(module, x, labels, classes)
            x = module(x)
        return Parts(nn.Sequential(*modules[:cut]), nn.Sequential(*modules[cut:]), operations)

    def _used_samples(self, labels: Tensor, classes: int) -> Tensor:
        """Return the indices of the samples that are used, in order."""
        samples = [torch.nonzero(labels == label).flatten() for label in range(classes)]
        if empty := [label for label, indices in enumerate(samples) if not len(indices)]:
            raise ValueError(f"every class must have a sample, but {empty} of {classes} have none")
        return torch.cat([indices[: math.ceil(self.fraction * len(indices))] for indices in samples]).sort().values

    def _compute_layer(self, layer: nn.Linear | nn.Conv2d, x: Tensor, labels: Tensor, classes: int) -> float:
        """Compute a layer's weights; return the number of operations that this took."""
        filters, size = len(layer.weight), layer.weight[0].numel()
        shares = classes if self.basis == "class" else 1
        if filters < shares:
            raise ValueError(f"a layer must have a filter for each of the {classes} classes, got {filters}")
        operations, rows = 0.0, []
        for share in range(shares):
            count = filters // shares + (share < filters % shares)
            chosen = x[labels == share] if self.basis == "class" else x
            if self.basis == "random":
                rows.append(functional.normalize(torch.randn(count, size, dtype=x.dtype, device=x.device)))
                continue
            if count > 2 * size:
                raise ValueError(f"a layer's inputs of size {size} give {2 * size} filters at most, {count} are wanted")
            moments, mean, input_count = _moments(layer, chosen)
            if self.centred:
                moments -= torch.outer(mean, mean)
            vectors = torch.linalg.eigh(moments).eigenvectors.flip(1).T  # the largest first
            vectors = torch.where((vectors @ mean < 0)[:, None], -vectors, vectors)
            rows.append(torch.cat([vectors, -vectors])[:count].to(x.dtype))
            operations += 2.0 * size**2 * input_count + 9.0 * size**3  # moments, and about that many for eigenvectors
        layer.weight.copy_(torch.cat(rows).view_as(layer.weight))
        if layer.bias is not None:
            layer.bias.zero_()
        layer.weight /= layer(x).square().mean().sqrt().clamp_min(torch.finfo(x.dtype).tiny)
        return operations


def _moments(layer: nn.Linear | nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return the second moments and the mean of a layer's inputs, in float64, and the number of inputs."""
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
    """Return the rows that each filter of a layer is multiplied with, (inputs, size of a filter), in parts."""
    if isinstance(layer, nn.Linear):
        yield x.reshape(-1, layer.in_features)
        return
    if isinstance(layer.padding, str):
        raise ValueError(f"a convolution's padding must be given in numbers, got {layer.padding}")
    sample_patches = functional.unfold(x[:1], layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    for part in torch.split(x, max(1, CHUNK // sample_patches.numel())):
        patches = functional.unfold(part, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        yield patches.transpose(1, 2).reshape(-1, patches.shape[1])
