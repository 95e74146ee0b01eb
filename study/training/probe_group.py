"""Probes: what one jump from here would do, asked of every cell along one training that takes none of them.

One plain training answers for a whole grid, for probes x cells x one evaluation. It is a neighbouring question to the
study's own, in which each replicate goes on from its jumps.

Since the training goes on without the jump, it also tells how true a prediction was: ``prediction_error`` compares it
with the weights that training itself has s steps later, in parts of how far they have moved by then (the median over
weights of either, as Dogra & Redman 2020 do): below 1, predicting was better than staying.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from accel import Proposal, Rule, StackedAccelerator
from study.training.jump_group import LIMITS, build_options
from study.training.networks import Networks
from study.training.replicate_state import ReplicateState
from study.training.stopwatch import Stopwatch

PROBED_BYTES = 1 << 29
"""Of windows that are filled at a time."""
MAX_COMPARED_WEIGHTS = 10_000
"""Weights, evenly spread over the network, whose predictions are kept to be compared."""

JudgeAt = Callable[[str, Mapping[str, Tensor]], Tensor]
"""(split, stacked weights) -> losses of the networks with these weights."""


def probed_snapshots(probes: int, first: int, last: int) -> list[int]:
    """So many snapshots from ``first`` to ``last``, evenly spread in the logarithm; fewer where some coincide."""
    return sorted(set(np.geomspace(first, last, probes).round().astype(int).tolist()))


@dataclass(frozen=True)
class _Prediction:
    """What is to be compared with the training's own weights, of at most `MAX_COMPARED_WEIGHTS` weights."""

    cell: ReplicateState
    predicted: Tensor
    newest: Tensor


