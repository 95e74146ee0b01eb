"""Training of a stack: replicates of one architecture side by side, each as it would be alone.

Every K replicates share each product, each update and each evaluation. What differs between them (weights, batches,
learning rate, window, horizon, rule) never mixes: all operations are batched over the replicates or elementwise. A
replicate whose loss is no longer finite leaves the stack.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from accel import JumpOptions, Rule
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Recipe, Replicate, Task
from study.training.cuda_graphs import GRAPHS, Replayed
from study.training.jump_group import JumpGroup, build_options
from study.training.networks import Networks, build_loss, build_network
from study.training.optimizers import Attach, StackOptimizer, hyperparameters
from study.training.probe_group import ProbeGroup, share_training
from study.training.random_streams import batch_orders, global_generator
from study.training.replicate_state import ReplicateState
from study.training.stopwatch import Stopwatch

CURVE_POINTS = 200
CHECK_EVERY = 50
"""Steps between two looks at a device's losses; on the CPU, where looking costs nothing, every step."""


def train_stack(
    replicates: Sequence[Replicate],
    task: Task,
    rules: Mapping[str, Callable[..., Rule]],
    device: torch.device,
    check_every: int | None = None,
    attach: Attach | None = None,
    warn: Callable[[str], None] = warnings.warn,
    replays: bool = True,
) -> list[ReplicateOutcome]:
    """Train replicates of one `Replicate.architecture` from initial weights to the last epoch, or until they diverge.

    Args:
        replicates: what to train.
        task: the data of all of them.
        rules: the user's own rules by name.
        device: where to.
        check_every: steps between two looks at the losses.
        attach: what goes with the optimiser of one replicate, and gives the network that is judged in its place.
        warn: told why steps are not replayed where they could be.
        replays: whether steps are recorded and replayed on devices that can.

    Returns:
        One outcome per replicate, in order.
    """
    run = _Run(replicates, task, rules, device, check_every, attach, warn, replays)
    with global_generator(replicates[0].seed, "noise"):  # dropout, say, in a network of the problem's own
        return run.train()


def train_probed(
    cells: Sequence[Replicate],
    task: Task,
    rules: Mapping[str, Callable[..., Rule]],
    device: torch.device,
    *,
    batchable: bool = True,
    check_every: int | None = None,
    warn: Callable[[str], None] = warnings.warn,
) -> list[ReplicateOutcome]:
    """Train once without jumps, and probe that training for cells that share a `Replicate.probed_with`.

    Args:
        cells: what is asked.
        task: the data.
        rules: the user's own rules by name.
        device: where to.
        batchable: whether networks of the task can be evaluated several at a time.
        check_every: steps between two looks at the losses.
        warn: told why steps are not replayed where they could be.

    Returns:
        One outcome per cell, in order: the jumps are its probes, the rest is that of the training, its cost shared.
    """
    plain = replace(cells[0], acceleration=None)
    run = _Run([plain], task, rules, device, check_every, None, warn, replays=True)
    run.networks.batchable = batchable
    members = [ReplicateState(replicate, place) for place, replicate in enumerate(cells)]
    run.sets = [ProbeGroup(run.networks, run.alive[0], members, rules, len(run.data.x))]
    with global_generator(plain.seed, "noise"):
        run.train()
    share_training(run.everyone[0], members)
    counts = run.networks.weights, len(run.data.x), len(run.data.x_test)
    return [member.outcome(*counts, stacked=1, shared_by=len(cells)) for member in members]


@dataclass(frozen=True)
class _Data:
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    @classmethod
    def of(cls, task: Task, dtype: torch.dtype, device: torch.device) -> "_Data":
        arrays = (task.train_inputs, task.train_targets, task.test_inputs, task.test_targets)
        # a copy, since arrays out of an object store are read-only
        return cls(*(torch.tensor(np.asarray(a), dtype=dtype, device=device) for a in arrays))


