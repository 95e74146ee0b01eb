"""Multigrid over training steps: the baseline's own steps, on the same batches, solved for together."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from accel import MGRIT, Trajectory, loss_gradient
from study.replicates.flops import evaluation_flops, step_flops
from study.replicates.outcome import Breakdown, Losses, ReplicateOutcome
from study.replicates.replicate import Alternative, Recipe, Replicate, Task
from study.training.loss_book import CURVE_POINTS
from study.training.networks import Networks, build_loss, build_network, why_not_stacked
from study.training.random_streams import batch_orders, global_generator
from study.training.stopwatch import Clock

MOST_ACTIVATIONS = 2**24
"""Of one batched call: 128 MiB in float64, of which a backward pass needs a few."""


def train_mgrit(replicate: Replicate, method: Alternative, task: Task, device: torch.device) -> ReplicateOutcome:
    """Solve for all weights of a training, and judge the solution along its steps.

    Raises:
        ValueError: the network cannot be batched over steps.
    """
    recipe = replicate.recipe
    if reason := why_not_stacked(task, recipe, device):
        raise ValueError(f"multigrid over training steps evaluates many weights in one call, but {reason}")
    dtype = getattr(torch, recipe.dtype)
    module = build_network(task, recipe, replicate.seed).to(device, dtype)
    x, y, x_test, y_test = (
        torch.tensor(np.asarray(a), dtype=dtype, device=device)
        for a in (task.train_inputs, task.train_targets, task.test_inputs, task.test_targets)
    )
    order = _order(recipe, replicate.seed, len(x), device)
    batch = len(x) if order is None else order.shape[1]
    steps = recipe.epochs * (len(x) // batch)
    clock, loss = Clock(device), build_loss(task)
    with clock("training"), global_generator(replicate.seed, "noise"):
        gradient = loss_gradient(module, loss, x, y, order, at_once=_at_once(module, batch))
        start = nn.utils.parameters_to_vector(module.parameters()).detach()
        options = {key: value for key, value in method.options.items() if value is not None}
        found = MGRIT(**options).solve(gradient, start, steps, recipe.lr)  # type: ignore[arg-type]

    finite = found.weights.isfinite().all(dim=1)
    ended = found.status != "diverged" and bool(finite.all())
    last = steps if bool(finite.all()) else int(finite.int().argmin())  # of those that are not finite the first
    points = np.unique(np.linspace(0, last, CURVE_POINTS + 1).round().astype(np.int64))
    epochs, per_epoch = -(-last // (steps // recipe.epochs)), steps // recipe.epochs
    points = np.unique(np.append(points // per_epoch * per_epoch, last))
    networks = Networks([module], loss, own=False)
    with clock("judging"):
        curves = [_losses(networks, found.weights[points], *split) for split in ((x, y), (x_test, y_test))]
        own = metrics(method, found, steps)
        if task.accuracy is not None and ended:
            nn.utils.vector_to_parameters(found.weights[-1], module.parameters())
            for split, data in (("train", (x, y)), ("test", (x_test, y_test))):
                own[f"accuracy_{split}"] = networks.accuracies(task.accuracy, *data)[0]
    seconds = clock.take()
    return ReplicateOutcome(
        replicate=replicate,
        status="finished" if ended and np.isfinite([c[-1] for c in curves]).all() else "diverged",
        epoch=epochs,
        losses=Losses(
            final_train=float(curves[0][-1]),
            final_test=float(curves[1][-1]),
            train_epoch=-(-points // per_epoch),
            train=curves[0],
            test_epoch=-(-points // per_epoch),
            test=curves[1],
        ),
        steps=last,
        stacked=1,
        seconds=Breakdown(training=seconds["training"], judging=seconds["judging"]),
        flops=Breakdown(
            training=steps * step_flops(networks.weights, batch),
            jumps=(found.evaluations - steps) * step_flops(networks.weights, batch),
            judging=len(points) * evaluation_flops(networks.weights, len(x) + len(x_test)),
        ),
        own_metrics=own,
    )


def metrics(method: Alternative, found: Trajectory, steps: int) -> dict[str, float]:
    """What a solve is reported by. One that did not converge has infinite iterations, and no speed-up."""
    converged = found.status == "converged"
    return {
        "iterations": float(found.iterations) if converged else math.inf,
        "convergence_factor": found.convergence_factor,
        "sequential_speedup": steps / found.calls if converged else math.nan,
        "model_speedup": steps / model_cost(method, found, steps) if converged else math.nan,
    }


def model_cost(method: Alternative, found: Trajectory, steps: int) -> float:
    """Schroder's model of the time of a solve with a processor for every interval, in steps (arXiv:1708.02276).

    A V-cycle of L levels costs 17 + 8(L - 2), an F-cycle the sum of those of 2 to L levels. The model is that of a
    coarsening factor of 2, FCF relaxation and some 10 steps on the coarsest level: NaN for other settings.
    """
    options = MGRIT(**{k: v for k, v in method.options.items() if v is not None})  # type: ignore[arg-type]
    levels = options.levels(steps)
    if (options.coarsening, options.relaxation) != (2, "FCF") or len(levels) < 2 or levels[-1] > 10:
        return math.nan
    v_cycles = [17 + 8 * (count - 2) for count in range(2, len(levels) + 1)]
    return float(found.iterations * (sum(v_cycles) if options.cycle == "F" else v_cycles[-1]))


def _order(recipe: Recipe, seed: int, samples: int, device: torch.device) -> Tensor | None:
    """The rows of every step's batch, (steps, batch), as the baseline draws them; None: all samples at every step."""
    if recipe.batch is None or recipe.batch == samples:
        return None
    orders = batch_orders(recipe, seed, samples)
    if recipe.order == "fixed":
        return next(orders).view(-1, recipe.batch).to(device)
    drawn = torch.cat([next(orders) for _ in range(recipe.epochs)])
    return drawn.view(-1, recipe.batch).to(device)


def _at_once(module: nn.Module, batch: int) -> int:
    """Gradients of one call: as many as keep its activations within bounds, of a network of dense layers."""
    units = sum(len(parameter) for parameter in module.parameters() if parameter.ndim > 1)
    return max(1, MOST_ACTIVATIONS // (batch * units))


def _losses(networks: Networks, weights: Tensor, x: Tensor, y: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = []
    for some in torch.split(weights, _at_once(networks.module, len(x))):
        parts = torch.split(some, [p.numel() for p in networks.parameters.values()], dim=1)
        shaped = {
            name: part.view(-1, *p.shape) for part, (name, p) in zip(parts, networks.parameters.items(), strict=True)
        }
        found.append(networks.judge_at(shaped, x, y))
    return torch.cat(found).double().cpu().numpy()
