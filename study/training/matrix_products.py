"""Dense layers whose products are made by oneDNN: float32, on the CPU.

Torch makes float32 products on the CPU with another library, which on some processors uses half of what they can do.
oneDNN comes with torch as well. Its products differ from torch's by a few roundings.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x (n, inputs), weight (outputs, inputs), bias (outputs,) or None) -> x weightᵀ + bias, (n, outputs)."""


def _public(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return nn.functional.linear(x.to_mkldnn(), weight, bias).to_dense()


def _without_copies(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@functools.cache
def onednn_product() -> Product | None:
    """Return the fastest product of oneDNN that works in this process; None if none does.

    The operator that makes no copies is not part of torch's public interface, so it is tried before it is used.
    """
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(size, generator=generator) for size in ((5, 4), (3, 4), (3,)))
    for product in (_without_copies, _public):
        try:
            pairs = [
                (product(x, weight, bias), nn.functional.linear(x, weight, bias)),
                (product(x.t(), weight.new_ones(2, 5), None), nn.functional.linear(x.t(), weight.new_ones(2, 5))),
            ]
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            continue  # a build of torch without it
        if all(torch.allclose(ours, torchs, rtol=1e-5, atol=1e-5) for ours, torchs in pairs):
            return product
    return None


def has_onednn() -> bool:
    """Return True if this process can make float32 products with oneDNN."""
    return onednn_product() is not None


class _Linear(torch.autograd.Function):
    """x weightᵀ + bias. The gradients are products of the same kind, so torch.func can transform them too."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the product.

        Args:
            x: (n, inputs).
            weight: (outputs, inputs).
            bias: (outputs,), or None.
        """
        product = onednn_product()
        assert product is not None
        return product(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        """Keep the factors for the gradients.

        Args:
            ctx: where to keep them.
            inputs: arguments of `forward`.
            output: its result.
        """
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of those arguments that need one."""
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _linear(gradient, weight.t()) if of_x else None,
            _linear(gradient.t(), x.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor | None) -> tuple[Tensor, int]:
        """Make the product of each replicate by itself: oneDNN has no batched product of this kind."""
        rows = [
            [
                value if value is None or axis is None else value.select(axis, place)
                for value, axis in zip(inputs, in_dims, strict=True)
            ]
            for place in range(info.batch_size)
        ]
        return torch.stack([_linear(*row) for row in rows]), 0


def _linear(x: Tensor | None, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
    result: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return result


class OneDNNLinear(nn.Linear):
    """A dense layer of (n, inputs) that multiplies with oneDNN, in the forward and in the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs)."""
        return _linear(x, self.weight, self.bias)
