"""Network and loss of Schroder's two problems (arXiv:1708.02276): sigmoid units without biases."""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Logic:
    """A network of sigmoid units under half the sum of squared errors.

    The loss is a mean over the samples. The paper and Trask's code take the sum, so their learning rate α for a batch
    is ``lr = α * samples of the batch`` here.
    """

    def loss(self, network: Callable[[Any], Any], inputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return half the sum of squared errors over the outputs, averaged over the samples.

        Args:
            network: the network, or a function that evaluates it.
            inputs: (samples, inputs).
            targets: (samples, outputs).
        """
        mean: torch.Tensor = 0.5 * ((network(inputs) - targets) ** 2).sum(dim=-1).mean()
        return mean


def sigmoid_network(*sizes: int) -> "torch.nn.Module":
    """Make layers of these sizes, each with a sigmoid and without biases; initial weights are uniform in (-1, 1)."""
    from torch import nn

    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.Linear(inputs, outputs, bias=False)
        nn.init.uniform_(linear.weight, -1.0, 1.0)
        layers += [linear, nn.Sigmoid()]
    return nn.Sequential(*layers)
