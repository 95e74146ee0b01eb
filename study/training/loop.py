"""The training loop of a stack: epochs, steps, snapshots, jumps, and the losses that are read along the way."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from study.replicates.replicate import Task
from study.training.cuda_graphs import Graphs, Replayed
from study.training.data import Batches, Data
from study.training.evaluator import Evaluator
from study.training.jump_group import JumpGroup
from study.training.jump_options import resets_moments
from study.training.loss_book import CURVE_POINTS, LossBook
from study.training.networks import Networks
from study.training.optimizers import StackOptimizer
from study.training.probe_group import ProbeGroup
from study.training.replicate_state import ReplicateState
from study.training.step import TrainingStep
from study.training.stopwatch import Stopwatch

CHECK_EVERY = 50
"""Steps between two readings of a device's losses; on the CPU, where reading costs nothing, every step."""


class TrainingLoop:
    """The loop over epochs and steps, for a stack whose parts are made.

    Args:
        task: Brings the accuracy, if there is one.
        data: Both splits, on the device.
        states: The replicates, in the order of the stack.
        networks: Their networks.
        optimizer: Their optimiser.
        judged: The network that is judged in place of the trained one; None for the trained ones.
        groups: Replicates whose windows fill together, or the cells that the training is probed for.
        graphs: Makes the recorder of steps; None to launch every step anew.
        check_every: Steps between two readings of the losses; None for what suits the device.
        warn: Called with the reason if steps are not replayed where they could be.
    """

    def __init__(
        self,
        task: Task,
        data: Data,
        states: Sequence[ReplicateState],
        networks: Networks,
        optimizer: StackOptimizer,
        judged: Networks | None,
        groups: Sequence[JumpGroup | ProbeGroup],
        graphs: Callable[[], Graphs] | None,
        check_every: int | None,
        warn: Callable[[str], None],
    ) -> None:
        self.task, self.networks, self.optimizer, self.groups = task, networks, optimizer, groups
        self.recipe = recipe = states[0].replicate.recipe
        self.running = list(states)
        # with full batches, the training loss after a jump is the forward pass of the next step
        keeps_forward = recipe.batch is None and judged is None and graphs is None
        keeps_forward = keeps_forward and task.network is None and task.loss is None  # which may draw random numbers
        self.evaluator = Evaluator(recipe, data, networks, judged, keeps_forward=keeps_forward)
        self.batches = Batches(data, recipe, (state.replicate.seed for state in states))
        self.step = TrainingStep(recipe, networks, optimizer)
        self.take_step = Replayed(self.step, self.step.state, graphs, warn)
        device = data.x.device
        self.stopwatch = Stopwatch(device)
        # the losses of full-batch steps are those that the curve asks for
        self.judges_training = recipe.batch is not None or judged is not None
        self.losses = LossBook(steps_give_curve=not self.judges_training)
        self.check_every = check_every or (1 if device.type == "cpu" else CHECK_EVERY)
        self.steps = self.epoch = 0
        self.rungs = {stop.epoch for state in states for stop in state.replicate.stops}

    def train(self) -> None:
        """Train to the last epoch, or until no replicate is left."""
        epochs = self.recipe.epochs
        points = set(np.unique(np.linspace(0, epochs, CURVE_POINTS + 1).round().astype(int)).tolist())
        for self.epoch in range(1, epochs + 1):
            if self.epoch - 1 in points:
                self._add_curve_points(self.epoch - 1)
            for x, y, shared in self.batches.epoch(lambda: [state.replicate.seed for state in self.running]):
                with self.stopwatch("training"):
                    losses = self.take_step(x, y, shared)
                self.steps += 1
                self.losses.add_step(self.epoch, self.steps, losses)
                if self._read_losses_if_due(self.losses.unread_steps >= self.check_every):
                    self._record_snapshots("step")
                if not self.running:
                    return
            self._record_snapshots("epoch")
            if self.epoch in self.rungs and self._read_losses_if_due(True):
                self._prune()
            if not self.running:
                return
        self._finish()

    def _record_snapshots(self, when: str) -> None:
        for group in self.groups:
            if group.snapshots == when and group.members and group.record(self.stopwatch):
                self._read_losses_if_due(True)
                if group.members:
                    accepted = group.jump(self.epoch, self.evaluator, self.stopwatch)
                    for state in accepted:
                        if resets_moments(state.replicate):
                            self.optimizer.reset(self.running.index(state))
                    forward = self.evaluator.take_forward()
                    if forward is not None and len(accepted) == len(self.running):
                        self._begin_step(*forward)

    def _begin_step(self, losses: Tensor, seconds: float) -> None:
        """Let the next step, if there is one, begin with the forward pass that judged a jump."""
        if self.epoch < self.recipe.epochs:
            self.step.begun = losses
            self.stopwatch.move(seconds, "judging", "training")

    def _add_curve_points(self, epoch: int) -> None:
        with self.stopwatch("judging"):
            self.losses.add_curve_point("test", epoch, self.evaluator.losses("test"))
            if self.judges_training:
                self.losses.add_curve_point("train", epoch, self.evaluator.losses("train"))

    def _read_losses_if_due(self, due: bool) -> bool:
        """Read the losses if it is due, and drop replicates that have diverged. Return True if any is left."""
        if due:
            self.losses.read(self.running, self.epoch, self.stopwatch.take())
            self._drop_ended()
        return bool(self.running)

    def _prune(self) -> None:
        for state in self.running:
            if state.is_hopeless(self.epoch):
                state.status = "pruned"
        self._drop_ended()

    def _drop_ended(self) -> None:
        """Drop replicates that have diverged, been pruned or finished."""
        places = [place for place, state in enumerate(self.running) if state.status == "running"]
        if len(places) == len(self.running):
            return
        self.running = [self.running[place] for place in places]
        if not self.running:
            return
        self.step.begun = None
        self.networks.keep(places)
        self.optimizer.keep(places)
        self.take_step.forget()
        for group in self.groups:
            left = [state for state in group.members if state in self.running]
            group.keep(left, self.running.index(left[0]) if left else 0)

    def _finish(self) -> None:
        if not self._read_losses_if_due(True):
            return
        with self.stopwatch("judging"):
            final = {split: self.evaluator.losses(split).tolist() for split in ("train", "test")}
            accuracies = {} if self.task.accuracy is None else self.evaluator.accuracies(self.task.accuracy)
        seconds = self.stopwatch.take()
        for place, state in enumerate(self.running):
            state.charge(seconds, len(self.running))
            last = {split: values[place] for split, values in final.items()}
            for split, curve in (("train", state.train_curve), ("test", state.test_curve)):
                curve.append((state.epoch, last[split]))
                state.evaluations[split] += 1
            state.status = "finished" if all(map(math.isfinite, last.values())) else "diverged"
            if state.status == "finished":
                state.own_metrics |= {column: values[place] for column, values in accuracies.items()}
