"""The sine as an activation; torch has no module for it."""

import torch
from torch import Tensor, nn


class Sine(nn.Module):
    """The sine as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sin(x), elementwise."""
        return torch.sin(x)
