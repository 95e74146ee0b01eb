"""Training of a pack: pack and data in, outcomes out. Needs torch, numpy and `accel` only.

A replicate's randomness comes from its seed alone, through separate streams for initial weights, mini-batch order and
noise that no method axis touches; so a replicate and its baseline start from the same weights and see the same batches.
"""

import itertools
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from accel import DMD, Accelerator, ByLoss, Decay, Horizon, Linear, Proposal, Rule
from accel import Outcome as JumpOutcome
from study.flops import combination_flops, evaluation_flops, jump_flops, step_flops
from study.pack import Acceleration, Jumps, Outcome, Pack, Recipe, Replicate, Task, failed

CURVE_POINTS = 200
ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}
LIMITS = (JumpOutcome.REJECTED_RESIDUAL, JumpOutcome.REJECTED_INCONSISTENT)
STREAMS = {"weights": 0, "batches": 1, "noise": 2}


def train_pack(pack: Pack, tasks: Mapping[str, Task], rules: Mapping[str, Callable[..., Rule]]) -> list[Outcome]:
    """Train every replicate of a pack.

    Args:
        pack: what to train, with how many threads, on which device.
        tasks: data by the key that replicates name.
        rules: the user's own rules by name; ``dmd`` needs no entry.

    Returns:
        One outcome per replicate, in order. One that raises becomes ``failed`` with the traceback as its reason.
    """
    outcomes = []
    with _threads(pack.threads):
        for replicate in pack.replicates:
            try:
                outcomes.append(train(replicate, tasks[replicate.task], rules, device=torch.device(pack.device)))
            except Exception:
                outcomes.append(failed(replicate, traceback.format_exc(limit=-8)))
    return outcomes


def train(replicate: Replicate, task: Task, rules: Mapping[str, Callable[..., Rule]], device: torch.device) -> Outcome:
    """Train one replicate from its initial weights to its last epoch, or until it diverges."""
    recipe = replicate.recipe
    data = _Tensors.of(task, getattr(torch, recipe.dtype), device)
    model = build_network(task, recipe, replicate.seed).to(device=device, dtype=data.x.dtype)
    loss = build_loss(task)
    optimizer = build_optimizer(recipe, model)
    accelerator = None
    if replicate.acceleration is not None:
        accelerator = build_accelerator(replicate, rules, model, optimizer, len(data.x))
    run = _Run(replicate, model, loss, optimizer, accelerator, data, own_network=task.network is not None)
    with _global_generator(replicate.seed, "noise"):  # dropout, say, in a network of the problem's own
        return run.train()


def build_network(task: Task, recipe: Recipe, seed: int) -> nn.Module:
    """The dense network of the recipe (Xavier-uniform weights, zero biases), or the problem's own."""
    if task.network is not None:
        with _global_generator(seed, "weights"):
            network: nn.Module = task.network()
            return network
    generator = torch.Generator().manual_seed(_stream_seed(seed, "weights"))
    sizes = [task.train_inputs.shape[1], *recipe.hidden, task.train_targets.shape[1]]
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        if index:
            layers.append(ACTIVATIONS[recipe.activation]())
        # torch's own initialisation would draw from the global generator
        linear = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=torch.float64)  # type: ignore[no-untyped-call]
        nn.init.xavier_uniform_(linear.weight, generator=generator)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
    return nn.Sequential(*layers)


def build_loss(task: Task) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Mean squared error over samples and outputs, or the problem's own loss."""
    if task.loss is not None:
        return task.loss
    return lambda model, x, y: nn.functional.mse_loss(model(x), y)


def build_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Torch's own optimiser of the recipe, fused where torch has it; momentum is that of sgd and rmsprop."""
    kinds: dict[str, Any] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
        "adadelta": torch.optim.Adadelta,
    }
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer in ("sgd", "rmsprop"):
        options["momentum"] = recipe.momentum
    if recipe.optimizer in ("adam", "adamw", "sgd", "adagrad"):
        options["fused"] = True
    optimizer: torch.optim.Optimizer = kinds[recipe.optimizer](model.parameters(), **options)
    return optimizer


def build_accelerator(
    replicate: Replicate,
    rules: Mapping[str, Callable[..., Rule]],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    samples: int,
) -> Accelerator:
    """The accelerator that a replicate trains with. It is the trainer that judges, so it always applies."""
    acceleration = replicate.acceleration
    assert acceleration is not None
    return Accelerator(
        model,
        {"dmd": DMD, **rules}[acceleration.rule](**acceleration.options),
        m=acceleration.m,
        s=build_horizon(acceleration, replicate.jumps(samples)),
        group=acceleration.group,  # type: ignore[arg-type]
        start=acceleration.start,
        stop=acceleration.stop,
        relaxation=acceleration.relaxation,
        noise=acceleration.noise,
        seed=_stream_seed(replicate.seed, "noise"),
        candidates=acceleration.candidates,
        max_residual=acceleration.max_residual,
        max_inconsistency=acceleration.max_inconsistency,
        moments=acceleration.moments,  # type: ignore[arg-type]
        optimizer=optimizer,
    )


