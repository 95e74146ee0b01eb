"""A problem on which far jumps are finite and the step after them is not."""

from dataclasses import dataclass

import torch
from torch import nn

from problems.quadratic import Quadratic

FAR = 1e6


@dataclass(frozen=True)
class Fragile(Quadratic):
    """The quadratic, with a loss whose gradient is not finite where an output is beyond `FAR`."""

    def loss(self, network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error plus nothing: the root of 1, and beyond `FAR` of 0, whose slope is infinite."""
        outputs = network(inputs)
        near = (outputs.abs().max() <= FAR).to(outputs.dtype)
        return nn.functional.mse_loss(outputs, targets) + 0 * (near + 0 * outputs.mean()).sqrt()