@dataclass(frozen=True)
class _Launched:
    """A step as it is; it does not hold the run, which would then outlive its end."""

    recipe: Recipe
    networks: Networks
    optimizer: StackOptimizer

    def __call__(self, x: Tensor, y: Tensor, shared: bool) -> Tensor:
        with _precision(self.recipe, x.device):
            losses = self.networks.losses(x, y, shared=shared)
            self.optimizer.step(losses)
        return losses.detach()

    def state(self) -> list[Tensor]:
        """What it changes."""
        return [*self.networks.trainable, *self.optimizer.state]


@dataclass
class _Pending:
    """Losses that the device has been told to compute and that have not been looked at, (K,) each."""

    steps: list[tuple[int, int, Tensor]] = field(default_factory=list)
    """(epoch, step, losses before it)"""
    train: list[tuple[int, Tensor]] = field(default_factory=list)
    test: list[tuple[int, Tensor]] = field(default_factory=list)


class _Run:
    def __init__(
        self,
        replicates: Sequence[Replicate],
        task: Task,
        rules: Mapping[str, Callable[..., Rule]],
        device: torch.device,
        check_every: int | None,
        attach: Attach | None,
        warn: Callable[[str], None],
        replays: bool,
    ) -> None:
        self.task = task
        self.recipe = recipe = replicates[0].recipe
        self.data = _Data.of(task, getattr(torch, recipe.dtype), device)
        samples = len(self.data.x)
        options = {
            place: build_options(r, rules, samples) for place, r in enumerate(replicates) if r.acceleration is not None
        }
        order = sorted(range(len(replicates)), key=lambda place: _neighbours(replicates[place], options.get(place)))
        self.everyone = [ReplicateState(replicates[place], place) for place in order]
        self.alive = list(self.everyone)
        modules = [
            build_network(task, r.recipe, r.seed).to(device=device, dtype=self.data.x.dtype)
            for r in (member.replicate for member in self.alive)
        ]
        self.networks = Networks(modules, build_loss(task), own=task.network is not None)
        self.judged = self.networks
        self.optimizer = StackOptimizer(
            self.networks,
            [member.replicate.recipe for member in self.alive],
            [_resets(member.replicate) for member in self.alive],
        )
        if attach is not None:
            assert len(replicates) == 1
            judged = self.optimizer.attach(attach)
            self.judged = Networks([judged], build_loss(task), own=task.network is not None)
        # else the losses of the steps are those that are asked for
        self.judges_training = recipe.batch is not None or attach is not None
        self.sets: list[JumpGroup | ProbeGroup] = self._build_sets(options)
        self.clock = Stopwatch(device)
        self.pending = _Pending()
        # what a network of one's own or something attached does may depend on more than can be replayed
        recordable = replays and attach is None and task.network is None
        launched = _Launched(recipe, self.networks, self.optimizer)
        self.take_step = Replayed(launched, launched.state, GRAPHS.get(device.type) if recordable else None, warn)
        self.check_every = check_every or (1 if device.type == "cpu" else CHECK_EVERY)
        self.unchecked = 0
        self.steps = self.epoch = 0
        self.rungs = {stop.epoch for replicate in replicates for stop in replicate.stops}
        self.orders = {seed: batch_orders(recipe, seed, samples) for seed in {r.seed for r in replicates}}

    def train(self) -> list[ReplicateOutcome]:
        recipe = self.recipe
        points = set(np.unique(np.linspace(0, recipe.epochs, CURVE_POINTS + 1).round().astype(int)).tolist())
        for self.epoch in range(1, recipe.epochs + 1):
            if self.epoch - 1 in points:
                self._curve_point(self.epoch - 1)
            for x, y, shared in self._batches():
                with self.clock("training"):
                    self._step(x, y, shared)
                if self._read_losses_if_due(self.unchecked >= self.check_every):
                    self._record("step")
                if not self.alive:
                    return self._outcomes()
            self._record("epoch")
            if self.epoch in self.rungs and self._read_losses_if_due(True):
                self._prune()
            if not self.alive:
                return self._outcomes()
        self._finish()
        return self._outcomes()

    def _step(self, x: Tensor, y: Tensor, shared: bool) -> None:
        losses = self.take_step(x, y, shared)
        self.steps += 1
        self.unchecked += 1
        self.pending.steps.append((self.epoch, self.steps, losses))

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """Inputs, targets, and whether all replicates share them: replicates of one seed see the same batches."""
        data, batch = self.data, self.recipe.batch
        if batch is None:
            yield data.x, data.y, True
            return
        samples = len(data.x)
        drawn = {seed: _sent(next(orders), data.x.device) for seed, orders in self.orders.items()}
        for start in range(0, samples, batch):
            seeds = [member.replicate.seed for member in self.alive]
            if not seeds:
                return
            shared = len(set(seeds)) == 1
            rows = [drawn[seed][start : start + batch] for seed in (seeds[:1] if shared else seeds)]
            index = rows[0] if shared else torch.stack(rows)
            yield data.x[index], data.y[index], shared

    def _record(self, when: str) -> None:
        for own in list(self.sets):
            if own.snapshots == when and own.members and own.record(self.clock):
                self._read_losses_if_due(True)
                if own.members:
                    for member in own.jump(self.epoch, self._judge, self._judge_at, self.clock):
                        if _resets(member.replicate):
                            self.optimizer.reset(self.alive.index(member))

    def _judge(self, split: str, part: slice = slice(None)) -> Tensor:
        x, y = (self.data.x, self.data.y) if split == "train" else (self.data.x_test, self.data.y_test)
        with _precision(self.recipe, x.device):
            return self.judged.judge(x, y, part)

    def _judge_at(self, split: str, weights: Mapping[str, Tensor]) -> Tensor:
        x, y = (self.data.x, self.data.y) if split == "train" else (self.data.x_test, self.data.y_test)
        with _precision(self.recipe, x.device):
            return self.networks.judge_at(weights, x, y)

    def _curve_point(self, epoch: int) -> None:
        with self.clock("judging"):
            self.pending.test.append((epoch, self._judge("test")))
            if self.judges_training:
                self.pending.train.append((epoch, self._judge("train")))

    def _read_losses_if_due(self, due: bool) -> bool:
        """Look at the losses if it is due: note them, and let those go that are not finite. Whether any is left."""
        if due:
            self._read_losses()
        return bool(self.alive)

    def _read_losses(self) -> None:
        pending, self.pending, self.unchecked = self.pending, _Pending(), 0
        seconds = self.clock.take()
        losses = _fetched([values for _, _, values in pending.steps])
        curves = {
            split: list(zip([epoch for epoch, _ in own], _fetched([values for _, values in own]), strict=True))
            for split, own in (("train", pending.train), ("test", pending.test))
        }
        for place, member in enumerate(self.alive):
            member.charge(seconds, len(self.alive))
            for (epoch, step, _), row in zip(pending.steps, losses, strict=True):
                value = row[place]
                if not self.judges_training:
                    member.train_curve.append((epoch - 1, value))
                member.epoch, member.steps = epoch, step
                if not math.isfinite(value):
                    member.status = "diverged"
                    break
            last = member.epoch - 1 if member.status == "diverged" else self.epoch
            member.test_curve += [(epoch, row[place]) for epoch, row in curves["test"] if epoch <= last]
            member.train_curve += [(epoch, row[place]) for epoch, row in curves["train"] if epoch <= last]
            member.evaluations["test"] += sum(epoch <= last for epoch, _ in curves["test"])
            member.evaluations["train"] += sum(epoch <= last for epoch, _ in curves["train"])
        for member in self.alive:
            if member.status == "diverged":
                for curve in (member.train_curve, member.test_curve):
                    curve.append((member.epoch, math.nan))
        self._drop_ended()

    def _prune(self) -> None:
        for member in self.alive:
            if member.is_hopeless(self.epoch):
                member.status = "pruned"
        self._drop_ended()

    def _drop_ended(self) -> None:
        """With those that still run."""
        places = [place for place, member in enumerate(self.alive) if member.status == "running"]
        if len(places) == len(self.alive):
            return
        self.alive = [self.alive[place] for place in places]
        if not self.alive:
            return
        self.networks.keep(places)
        self.optimizer.keep(places)
        self.take_step.forget()
        for own in self.sets:
            left = [member for member in own.members if member in self.alive]
            own.keep(left, self.alive.index(left[0]) if left else 0)

    def _finish(self) -> None:
        self._read_losses_if_due(True)
        with self.clock("judging"):
            final = {split: self._judge(split).tolist() for split in ("train", "test")} if self.alive else {}
            accuracies = self._accuracies() if self.alive and self.task.accuracy is not None else {}
        seconds = self.clock.take()
        for place, member in enumerate(self.alive):
            member.charge(seconds, len(self.alive))
            finite = True
            for split, curve in (("train", member.train_curve), ("test", member.test_curve)):
                curve.append((member.epoch, final[split][place]))
                member.evaluations[split] += 1
                finite = finite and math.isfinite(final[split][place])
            member.status = "finished" if finite else "diverged"
            if finite:
                member.own_metrics |= {column: values[place] for column, values in accuracies.items()}

    def _accuracies(self) -> dict[str, list[float]]:
        """Of each replicate, by column of the table."""
        assert self.task.accuracy is not None
        splits = (("train", self.data.x, self.data.y), ("test", self.data.x_test, self.data.y_test))
        return {f"accuracy_{split}": self.judged.accuracies(self.task.accuracy, x, y) for split, x, y in splits}

    def _outcomes(self) -> list[ReplicateOutcome]:
        counts = self.networks.weights, len(self.data.x), len(self.data.x_test)
        ended = sorted(self.everyone, key=lambda member: member.place_in_pack)
        return [member.outcome(*counts, stacked=len(self.everyone)) for member in ended]

    def _build_sets(self, options: Mapping[int, JumpOptions]) -> list[JumpGroup | ProbeGroup]:
        sets: list[tuple[tuple[object, ...], int, list[ReplicateState]]] = []
        for place, member in enumerate(self.alive):
            if member.replicate.acceleration is None:
                continue
            key = (*options[member.place_in_pack].window, member.acceleration.snapshots)
            if sets and sets[-1][0] == key and sets[-1][1] + len(sets[-1][2]) == place:
                sets[-1][2].append(member)
            else:
                sets.append((key, place, [member]))
        return [
            JumpGroup(self.networks, members, [options[m.place_in_pack] for m in members], start)
            for _, start, members in sets
        ]


def _neighbours(replicate: Replicate, options: JumpOptions | None) -> tuple[str, ...]:
    """Sorted by this, those that share hyperparameters are next to each other, and among them those of one window."""
    hyper = repr(hyperparameters(replicate.recipe))
    if options is None or replicate.acceleration is None:
        return hyper, ""
    return hyper, repr((options.window, replicate.acceleration.snapshots))


def _resets(replicate: Replicate) -> bool:
    return replicate.acceleration is not None and replicate.acceleration.moments == "reset"


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting for what it still has to do."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def _fetched(rows: list[Tensor]) -> list[list[float]]:
    """Rows of K numbers, in one transfer."""
    return torch.stack(rows).cpu().tolist() if rows else []


@contextmanager
def _precision(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Matrix products of lower precision where the recipe asks for them; weights and updates keep their dtype."""
    if recipe.precision == "full":
        yield
    elif recipe.precision == "bf16":
        with torch.autocast(device.type, torch.bfloat16):
            yield
    else:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
