"""Choose who makes the matrix products of a training, torch or oneDNN, by timing a few of its steps with both.

Both give the same loss and gradients but for a few roundings, which is checked first. oneDNN must save a tenth of a
whole training step: its layers cost some microseconds more a call, which small networks do not earn back.
"""

import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from study.replicates.products_choice import ProductsChoice, TrainingShape
from study.replicates.provenance import processor
from study.replicates.replicate import Products, Recipe, Task
from study.training.data import Data
from study.training.matrix_products import has_onednn
from study.training.networks import Networks, build_loss, build_network
from study.training.optimizers import StackOptimizer
from study.training.step import TrainingStep
from study.training.threads import using_threads

TIMED_FLOPS = 4e9
"""Operations of a timed step at most: fewer samples take their part of the time, whatever their number."""
MIN_ROWS = 16
PAIRS = 3
LARGEST_TIME_RATIO = 0.9
"""Largest ratio of the time of a step, oneDNN / torch, at which oneDNN is taken."""
TOLERANCE = 100 * float(np.finfo(np.float32).eps)
"""Largest relative difference of losses and gradients. Sums in another order differ by some 5 roundings; a wrong
product by about 1."""


def choose_products(shape: TrainingShape, threads: int) -> ProductsChoice:
    """Time a few training steps with either library on random data, and choose.

    Args:
        shape: a training in float32 on the CPU.
        threads: threads of a pack.
    """
    if not has_onednn():
        return ProductsChoice("torch", "torch has no float32 products of oneDNN here")
    recipe, all_rows = shape.recipe, shape.recipe.batch or shape.samples
    rows = min(all_rows, max(MIN_ROWS, int(TIMED_FLOPS * all_rows / shape.step_flops)))
    draw = np.random.default_rng(0)
    x, y = draw.uniform(-1, 1, (rows, shape.inputs)), draw.uniform(-1, 1, (rows, shape.outputs))
    task = Task(x, y, x[:1], y[:1])
    with using_threads(threads):
        steps = {products: _TimedStep(recipe, products, task) for products in ("torch", "onednn")}
        first = [step.losses_and_gradients() for step in steps.values()]
        # NaN is the largest
        difference = float(np.max([_relative_difference(a, b) for a, b in zip(*first, strict=True)]))
        seconds = {products: np.zeros(PAIRS) for products in steps}
        for pair in range(PAIRS):
            for products, step in steps.items():
                seconds[products][pair] = step.seconds()
    measured = ProductsChoice(
        "torch",
        "",
        **{f"{products}_ms": round(1e3 * float(np.median(times)), 3) for products, times in seconds.items()},
        difference=difference,
        samples=rows,
        threads=threads,
        processor=processor(),
    )
    if not difference <= TOLERANCE:
        return replace(measured, reason=f"losses or gradients differ by {difference:.1g}, more than {TOLERANCE:.1g}")
    if float(np.median(seconds["onednn"] / seconds["torch"])) > LARGEST_TIME_RATIO:
        return replace(measured, reason="oneDNN saves less than a tenth of a training step")
    return replace(measured, chosen="onednn", reason="oneDNN saves a tenth of a training step or more")


class _TimedStep:
    """The step of one replicate, as the training loop takes it.

    Args:
        recipe: recipe of the training.
        products: library to multiply with.
        task: its data.
    """

    def __init__(self, recipe: Recipe, products: Products, task: Task) -> None:
        self._recipe = recipe = replace(recipe, products=products)
        data = Data.of(task, torch.float32, torch.device("cpu"))
        self._networks = Networks([build_network(task, recipe, 0).float()], build_loss(task), own=False)
        self._step = TrainingStep(recipe, self._networks, StackOptimizer(self._networks, [recipe], [False]))
        self._x, self._y = data.x, data.y

    def losses_and_gradients(self) -> list[Tensor]:
        """Take a step and return the losses before it and the gradients."""
        losses = self._step(self._x, self._y, True)
        return [losses, *(p.grad.clone() for p in self._networks.trainable if p.grad is not None)]

    def seconds(self) -> float:
        """Take a step and return its processor time, which other programs do not change."""
        start_s = time.process_time()
        self._step(self._x, self._y, True)
        return time.process_time() - start_s


def _relative_difference(a: Tensor, b: Tensor) -> float:
    size = float(a.norm())
    return float((a - b).norm()) / size if size else float(b.norm())
