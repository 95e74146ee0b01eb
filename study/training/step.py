"""One training step of a stack, as it is launched or replayed."""

from dataclasses import dataclass

from torch import Tensor

from study.replicates.replicate import Recipe
from study.training.evaluator import precision
from study.training.networks import Networks
from study.training.optimizers import StackOptimizer


@dataclass
class TrainingStep:
    """A step as it is. It does not hold the loop, which would then outlive its end."""

    recipe: Recipe
    networks: Networks
    optimizer: StackOptimizer
    begun: Tensor | None = None
    """Losses of the next step, with the graph of their gradients, if its forward pass has been made already."""

    def __call__(self, x: Tensor, y: Tensor, shared: bool) -> Tensor:
        """Take the step.

        Args:
            x: Inputs of the batch.
            y: Targets of the batch.
            shared: True if all replicates have the same batch.

        Returns:
            The losses before it, (K,).
        """
        with precision(self.recipe, x.device):
            losses = self.networks.losses(x, y, shared=shared) if self.begun is None else self.begun
            self.begun = None
            self.optimizer.step(losses)
        return losses.detach()

    def state(self) -> list[Tensor]:
        """Return all tensors that the step changes."""
        return [*self.networks.trainable, *self.optimizer.state]
