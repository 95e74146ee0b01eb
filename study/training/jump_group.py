"""Jumps in training: replicates whose windows fill together propose, are judged and jump together.

Losses are those of the training split, so the paper's relative error of every jump is known, taken or not. The test
losses at the newest snapshot and at the prediction are noted beside them; they decide nothing.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor

from accel import (
    JumpOptions,
    JumpOutcome,
    Proposal,
    StackedAccelerator,
    judge_jump,
)
from study.training.evaluator import Evaluator
from study.training.networks import Networks
from study.training.replicate_state import ReplicateState
from study.training.stopwatch import Stopwatch

UNSEEN = (JumpOutcome.REJECTED_RESIDUAL, JumpOutcome.REJECTED_INCONSISTENT, JumpOutcome.RANK_DEFICIENT)
"""Outcomes of jumps that are rejected before they are evaluated: they have no losses."""


def note_jump(
    member: ReplicateState,
    epoch: int,
    proposal: Proposal,
    outcome: JumpOutcome | Literal["probed"],
    before: Mapping[str, float | None],
    after: Mapping[str, float | None],
) -> None:
    """Note a jump in the history of its replicate.

    A prediction that is not finite, and so has no loss, gets a loss of +inf: its proposed ratio is +inf.

    Args:
        member: The replicate.
        epoch: The epoch of the jump.
        proposal: The candidate that was chosen.
        outcome: The judge's word, or ``probed`` for a finite prediction that was evaluated and not taken.
        before: Losses at the newest snapshot by split; None if not evaluated.
        after: Losses at the prediction by split; None if not evaluated.
    """
    member.groups = proposal.groups.family_names
    missing = math.inf if outcome is JumpOutcome.NOT_FINITE else math.nan
    jump: dict[str, Any] = {"epoch": epoch}
    for split in ("train", "test"):
        for when, losses, absent in (("before", before, math.nan), ("after", after, missing)):
            loss = losses[split]
            jump[f"{split}_{when}"] = math.nan if outcome in UNSEEN else absent if loss is None else loss
    member.jumps.append(
        jump
        | {
            "outcome": outcome if isinstance(outcome, str) else outcome.value,
            "s": proposal.s,
            "rank": [int(rank) for rank in proposal.groups.largest("rank")],
            "spectral_radius": proposal.groups.largest("spectral_radius"),
        }
    )


class JumpGroup:
    """Replicates next to each other in a stack whose windows fill at the same steps.

    Args:
        networks: The stack.
        members: The replicates of the group, in the order of the stack.
        options: Options of their jumps, one per replicate.
        start: Place of the first replicate in the stack.
    """

    def __init__(
        self, networks: Networks, members: Sequence[ReplicateState], options: Sequence[JumpOptions], start: int
    ) -> None:
        self.members = list(members)
        self.snapshots = members[0].extrapolation.snapshots
        self._networks = networks
        self._accelerator = StackedAccelerator(networks.module, options, self._weights(start, start + len(members)))
        self._start = start
        # training then goes on with the weights that are judged last, and no evaluation belongs to the method
        self._keeps_forward = all(each.accept == "always" and len(each.candidates) == 1 for each in options)

    @property
    def note(self) -> str | None:
        """Sentence that a reader of the results must know; None if there is none."""
        return self._accelerator.note

    @property
    def part(self) -> slice:
        """Places of the group in the stack."""
        return slice(self._start, self._start + len(self.members))

    def keep(self, alive: Sequence[ReplicateState], start: int) -> None:
        """Keep the replicates that still train, of which the first is at ``start``; call it after `Networks.keep`."""
        places = [index for index, member in enumerate(self.members) if member in alive]
        self.members = [self.members[index] for index in places]
        self._start = start
        if not self.members:
            return
        weights = self._weights(self.part.start, self.part.stop)
        assert weights is not None
        self._accelerator.keep(places, weights)

    def record(self, clock: Stopwatch) -> bool:
        """Take a snapshot if it is due; return True if that fills the windows."""
        with clock("recording"):
            return self._accelerator.record()

    def jump(self, epoch: int, evaluator: Evaluator, clock: Stopwatch) -> list[ReplicateState]:
        """Propose, judge and apply for the whole group, and begin new windows.

        Args:
            epoch: The epoch that training has reached.
            evaluator: Judges the networks of the stack.
            clock: Counts seconds of jumps and of judging.

        Returns:
            The members whose weights are now predicted ones.
        """
        test: dict[str, dict[int, float]] = {"before": {}, "after": {}}

        proposed = False  # until the candidates are tried

        def losses(split: str, replicates: Sequence[int]) -> list[float]:
            for k in replicates:
                self.members[k].evaluations[split] += 1
            keep = self._keeps_forward and proposed and split == "train"
            with clock("judging"):
                values: list[float] = evaluator.losses(split, self.part, keep_forward=keep).tolist()
            return values

        def note_test_losses(when: str, replicates: Sequence[int]) -> None:
            nonlocal proposed
            proposed = True
            values = losses("test", replicates)
            test[when] = {k: values[k] for k in replicates}

        with clock("jumps"):
            verdicts = judge_jump(
                self._accelerator,
                partial(losses, "train"),
                at_newest=partial(note_test_losses, "before"),
                at_choice=partial(note_test_losses, "after"),
            )
            self._accelerator.clear()
        for k, (member, verdict) in enumerate(zip(self.members, verdicts, strict=True)):
            member.combinations += verdict.extra_combinations
            note_jump(
                member,
                epoch,
                verdict.proposal,
                verdict.outcome,
                before={"train": verdict.loss_before, "test": test["before"].get(k)},
                after={"train": verdict.loss_after, "test": test["after"].get(k)},
            )
        return [member for member, verdict in zip(self.members, verdicts, strict=True) if verdict.accepted]

    def _weights(self, start: int, stop: int) -> dict[str, Tensor] | None:
        if not self._networks.stacked:
            return None
        return {name: values.detach()[start:stop] for name, values in self._networks.parameters.items()}