def build_horizon(acceleration: Acceleration, jumps: int) -> int | Horizon:
    """The schedule of s over so many jumps of a training."""
    jumps = max(acceleration.horizon_jumps or jumps, 1)
    schedules: dict[str, Callable[[], int | Horizon]] = {
        "constant": lambda: acceleration.s,
        "linear": lambda: Linear(acceleration.s, jumps),
        "decay": lambda: Decay(acceleration.s, jumps),
        "loss": lambda: ByLoss(acceleration.s),
    }
    return schedules[acceleration.horizon]()


@dataclass(frozen=True)
class _Tensors:
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    @classmethod
    def of(cls, task: Task, dtype: torch.dtype, device: torch.device) -> "_Tensors":
        arrays = (task.train_inputs, task.train_targets, task.test_inputs, task.test_targets)
        # a copy, since arrays out of an object store are read-only
        return cls(*(torch.tensor(np.asarray(a), dtype=dtype, device=device) for a in arrays))


@dataclass
class _Clock:
    """Seconds by what they were spent on; a device's queue is emptied before each reading."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: {"training": 0.0, "jumps": 0.0, "judging": 0.0})

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        start_s = self._now_s()
        try:
            yield
        finally:
            self.seconds[what] += self._now_s() - start_s

    def _now_s(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@dataclass
class _Run:
    replicate: Replicate
    model: nn.Module
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator | None
    data: _Tensors
    own_network: bool
    jumps: list[dict[str, Any]] = field(default_factory=list)
    train_curve: list[tuple[int, float]] = field(default_factory=list)
    test_curve: list[tuple[int, float]] = field(default_factory=list)
    groups: tuple[str, ...] = ()
    evaluations: dict[str, int] = field(default_factory=lambda: {"train": 0, "test": 0})
    combinations: int = 0
    """Of snapshots, beside the first of every jump."""
    steps: int = 0
    epoch: int = 0

    def train(self) -> Outcome:
        recipe, samples = self.replicate.recipe, len(self.data.x)
        clock = _Clock(self.data.x.device)
        batch_order = torch.Generator().manual_seed(_stream_seed(self.replicate.seed, "batches"))
        points = set(np.unique(np.linspace(0, recipe.epochs, CURVE_POINTS + 1).round().astype(int)).tolist())
        status = "finished"
        for self.epoch in range(1, recipe.epochs + 1):
            if self.epoch - 1 in points:
                with clock("judging"):
                    self._curve_point(self.epoch - 1, with_train=recipe.batch is not None)
            for index in _batches(samples, recipe.batch, batch_order):
                with clock("training"):
                    value = self._step(index)
                if recipe.batch is None:
                    self.train_curve.append((self.epoch - 1, value))
                if not math.isfinite(value):
                    status = "diverged"
                    break
                if self._snapshot_due("step"):
                    self._record(clock)
            if status == "diverged":
                break
            if self._snapshot_due("epoch"):
                self._record(clock)
        with clock("judging"):
            final_train, final_test = self._loss("train"), self._loss("test")
        if not (math.isfinite(final_train) and math.isfinite(final_test)):
            status = "diverged"
        self.train_curve.append((self.epoch, final_train))
        self.test_curve.append((self.epoch, final_test))
        return self._outcome(status, final_train, final_test, clock)

    def _step(self, index: Tensor | None) -> float:
        x, y = (self.data.x, self.data.y) if index is None else (self.data.x[index], self.data.y[index])
        self.optimizer.zero_grad(set_to_none=True)
        value = self.loss(self.model, x, y)
        value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.steps += 1
        return value.item()

    def _snapshot_due(self, when: str) -> bool:
        acceleration = self.replicate.acceleration
        return acceleration is not None and acceleration.snapshots == when

    def _record(self, clock: _Clock) -> None:
        accelerator, acceleration = self.accelerator, self.replicate.acceleration
        assert accelerator is not None
        assert acceleration is not None
        with clock("jumps"):
            if not accelerator.record():
                return
        train_before = test_before = train_after = test_after = math.nan
        if acceleration.horizon == "loss":
            with clock("judging"):
                train_before = self._loss("train")
        with clock("jumps"):
            known = None if math.isnan(train_before) else train_before
            proposals = [accelerator.propose(s) for s in accelerator.horizons(known)]
            evaluated = [p for p in proposals if accelerator.refuses(p) not in LIMITS]
        proposal, accepted = proposals[0], False
        if evaluated:
            with clock("judging"):
                train_before = self._loss("train") if math.isnan(train_before) else train_before
                test_before = self._loss("test")
            proposal, train_after = self._apply_best(evaluated, clock)
            with clock("judging"):
                test_after = self._loss("test")
            accepted = acceleration.accept == "always" or train_after < train_before - acceleration.margin * abs(
                train_before
            )
        with clock("jumps"):
            if evaluated and not accepted:
                accelerator.restore()
            accelerator.clear()
        families = proposal.groups.families
        self.groups = tuple(family.name for family in families)
        self.jumps.append(
            {
                "epoch": self.epoch,
                "train_before": train_before if evaluated else math.nan,
                "train_after": train_after,
                "test_before": test_before,
                "test_after": test_after,
                "accepted": accepted,
                "s": proposal.s,
                "rank": [family.rank for family in families],
                "spectral_radius": [family.spectral_radius for family in families],
            }
        )

    def _apply_best(self, proposals: Sequence[Proposal], clock: _Clock) -> tuple[Proposal, float]:
        """Apply the proposal of lowest training loss, finite or not, and tell that loss."""
        assert self.accelerator is not None
        losses = []
        for proposal in proposals:
            with clock("jumps"):
                self.accelerator.apply(proposal)
            with clock("judging"):
                losses.append(self._loss("train"))
        best = min(range(len(losses)), key=lambda index: math.inf if math.isnan(losses[index]) else losses[index])
        if best != len(losses) - 1:
            with clock("jumps"):
                self.accelerator.apply(proposals[best])
        self.combinations += len(losses) - 1 + (best != len(losses) - 1)
        return proposals[best], losses[best]

    def _loss(self, split: str) -> float:
        x, y = (self.data.x, self.data.y) if split == "train" else (self.data.x_test, self.data.y_test)
        self.evaluations[split] += 1
        with torch.no_grad(), _undisturbed(self.model, self.data.x.device, self.own_network):
            return self.loss(self.model, x, y).item()

    def _curve_point(self, epoch: int, *, with_train: bool) -> None:
        self.test_curve.append((epoch, self._loss("test")))
        if with_train:
            self.train_curve.append((epoch, self._loss("train")))

    def _outcome(self, status: str, final_train: float, final_test: float, clock: _Clock) -> Outcome:
        weights = sum(p.numel() for p in self.model.parameters())
        m = 0 if self.replicate.acceleration is None else self.replicate.acceleration.m
        samples, test_samples = len(self.data.x), len(self.data.x_test)
        return Outcome(
            replicate=self.replicate,
            status=status,
            epoch=self.epoch,
            reason="",
            final_loss_train=final_train,
            final_loss_test=final_test,
            jumps=_stack_jumps(self.jumps),
            curve_train_epoch=np.array([e for e, _ in self.train_curve], np.int64),
            curve_train=np.array([v for _, v in self.train_curve]),
            curve_test_epoch=np.array([e for e, _ in self.test_curve], np.int64),
            curve_test=np.array([v for _, v in self.test_curve]),
            groups=self.groups,
            steps=self.steps,
            seconds_training=clock.seconds["training"],
            seconds_jumps=clock.seconds["jumps"],
            seconds_judging=clock.seconds["judging"],
            flops_training=self.epoch * step_flops(weights, samples),
            flops_jumps=len(self.jumps) * jump_flops(weights, m) + self.combinations * combination_flops(weights, m),
            flops_judging=self.evaluations["train"] * evaluation_flops(weights, samples)
            + self.evaluations["test"] * evaluation_flops(weights, test_samples),
        )


def _stack_jumps(jumps: list[dict[str, Any]]) -> Jumps:
    if not jumps:
        return Jumps()
    return Jumps(**{key: np.array([jump[key] for jump in jumps]) for key in jumps[0]})


@contextmanager
def _undisturbed(model: nn.Module, device: torch.device, own_network: bool) -> Iterator[None]:
    """Evaluate without a trace: no statistics of batches kept, no noise drawn that training would have drawn.

    A dense network of the recipe keeps none and draws none, and is spared the cost.
    """
    if not own_network:
        yield
        return
    training = model.training
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        model.eval()
        try:
            yield
        finally:
            model.train(training)


def _batches(samples: int, batch: int | None, order: torch.Generator) -> Iterator[Tensor | None]:
    if batch is None:
        yield None
        return
    yield from torch.split(torch.randperm(samples, generator=order), batch)


def _stream_seed(seed: int, stream: str) -> int:
    return int(np.random.SeedSequence([seed, STREAMS[stream]]).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def _global_generator(seed: int, stream: str) -> Iterator[None]:
    """Torch's global generator, seeded, for code that draws from no other; afterwards it is as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(_stream_seed(seed, stream))
        yield


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
