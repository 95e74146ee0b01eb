"""The sine as an activation, which torch has no module for."""

import torch
from torch import Tensor, nn


class Sine(nn.Module):
    """Elementwise sine."""

    def forward(self, x: Tensor) -> Tensor:
        """Of every number."""
        return torch.sin(x)
