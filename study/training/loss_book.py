"""Bookkeeping of losses: the device computes them, and they are read many at a time, lest every step wait for it."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from study.training.replicate_state import ReplicateState

CURVE_POINTS = 200
"""Points of a loss curve, evenly spread over the epochs."""


class LossBook:
    """Losses that the device was told to compute and that nobody has read yet, (K,) each.

    Args:
        steps_give_curve: True if the losses of the steps are points of the training curve, as in full-batch training.
    """

    def __init__(self, *, steps_give_curve: bool) -> None:
        self._steps_give_curve = steps_give_curve
        self._clear()

    def _clear(self) -> None:
        self._steps: list[tuple[int, int, Tensor]] = []
        self._curves: dict[str, list[tuple[int, Tensor]]] = {"train": [], "test": []}

    @property
    def unread_steps(self) -> int:
        """Number of steps whose losses nobody has read."""
        return len(self._steps)

    def add_step(self, epoch: int, step: int, losses: Tensor) -> None:
        """Note the losses before a step.

        Args:
            epoch: The epoch that the step belongs to, counted from 1.
            step: Number of the step in the training, counted from 1.
            losses: (K,).
        """
        self._steps.append((epoch, step, losses))

    def add_curve_point(self, split: str, epoch: int, losses: Tensor) -> None:
        """Note a point of a loss curve.

        Args:
            split: ``train`` or ``test``.
            epoch: Epochs trained so far.
            losses: (K,).
        """
        self._curves[split].append((epoch, losses))

    def read(self, running: Sequence[ReplicateState], epoch: int, seconds: Mapping[str, float]) -> None:
        """Write the losses to the states, and mark replicates whose loss is not finite as diverged.

        Args:
            running: The replicates of the stack, in its order.
            epoch: The present epoch.
            seconds: Seconds that the stack took since the last reading, by part.
        """
        steps, curves = self._steps, self._curves
        self._clear()
        losses = _fetch([values for _, _, values in steps])
        points = {
            split: list(zip([at for at, _ in noted], _fetch([values for _, values in noted]), strict=True))
            for split, noted in curves.items()
        }
        for place, state in enumerate(running):
            state.charge(seconds, len(running))
            for (at, step, _), row in zip(steps, losses, strict=True):
                value = row[place]
                if self._steps_give_curve:
                    state.train_curve.append((at - 1, value))
                state.epoch, state.steps = at, step
                if not math.isfinite(value):
                    state.status = "diverged"
                    break
            last = state.epoch - 1 if state.status == "diverged" else epoch
            for split, curve in (("test", state.test_curve), ("train", state.train_curve)):
                known = [(at, row[place]) for at, row in points[split] if at <= last]
                curve += known
                state.evaluations[split] += len(known)
            if state.status == "diverged":
                for curve in (state.train_curve, state.test_curve):
                    curve.append((state.epoch, math.nan))


def _fetch(rows: list[Tensor]) -> list[list[float]]:
    """Bring rows of K numbers from the device in one transfer."""
    return torch.stack(rows).cpu().tolist() if rows else []
