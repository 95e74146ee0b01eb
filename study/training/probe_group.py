"""Probes: jumps of every cell that are proposed and evaluated along one training, and not taken.

One plain training answers for a whole grid; it costs probes x cells evaluations. This is another question than that of
jumps that are taken, where each replicate goes on from its own.

Since the training goes on without the jump, it also tells how true a prediction was: ``prediction_error`` is the
distance between the predicted weights and those that training has s steps later, divided by how far the weights have
moved by then (medians over the weights, as in Dogra & Redman 2020). Below 1, predicting was better than staying.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from accel import JumpOutcome, Rule, StackedAccelerator
from study.replicates.outcome import PROBED
from study.replicates.replicate import Probes
from study.training.evaluator import Evaluator
from study.training.jump_group import UNSEEN, note_jump
from study.training.jump_options import build_options
from study.training.networks import Networks
from study.training.replicate_state import ReplicateState
from study.training.stopwatch import Stopwatch

PROBED_BYTES = 1 << 29
"""Bytes of windows that are filled at a time."""
MAX_COMPARED_WEIGHTS = 10_000
"""Number of weights, evenly spread over the network, whose predictions are compared."""


def probed_snapshots(probes: int, first: int, last: int) -> list[int]:
    """Return the snapshots to probe at, evenly spread in the logarithm.

    Args:
        probes: Number of probes; there are fewer where some coincide.
        first: The first snapshot that may be probed.
        last: The last one.
    """
    return sorted(set(np.geomspace(first, last, probes).round().astype(int).tolist()))


@dataclass(frozen=True)
class _Prediction:
    """A prediction of at most `MAX_COMPARED_WEIGHTS` weights, to be compared with the training's own."""

    cell: ReplicateState
    predicted: Tensor
    newest: Tensor


