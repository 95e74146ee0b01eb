"""Multigrid over training steps: solve for all steps of the baseline together, on the same batches."""

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
from study.training.stopwatch import Stopwatch

MAX_ACTIVATIONS = 2**24
"""Largest number of activations of one batched call: 128 MiB in float64. A backward pass needs a few times as much."""


def train_mgrit(replicate: Replicate, method: Alternative, task: Task, device: torch.device) -> ReplicateOutcome:
    """Solve for the weights after every step of a training, and judge the solution along its steps.

    Args:
        replicate: replicate to train.
        method: the method and its options.
        task: its data.
        device: device to train on.

    Raises:
        ValueError: the network cannot be evaluated for many steps in one call.
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
    stopwatch, loss = Stopwatch(device), build_loss(task)
    with stopwatch("training"), global_generator(replicate.seed, "noise"):
        gradient = loss_gradient(module, loss, x, y, order, at_once=_at_once(module, batch))
        start = nn.utils.parameters_to_vector(module.parameters()).detach()
        options = {key: value for key, value in method.options.items() if value is not None}
        solution = MGRIT(**options).solve(gradient, start, steps, recipe.lr)  # type: ignore[arg-type]

    finite = solution.weights.isfinite().all(dim=1)
    ended = solution.status != "diverged" and bool(finite.all())
    # argmin: the first step with weights that are not finite
    last = steps if bool(finite.all()) else int(finite.int().argmin())
    points = np.unique(np.linspace(0, last, CURVE_POINTS + 1).round().astype(np.int64))
    epochs, per_epoch = -(-last // (steps // recipe.epochs)), steps // recipe.epochs
    points = np.unique(np.append(points // per_epoch * per_epoch, last))
    networks = Networks([module], loss, own=False)
    with stopwatch("judging"):
        curves = [_losses(networks, solution.weights[points], *split) for split in ((x, y), (x_test, y_test))]
        special = metrics(method, solution, steps)
        if task.accuracy is not None and ended:
            nn.utils.vector_to_parameters(solution.weights[-1], module.parameters())
            for split, data in (("train", (x, y)), ("test", (x_test, y_test))):
                special[f"accuracy_{split}"] = networks.accuracies(task.accuracy, *data)[0]
    seconds = stopwatch.take()
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
            jumps=(solution.evaluations - steps) * step_flops(networks.weights, batch),
            judging=len(points) * evaluation_flops(networks.weights, len(x) + len(x_test)),
        ),
        own_metrics=special,
    )


def metrics(method: Alternative, solution: Trajectory, steps: int) -> dict[str, float]:
    """Return the metrics of a solve. If it did not converge, its iterations are infinite and its speed-ups are NaN.

    Args:
        method: options of the solve.
        solution: its result.
        steps: number of training steps.
    """
    converged = solution.status == "converged"
    return {
        "iterations": float(solution.iterations) if converged else math.inf,
        "convergence_factor": solution.convergence_factor,
        "sequential_speedup": steps / solution.calls if converged else math.nan,
        "model_speedup": steps / model_cost(method, solution, steps) if converged else math.nan,
    }


def model_cost(method: Alternative, solution: Trajectory, steps: int) -> float:
    """Return the time of a solve in steps by Schroder's model, with a processor for every interval (arXiv:1708.02276).

    A V-cycle of L levels costs 17 + 8(L - 2), an F-cycle the sum of the V-cycles of 2 to L levels. The model holds for
    a coarsening factor of 2, FCF relaxation and some 10 steps on the coarsest level; other settings give NaN.

    Args:
        method: options of the solve.
        solution: its result.
        steps: number of training steps.
    """
    options = MGRIT(**{k: v for k, v in method.options.items() if v is not None})  # type: ignore[arg-type]
    levels = options.levels(steps)
    if (options.coarsening, options.relaxation) != (2, "FCF") or len(levels) < 2 or levels[-1] > 10:
        return math.nan
    v_cycles = [17 + 8 * (count - 2) for count in range(2, len(levels) + 1)]
    return float(solution.iterations * (sum(v_cycles) if options.cycle == "F" else v_cycles[-1]))


def _order(recipe: Recipe, seed: int, samples: int, device: torch.device) -> Tensor | None:
    """Return the rows of every step's batch, (steps, batch), as the baseline draws them; None for full batches."""
    if recipe.batch is None or recipe.batch == samples:
        return None
    orders = batch_orders(recipe, seed, samples)
    if recipe.order == "fixed":
        return next(orders).view(-1, recipe.batch).to(device)
    drawn = torch.cat([next(orders) for _ in range(recipe.epochs)])
    return drawn.view(-1, recipe.batch).to(device)


def _at_once(module: nn.Module, batch: int) -> int:
    """Return the number of gradients per call that keeps its activations in bounds, for a network of dense layers."""
    units = sum(len(parameter) for parameter in module.parameters() if parameter.ndim > 1)
    return max(1, MAX_ACTIVATIONS // (batch * units))


def _losses(networks: Networks, weights: Tensor, x: Tensor, y: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    losses = []
    for chunk in torch.split(weights, _at_once(networks.module, len(x))):
        parts = torch.split(chunk, [p.numel() for p in networks.parameters.values()], dim=1)
        shaped = {
            name: part.view(-1, *p.shape) for part, (name, p) in zip(parts, networks.parameters.items(), strict=True)
        }
        losses.append(networks.judge_at(shaped, x, y))
    return torch.cat(losses).double().cpu().numpy()
