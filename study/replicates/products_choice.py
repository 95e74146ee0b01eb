"""The choice of what makes the matrix products of a study, as plain data."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from study.replicates.flops import dense_weights, step_flops
from study.replicates.replicate import Products, Recipe

MIN_STEP_FLOPS = 1e8
"""Operations of a step below which oneDNN is not tried: it starts to pay at some 10^9 (`bench_products`)."""


@dataclass(frozen=True)
class ProductsChoice:
    """The choice and its reason. Times are those of one training step on so many samples, in milliseconds."""

    chosen: Products
    reason: str
    torch_ms: float | None = None
    onednn_ms: float | None = None
    difference: float | None = None
    """Largest relative difference of a loss or a gradient between both."""
    samples: int | None = None
    threads: int | None = None
    processor: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as plain data, without what was not measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def chosen_of(kept: Mapping[str, Any]) -> Products:
    """Return the products of a choice that was kept as plain data."""
    return "onednn" if kept.get("chosen") == "onednn" else "torch"


@dataclass(frozen=True)
class TrainingShape:
    """A training of a dense network, without its data."""

    recipe: Recipe
    inputs: int
    """Numbers per sample."""
    outputs: int
    """Numbers per target."""
    samples: int
    """Samples of the training split."""

    @property
    def step_flops(self) -> float:
        """Return the operations of a training step."""
        weights = dense_weights(self.inputs, self.recipe.hidden, self.outputs)
        return step_flops(weights, self.recipe.batch or self.samples)


def choose_by_largest(
    shapes: Iterable[TrainingShape], time_both: Callable[[TrainingShape], ProductsChoice]
) -> ProductsChoice | None:
    """Return the choice for the largest of the trainings whose products are open; None if there are none.

    Args:
        shapes: trainings, of which those with settled products are left out.
        time_both: times both libraries for a training, if it is large enough for oneDNN to pay.
    """
    open_shapes = [shape for shape in shapes if shape.recipe.products == "auto"]
    largest = max(open_shapes, key=lambda shape: shape.step_flops, default=None)
    if largest is None:
        return None
    if largest.step_flops < MIN_STEP_FLOPS:
        return ProductsChoice("torch", "the networks are too small for oneDNN to pay")
    return time_both(largest)