class ProbeGroup:
    """All cells that one training is probed for.

    It stands in the place of a `JumpGroup`: it takes snapshots, and at a probe proposes and evaluates, but the training
    goes on from its own weights.

    Args:
        networks: The one network that is trained.
        runner: The replicate that stands for its training.
        cells: The probed replicates, which share a `Replicate.probed_with`.
        rules: The user's own rules by name.
        samples: Number of training samples.
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
        self.note: str | None = None
        """Sentence that a reader of the results must know, once a probe was made; None if there is none."""
        method = cells[0].replicate.method
        assert isinstance(method, Probes)
        self.snapshots = method.jumps.snapshots
        self._networks = networks
        self._options = [build_options(member.replicate, rules, samples) for member in cells]
        snapshots = cells[0].replicate.snapshot_count(samples)
        self._due: dict[int, set[int]] = {}
        """Start of windows -> the snapshots at which cells with that start are probed."""
        for start in {options.start for options in self._options}:
            longest = max(options.m for options in self._options if options.start == start)
            self._due[start] = set(probed_snapshots(method.count, start + longest, snapshots))
        self._longest = max(options.m for options in self._options)
        self._all_due = set().union(*self._due.values())
        self._awaited: dict[int, list[_Prediction]] = {}
        """Snapshot -> predictions of it."""
        self._taken = 0
        self._weights: deque[dict[str, Tensor]] = deque(maxlen=self._longest)
        """The latest snapshots; only those that a probe needs are kept."""

    @property
    def part(self) -> slice:
        """Place in the stack: the only one."""
        return slice(0, 1)

    def keep(self, alive: Sequence[ReplicateState], start: int) -> None:
        """Keep the training, or stop probing one that has diverged."""
        self.members = list(alive)

    def record(self, clock: Stopwatch) -> bool:
        """Take a snapshot; return True if a probe is due."""
        self._taken += 1
        if self._taken in self._awaited:
            with clock("judging"):
                self._compare(self._awaited.pop(self._taken))
        if any(self._taken <= due < self._taken + self._longest for due in self._all_due):
            with clock("recording"):
                self._weights.append(
                    {
                        name: values.detach().clone()
                        for name, values in self._networks.parameters.items()
                        if values.requires_grad
                    }
                )
        return self._taken in self._all_due

    def jump(self, epoch: int, evaluator: Evaluator, clock: Stopwatch) -> list[ReplicateState]:
        """Propose and evaluate the jump of every cell that is due; none is taken.

        Args:
            epoch: The epoch that training has reached.
            evaluator: Judges the networks of the stack, and networks with other weights.
            clock: Counts seconds of jumps and of judging.

        Returns:
            The members whose weights are now predicted ones: none.
        """
        with clock("judging"):
            before = {split: float(evaluator.losses(split, self.part)) for split in ("train", "test")}
        by_window: dict[tuple[object, ...], list[int]] = {}
        for place, options in enumerate(self._options):
            if self._taken in self._due[options.start]:
                by_window.setdefault(options.window, []).append(place)
        for places in by_window.values():
            size = sum(values.nbytes for values in self._weights[-1].values()) * (self._options[places[0]].m + 1)
            width = max(1, min(len(places), PROBED_BYTES // size)) if self._networks.batchable else 1
            for start in range(0, len(places), width):
                self._probe(epoch, places[start : start + width], before, evaluator, clock)
        return []

    def _probe(
        self, epoch: int, places: Sequence[int], before: Mapping[str, float], evaluator: Evaluator, clock: Stopwatch
    ) -> None:
        options = [self._options[place] for place in places]
        with clock("jumps"):
            latest = self._weights[-1]
            target = {name: values.expand(len(places), *values.shape).clone() for name, values in latest.items()}
            accelerator = StackedAccelerator(self._networks.module, options, target)
            accelerator.jumps = self._taken  # each probe has draws of its own
            self.note = accelerator.note
            window = list(self._weights)[-options[0].m :]
            accelerator.fill([{n: v.expand(len(places), *v.shape) for n, v in each.items()} for each in window])
            proposals = accelerator.propose([accelerator.horizons(k)[0] for k in range(len(places))])
            refusals = [accelerator.refuses(k, proposal) for k, proposal in enumerate(proposals)]
            finite = accelerator.apply(proposals).tolist()
        with clock("judging"):
            after = {split: evaluator.losses_at(split, target).tolist() for split in ("train", "test")}
        newest, predicted = self._select_weights(latest), self._select_weights(target)
        for k, (place, refusal, proposal) in enumerate(zip(places, refusals, proposals, strict=True)):
            cell, evaluated = self.cells[place], refusal is None and finite[k]
            losses: dict[str, float | None] = {
                split: values[k] if evaluated else None for split, values in after.items()
            }
            for split in losses:
                cell.evaluations[split] += evaluated
            outcome = refusal or _outcome(before["train"], losses["train"])
            note_jump(cell, epoch, proposal, outcome, before, losses)
            if outcome not in UNSEEN:
                due = self._awaited.setdefault(self._taken + proposal.s, [])
                due.append(_Prediction(cell, predicted[k], newest[0]))

    def _select_weights(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the weights to compare, (replicates, at most `MAX_COMPARED_WEIGHTS`) float64.

        Args:
            weights: Parameters by name, (*shape) or (replicates, *shape) each.
        """
        shapes = self._networks.parameters
        rows = torch.cat([v.detach().reshape(-1, shapes[name].numel()) for name, v in weights.items()], dim=1)
        count = rows.shape[1]
        if count > MAX_COMPARED_WEIGHTS:
            rows = rows[:, (torch.arange(MAX_COMPARED_WEIGHTS) * count // MAX_COMPARED_WEIGHTS).to(rows.device)]
        return rows.double()

    def _compare(self, predictions: Sequence[_Prediction]) -> None:
        latest = {name: values for name, values in self._networks.parameters.items() if values.requires_grad}
        now = self._select_weights(latest)[0]
        for each in predictions:
            error, growth = (now - each.predicted).abs().median(), (now - each.newest).abs().median()
            ratio = float(error / growth)
            each.cell.prediction_errors.append(ratio if math.isfinite(ratio) else math.inf)


def _outcome(before: float, after: float | None) -> JumpOutcome | Literal["probed"]:
    """Return the outcome of a probe that was not refused; there is no training that its jump could be taken in."""
    finite = after is not None and math.isfinite(after) and not math.isnan(before)
    return PROBED if finite else JumpOutcome.NOT_FINITE


def share_training(runner: ReplicateState, cells: Sequence[ReplicateState]) -> None:
    """Give every cell the status, curves and metrics of the training that was probed for it, and a share of its cost.

    Args:
        runner: The replicate that stands for the training.
        cells: The probed replicates.
    """
    for member in cells:
        member.status, member.epoch, member.steps = runner.status, runner.epoch, runner.steps
        member.train_curve, member.test_curve = runner.train_curve, runner.test_curve
        member.charge(runner.seconds, len(cells))
        member.own_metrics |= runner.own_metrics
        if member.prediction_errors:
            member.own_metrics["prediction_error"] = float(np.median(member.prediction_errors))
