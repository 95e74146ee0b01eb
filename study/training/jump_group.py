"""Jumps in training: replicates whose windows fill together propose, are judged and jump together.

It is the trainer that judges, so the paper's relative error of every jump is known, taken or not: the loss at the
newest snapshot and at the prediction, on the training and on the test split.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from accel import RULES, ByLoss, Decay, Horizon, JumpOptions, JumpOutcome, Linear, Proposal, Rule, StackedAccelerator
from study.replicates.replicate import Acceleration, Replicate
from study.training.networks import Networks
from study.training.random_streams import stream_seed
from study.training.replicate_state import ReplicateState
from study.training.stopwatch import Stopwatch

LIMITS = (JumpOutcome.REJECTED_RESIDUAL, JumpOutcome.REJECTED_INCONSISTENT)
Judge = Callable[[str, slice], Tensor]
"""(split, places in the stack) -> losses of the networks there."""


def build_options(replicate: Replicate, rules: Mapping[str, Callable[..., Rule]], samples: int) -> JumpOptions:
    """What a replicate's jumps are told."""
    acceleration = replicate.acceleration
    assert acceleration is not None
    known: dict[str, Callable[..., Rule]] = {**RULES, **rules}
    return JumpOptions(
        rule=known[acceleration.rule](**acceleration.options),
        m=acceleration.m,
        s=build_horizon(acceleration, replicate.jumps(samples)),
        group=acceleration.group,  # type: ignore[arg-type]
        start=acceleration.start,
        stop=acceleration.stop,
        relaxation=acceleration.relaxation,
        shape=acceleration.shape,  # type: ignore[arg-type]
        noise=acceleration.noise,
        seed=stream_seed(replicate.seed, "noise"),
        candidates=tuple(acceleration.candidates),
        max_residual=acceleration.max_residual,
        max_inconsistency=acceleration.max_inconsistency,
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


class JumpGroup:
    """Replicates next to each other in a stack whose windows fill at the same steps.

    Args:
        networks: the stack.
        members: the replicates of the set, in the order of the stack.
        options: theirs.
        start: place of the first in the stack.
    """

    def __init__(
        self, networks: Networks, members: Sequence[ReplicateState], options: Sequence[JumpOptions], start: int
    ) -> None:
        self.members = list(members)
        self.snapshots = members[0].acceleration.snapshots
        self._networks = networks
        self._accelerator = StackedAccelerator(networks.module, options, self._weights(start, start + len(members)))
        self._start = start

    @property
    def part(self) -> slice:
        """Its places in the stack."""
        return slice(self._start, self._start + len(self.members))

    def keep(self, alive: Sequence[ReplicateState], start: int) -> None:
        """Go on with those that are left, after `Networks.keep`."""
        places = [index for index, member in enumerate(self.members) if member in alive]
        self.members = [self.members[index] for index in places]
        self._start = start
        if not self.members:
            return
        weights = self._weights(self.part.start, self.part.stop)
        assert weights is not None
        self._accelerator.keep(places, weights)

    def record(self, clock: Stopwatch) -> bool:
        """Take a snapshot if it is due; True when that fills the windows."""
        with clock("jumps"):
            return self._accelerator.record()

    def jump(self, epoch: int, judge: Judge, judge_at: object, clock: Stopwatch) -> list[ReplicateState]:
        """Propose, judge and apply for the whole set, and begin new windows.

        Returns:
            The members whose weights are now predicted ones.
        """
        accelerator, members = self._accelerator, self.members
        del judge_at
        everyone = range(len(members))
        train_before = test_before = train_after = test_after = [math.nan] * len(members)
        by_loss = [k for k in everyone if members[k].acceleration.horizon == "loss"]
        if by_loss:
            train_before = self._judge("train", by_loss, judge, clock)
        with clock("jumps"):
            horizons = [accelerator.horizons(k, train_before[k] if k in by_loss else None) for k in everyone]
            rounds = [
                accelerator.propose([own[min(tried, len(own) - 1)] for own in horizons])
                for tried in range(max(map(len, horizons)))
            ]
            fit = [
                [p for p, _ in zip((tried[k] for tried in rounds), own, strict=False) if self._fit(k, p)]
                for k, own in enumerate(horizons)
            ]
        seen = [k for k in everyone if fit[k]]
        chosen = [rounds[0][k] for k in everyone]
        accepted = [False] * len(members)
        if seen:
            unknown = [k for k in seen if k not in by_loss]
            found = self._judge("train", unknown, judge, clock) if unknown else train_before
            train_before = [found[k] if k in unknown else train_before[k] for k in everyone]
            test_before = self._judge("test", seen, judge, clock)
            best, train_after = self._apply_best(fit, judge, clock)
            chosen = [own if own is not None else rounds[0][k] for k, own in enumerate(best)]
            test_after = self._judge("test", seen, judge, clock)
            accepted = [bool(fit[k]) and _taken(members[k], train_before[k], train_after[k]) for k in everyone]
        with clock("jumps"):
            if seen and not any(accepted):
                accelerator.restore()
            elif seen and any(fit[k] and not accepted[k] for k in everyone):
                accelerator.apply([p if a else None for p, a in zip(chosen, accepted, strict=True)])
            accelerator.clear()
        for k, (member, proposal) in enumerate(zip(members, chosen, strict=True)):
            nan = math.nan
            member.groups = proposal.groups.family_names
            member.jumps.append(
                {
                    "epoch": epoch,
                    "train_before": train_before[k] if fit[k] else nan,
                    "train_after": train_after[k] if fit[k] else nan,
                    "test_before": test_before[k] if fit[k] else nan,
                    "test_after": test_after[k] if fit[k] else nan,
                    "accepted": accepted[k],
                    "s": proposal.s,
                    "rank": [int(rank) for rank in proposal.groups.largest("rank")],
                    "spectral_radius": proposal.groups.largest("spectral_radius"),
                }
            )
        return [member for member, taken in zip(members, accepted, strict=True) if taken]

    def _fit(self, member: int, proposal: Proposal) -> bool:
        return self._accelerator.refuses(member, proposal) not in LIMITS

    def _apply_best(
        self, fit: Sequence[Sequence[Proposal]], judge: Judge, clock: Stopwatch
    ) -> tuple[list[Proposal | None], list[float]]:
        """Apply to each the proposal of lowest training loss, finite or not, and tell that loss."""
        everyone = range(len(self.members))
        losses: list[list[float]] = [[] for _ in everyone]
        applied: list[Proposal | None] = [None for _ in everyone]
        for tried in range(max(map(len, fit))):
            applied = [own[tried] if tried < len(own) else None for own in fit]
            with clock("jumps"):
                self._accelerator.apply(applied)
            found = self._judge("train", [k for k in everyone if applied[k]], judge, clock)
            for k in everyone:
                if applied[k]:
                    losses[k].append(found[k])
        best: list[Proposal | None] = [None for _ in everyone]
        after = [math.nan] * len(self.members)
        for k, own in enumerate(losses):
            if own:
                index = min(range(len(own)), key=lambda i: math.inf if math.isnan(own[i]) else own[i])
                best[k], after[k] = fit[k][index], own[index]
                self.members[k].combinations += len(own) - 1 + (index != len(own) - 1)
        if best != applied:
            with clock("jumps"):
                self._accelerator.apply(best)
        return best, after

    def _judge(self, split: str, counted: Sequence[int], judge: Judge, clock: Stopwatch) -> list[float]:
        for k in counted:
            self.members[k].evaluations[split] += 1
        with clock("judging"):
            found: list[float] = judge(split, self.part).tolist()
        return found

    def _weights(self, start: int, stop: int) -> dict[str, Tensor] | None:
        if not self._networks.stacked:
            return None
        return {name: values.detach()[start:stop] for name, values in self._networks.parameters.items()}


def _taken(member: ReplicateState, before: float, after: float) -> bool:
    acceleration = member.acceleration
    return acceleration.accept == "always" or after < before - acceleration.margin * abs(before)