class ProbeGroup:
    """All cells that one training is probed for.

    Stands in the place of a `JumpGroup`: it takes snapshots, and at a probe proposes and judges, but applies nothing.

    Args:
        networks: the one network that is trained.
        runner: the replicate that stands for its training.
        cells: the replicates to answer for; they share a `Replicate.probed_with`.
        rules: the user's own rules by name.
        samples: of the training split.
    """

    def __init__(
        self,
        networks: Networks,
        runner: ReplicateState,
        cells: Sequence[ReplicateState],
        rules: Mapping[str, Callable[..., Rule]],
        samples: int,
    ) -> None:
        self.members, self.cells = [runner], list(cells)
        first = cells[0].acceleration
        self.snapshots = first.snapshots
        self._networks = networks
        self._options = [build_options(member.replicate, rules, samples) for member in cells]
        whole = cells[0].replicate.snapshots(samples)
        self._due: dict[int, set[int]] = {}
        """Per start of windows: at which snapshots those cells are asked."""
        for start in {options.start for options in self._options}:
            longest = max(options.m for options in self._options if options.start == start)
            self._due[start] = set(probed_snapshots(first.probes, start + longest, whole))
        self._longest = max(options.m for options in self._options)
        self._all_due = set().union(*self._due.values())
        self._awaited: dict[int, list[_Prediction]] = {}
        """Predictions by the snapshot that they are of."""
        self._taken = 0
        self._weights: deque[dict[str, Tensor]] = deque(maxlen=self._longest)
        """Of the latest snapshots; kept only where a probe will look at them."""

    @property
    def part(self) -> slice:
        """Its place in the stack: the only one."""
        return slice(0, 1)

    def keep(self, alive: Sequence[ReplicateState], start: int) -> None:
        """A training that has diverged is probed no more."""
        self.members = list(alive)

    def record(self, clock: Stopwatch) -> bool:
        """Take a snapshot; True when a probe is due."""
        self._taken += 1
        if self._taken in self._awaited:
            with clock("judging"):
                self._compare(self._awaited.pop(self._taken))
        if any(self._taken <= due < self._taken + self._longest for due in self._all_due):
            with clock("jumps"):
                self._weights.append(
                    {
                        name: values.detach().clone()
                        for name, values in self._networks.parameters.items()
                        if values.requires_grad
                    }
                )
        return self._taken in self._all_due

    def jump(
        self, epoch: int, judge: Callable[[str, slice], Tensor], judge_at: JudgeAt, clock: Stopwatch
    ) -> list[ReplicateState]:
        """Ask every cell what its jump would do; none is taken."""
        with clock("judging"):
            before = {split: float(judge(split, self.part)) for split in ("train", "test")}
        by_window: dict[tuple[object, ...], list[int]] = {}
        for place, options in enumerate(self._options):
            if self._taken in self._due[options.start]:
                by_window.setdefault(options.window, []).append(place)
        for places in by_window.values():
            size = sum(values.nbytes for values in self._weights[-1].values()) * (self._options[places[0]].m + 1)
            width = max(1, min(len(places), PROBED_BYTES // size)) if self._networks.batchable else 1
            for start in range(0, len(places), width):
                self._probe(epoch, places[start : start + width], before, judge_at, clock)
        return []

    def _probe(
        self, epoch: int, places: Sequence[int], before: Mapping[str, float], judge_at: JudgeAt, clock: Stopwatch
    ) -> None:
        options = [self._options[place] for place in places]
        with clock("jumps"):
            latest = self._weights[-1]
            target = {name: values.expand(len(places), *values.shape).clone() for name, values in latest.items()}
            accelerator = StackedAccelerator(self._networks.module, options, target)
            window = list(self._weights)[-options[0].m :]
            accelerator.fill([{n: v.expand(len(places), *v.shape) for n, v in each.items()} for each in window])
            proposals = accelerator.propose([accelerator.horizons(k)[0] for k in range(len(places))])
            fit = [accelerator.refuses(k, proposal) not in LIMITS for k, proposal in enumerate(proposals)]
            accelerator.apply(proposals)
        with clock("judging"):
            after = {split: judge_at(split, target).tolist() for split in ("train", "test")}
        newest, predicted = self._some(latest), self._some(target)
        for k, place in enumerate(places):
            if fit[k]:
                due = self._awaited.setdefault(self._taken + proposals[k].s, [])
                due.append(_Prediction(self.cells[place], predicted[k], newest[0]))
            self._note(self.cells[place], epoch, proposals[k], before, {s: v[k] for s, v in after.items()}, fit[k])

    def _some(self, weights: Mapping[str, Tensor]) -> Tensor:
        """(replicates, at most COMPARED) float64 weights of these, (*shape) or (replicates, *shape) each."""
        shapes = self._networks.parameters
        rows = torch.cat([v.detach().reshape(-1, shapes[name].numel()) for name, v in weights.items()], dim=1)
        count = rows.shape[1]
        if count > MAX_COMPARED_WEIGHTS:
            rows = rows[:, (torch.arange(MAX_COMPARED_WEIGHTS) * count // MAX_COMPARED_WEIGHTS).to(rows.device)]
        return rows.double()

    def _compare(self, predictions: Sequence[_Prediction]) -> None:
        latest = {name: values for name, values in self._networks.parameters.items() if values.requires_grad}
        now = self._some(latest)[0]
        for each in predictions:
            error, growth = (now - each.predicted).abs().median(), (now - each.newest).abs().median()
            ratio = float(error / growth)
            each.cell.prediction_errors.append(ratio if math.isfinite(ratio) else math.inf)

    def _note(
        self,
        member: ReplicateState,
        epoch: int,
        proposal: Proposal,
        before: Mapping[str, float],
        after: Mapping[str, float],
        fit: bool,
    ) -> None:
        member.groups = proposal.groups.family_names
        for split in ("train", "test"):
            member.evaluations[split] += fit
        member.jumps.append(
            {
                "epoch": epoch,
                **{f"{split}_before": before[split] if fit else np.nan for split in before},
                **{f"{split}_after": after[split] if fit else np.nan for split in after},
                "accepted": False,
                "s": proposal.s,
                "rank": [int(rank) for rank in proposal.groups.largest("rank")],
                "spectral_radius": proposal.groups.largest("spectral_radius"),
            }
        )


def share_training(runner: ReplicateState, cells: Sequence[ReplicateState]) -> None:
    """Give every cell its share of the training that was probed for it, and how that ended."""
    for member in cells:
        member.status, member.epoch, member.steps = runner.status, runner.epoch, runner.steps
        member.train_curve, member.test_curve = runner.train_curve, runner.test_curve
        member.charge(runner.seconds, len(cells))
        member.own_metrics |= runner.own_metrics
        if member.prediction_errors:
            member.own_metrics["prediction_error"] = float(np.median(member.prediction_errors))
