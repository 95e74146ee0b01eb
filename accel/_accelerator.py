"""Record, propose, judge, apply: an extrapolating rule in a user's own training loop."""

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Self

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from accel._best import read_best
from accel._jump.horizon import Horizon
from accel._jump.judging import judge_jump
from accel._jump.options import JumpOptions
from accel._jump.outcome import JumpOutcome
from accel._jump.policy import Accept, Closure, Moments, evaluate
from accel._jump.reports import Jump, Proposal
from accel._jump.stacked import StackedAccelerator
from accel._rules import Rule
from accel._window.groups import Grouping, Partition
from accel._window.reshaping import Shape

_STATE_FORMAT = 3


class Accelerator:
    """Watches the weights of a model during training and jumps ahead every ``m`` snapshots.

    In a loop, call `step` after every ``optimizer.step()``, or once per epoch. Who judges jumps on other grounds uses
    its parts: `record`, `horizons`, `propose`, `refuses`, `apply`, `restore`, `clear`. Weights are written in place; no
    parameter is rebound. Frozen parameters and buffers (such as batch-norm statistics) are left alone. Compiled models,
    autocast, parameters of several dtypes or on several devices and several parameter groups of an optimiser need no
    care; a model sharded over processes (FSDP) is not supported. With several processes (DistributedDataParallel) every
    one takes the same jumps, since the judging loss is the mean of theirs.

    Args:
        model: Its floating-point parameters with ``requires_grad`` at construction are accelerated.
        rule: How a window of snapshots is extrapolated, such as `DMD`.
        m: Snapshots in a window; at least 2. Memory: m copies of the weights, in their dtype and on their device
            unless told otherwise below. `Koopman` on groups of fewer than m / 6 weights needs some 6 numbers for every
            pair of weights in a group, whatever m.
        s: Snapshots to leap, counted from the newest; at least 1. Or a schedule of it: `Linear`, `Decay`, `ByLoss`.
        group: Weights that share one operator: ``"layer"`` (as in Tano, Portwood & Ragusa 2020), ``"model"``,
            ``"node"`` (one output row or channel with its bias), ``"weight"``; a number, which splits nodes into parts
            of at most so many weights; or a mapping of names to parameters, which leaves all parameters it does not
            name alone.
        every: Take a snapshot on every so many calls of `step` only; s then leaps ``s * every`` calls.
        start: Calls to let pass before snapshots begin.
        stop: The last call that may record or jump; None for no end. Afterwards the window's memory is released.
        relaxation: α of ``w_m + α (ŵ - w_m)``, in (0, 2].
        shape: ``"masked"`` takes only the weights whose predicted move agrees with the last step, as Predictive
            Differential Training does: measured from the snapshot before the newest, of the same sign, at least as far
            and at most s + 2 times. ``"random"`` and ``"last_step"`` are controls: every group moves as far as
            predicted, but in a random direction or along the last step. ``"masked"`` and ``"random"`` take a float64
            copy of the weights.
        noise: Amplitude of noise added to each prediction, relative to its move: every weight gets the move of a random
            weight of its group, with a random sign (after section 4 of the paper). Takes a float64 copy of the weights.
        seed: Of that noise, and of random directions.
        candidates: Multiples of s to try at each jump, of which the one with the lowest loss is kept; each costs an
            evaluation of the closure. Rounded, at least 1, repeats left out.
        accept: ``"always"`` takes every finite prediction, ``"improve"`` only one that lowers the loss of the closure.
        margin: With ``"improve"``: the loss must fall by more than this part of itself, in [0, 1).
        max_residual: Reject a jump, before evaluating it, if a moving group's residual is above this.
        max_inconsistency: The same for a group's consistency index.
        moments: ``"reset"`` makes the optimiser start afresh from an accepted jump: its state for the accelerated
            parameters is dropped. ``"keep"`` leaves it as it was.
        optimizer: Needed for ``moments="reset"``.
        process_group: Processes that must decide alike; None for all of them where torch.distributed is initialised.
        snapshot_dtype: ``torch.bfloat16``, ``float16`` or ``float32``: keep the snapshots between a window's first and
            last as differences from the first in this dtype, where that is narrower than the weights'. Halves the
            window's memory for float32 weights; the differences are rounded to 8 bits in bfloat16, 11 in float16.
        snapshot_device: Where snapshots are kept and jumps are computed, such as ``"cpu"``; None for the weights' own.

    Raises:
        ValueError: An argument is outside its values, or the model has no suitable parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        rule: Rule,
        *,
        m: int,
        s: int | Horizon,
        group: Grouping | Partition = "layer",
        every: int = 1,
        start: int = 0,
        stop: int | None = None,
        relaxation: float = 1.0,
        shape: Shape = "none",
        noise: float = 0.0,
        seed: int = 0,
        candidates: Sequence[float] = (1.0,),
        accept: Accept = "always",
        margin: float = 0.0,
        max_residual: float | None = None,
        max_inconsistency: float | None = None,
        moments: Moments = "keep",
        optimizer: Optimizer | None = None,
        process_group: distributed.ProcessGroup | None = None,
        snapshot_dtype: torch.dtype | None = None,
        snapshot_device: torch.device | str | None = None,
    ) -> None:
        self.options = JumpOptions(
            rule=rule,
            m=m,
            s=s,
            group=group,
            every=every,
            start=start,
            stop=stop,
            relaxation=relaxation,
            shape=shape,
            noise=noise,
            seed=seed,
            candidates=tuple(candidates),
            accept=accept,
            margin=margin,
            max_residual=max_residual,
            max_inconsistency=max_inconsistency,
            moments=moments,
            snapshot_dtype=snapshot_dtype,
            snapshot_device=snapshot_device,
        )
        self.options.check(optimizer)
        self.rule, self.m, self.s = rule, m, s
        self._optimizer = optimizer
        self._process_group = process_group
        self._stack = StackedAccelerator(model, [self.options])
        self._outcome: JumpOutcome | None = None
        self._jumped = False

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups that have an operator each, in the order of every report."""
        return tuple(f.group_name(index) for f in self._stack.layout.families for index in range(f.count))

    @property
    def outcome(self) -> JumpOutcome:
        """What became of the latest call of `step`: of the jump, if it jumped, and otherwise why it did not."""
        return self._outcome or self._stack.outcome

    @classmethod
    def from_best(
        cls,
        model: nn.Module,
        path: str | PathLike[str],
        choice: Literal["minimum", "one-standard-error"] | None = None,
        metric: str | None = None,
        **overrides: Any,
    ) -> Self:
        """Accelerate with the best parameters that a study found; needs PyYAML.

        Args:
            model: The model to accelerate.
            path: A ``best.yaml``, as written by a study.
            choice: The cell with the lowest metric, or the cheapest within one standard error of it; by default the
                file's own, as ``dmd-study best DIR --rule`` sets it.
            metric: By which of the study's metrics, such as ``"mean_relative_error"`` or ``"final_loss_ratio"``; by
                default the file's own, as ``dmd-study best DIR --metric`` sets it.
            **overrides: Any argument of `Accelerator` or field of the rule, in place of the file's; also ``optimizer``,
                and ``horizon_jumps`` where the study let s fall over all jumps of a training.

        Raises:
            ValueError: The file has another format, lacks the choice (with the study's reason), or holds a method that
                this class cannot reproduce.
        """
        rule, options = read_best(path, choice, metric, overrides)
        return cls(model, rule, **options)

    def step(self, closure: Closure | None = None) -> Jump | None:
        """Record the weights; on every m-th snapshot, also jump. Call it after each ``optimizer.step()``.

        Args:
            closure: Returns the loss as a scalar; no backward pass. Called without gradients, and only on jumps: at the
                newest snapshot and at each candidate prediction. A model in training mode updates its buffers in these
                calls, and draws its dropout.

        Returns:
            A report on the calls that jump, None on the others; `outcome` tells which others.

        Raises:
            ValueError: An option needs the loss and there is no closure at a jump, or a closure that returns a
                non-scalar, or NaN at weights that training itself has reached.
        """
        needs, stack = self.options.needs_loss, self._stack
        if closure is None and needs and stack.windows.filled == self.options.m - 1 and stack.takes(stack.calls + 1):
            raise ValueError(f"{needs} needs a closure that returns the loss: call step(closure)")
        if not self.record():
            return None
        try:
            jump = self._judge(closure)
        except BaseException:
            self.restore()
            raise
        finally:
            self.clear()
        self._outcome = jump.outcome
        return jump

    def _judge(self, closure: Closure | None) -> Jump:
        """Judge the jump from the full window, and write the weights that training goes on with."""
        group = self._process_group
        (verdict,) = judge_jump(self._stack, None if closure is None else lambda _: [evaluate(closure, group)])
        before, proposal = verdict.loss_before, verdict.proposal
        if before is not None and math.isnan(before):
            raise ValueError("the closure must return the loss, got NaN at the weights that training reached")
        self._jumped = verdict.accepted
        proposal.groups.settle()
        return Jump(
            step=self.calls,
            s=proposal.s,
            groups=proposal.groups,
            loss_before=before,
            loss_after=verdict.loss_after,
            ratio=None if closure is None else verdict.ratio,
            outcome=verdict.outcome,
            evaluations=verdict.evaluations,
        )

    def record(self) -> bool:
        """Count a call, and add the present weights to the window if it is due; True when that filled it.

        Raises:
            RuntimeError: The window is already full: `clear` it first.
        """
        full = self._stack.record()
        self._outcome = None
        return full

    def horizons(self, loss: float | None = None) -> tuple[int, ...]:
        """The horizons to try at the coming jump, without repeats.

        Args:
            loss: At the newest snapshot, for schedules that depend on it.
        """
        return self._stack.horizons(0, loss)

    def propose(self, s: int | None = None) -> Proposal:
        """Extrapolate the full window; no weight is touched; see `StackedAccelerator.propose`.

        Args:
            s: Steps to leap; None for the first of `horizons`.

        Raises:
            RuntimeError: The window is not full.
            ValueError: The rule returns another number of coefficients than there are snapshots.
        """
        self._stack.require_full("propose")
        return self._stack.propose([self.horizons()[0] if s is None else s])[0]

    @property
    def calls(self) -> int:
        """Calls of `step` or `record` so far."""
        return self._stack.calls

    def refuses(self, proposal: Proposal) -> JumpOutcome | None:
        """Why a proposal is rejected without being evaluated; None if it is not."""
        return self._stack.refuses(0, proposal)

    def predict(self, proposal: Proposal) -> Tensor:
        """The proposed weights, flattened: a new (n,) vector in the parameters' dtype; no weight is touched.

        Parameters of several dtypes or devices follow each other, in the widest dtype, on the first device.
        """
        self._stack.require_full("predict")
        predictions = [torch.empty_like(newest) for newest in self._stack.windows.newest()]
        self._stack.write([[prediction] for prediction in predictions], [proposal])
        return torch.cat([prediction[0].to(predictions[0].device) for prediction in predictions])

    def apply(self, proposal: Proposal) -> bool:
        """Write the proposed weights into the model, in place, finite or not; `restore` takes them back.

        Returns:
            Whether all of them are finite in the parameters' dtype.
        """
        self._stack.require_full("apply")
        self._jumped = True
        return bool(self._stack.apply([proposal]))

    def restore(self) -> None:
        """Put the newest snapshot back into the model, bit for bit."""
        self._stack.restore()
        self._jumped = False

    def clear(self) -> None:
        """Begin a new window; if a proposal was applied and not taken back, ``moments="reset"`` takes effect here."""
        self._stack.clear()
        if self._jumped and self.options.moments == "reset" and self._optimizer is not None:
            for parameter in self._stack.layout.parameters:
                self._optimizer.state.pop(parameter, None)
        self._jumped = False

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to resume: options, counters and windows, as plain values and tensors."""
        stack = self._stack
        return {
            "format": _STATE_FORMAT,
            "options": self._described(),
            "calls": stack.calls,
            "jumps": stack.jumps,
            "first_loss": stack.first_losses[0],
            "outcome": self.outcome.value,
            "windows": stack.windows.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a `state_dict` of an accelerator with the same model and options.

        Raises:
            ValueError: Another format, model or options; the differences are listed.
        """
        if state.get("format") != _STATE_FORMAT:
            raise ValueError(f"state_dict must have format {_STATE_FORMAT}, got {state.get('format')!r}")
        own, other = self._described(), state["options"]
        differences = [
            f"{key} is {other.get(key)!r} there, {own[key]!r} here" for key in own if other.get(key) != own[key]
        ]
        if differences:
            raise ValueError("state_dict must come from the same model and options; " + "; ".join(differences))
        stack = self._stack
        stack.calls, stack.jumps, stack.first_losses = state["calls"], state["jumps"], [state["first_loss"]]
        self._outcome = stack.outcome = JumpOutcome(state["outcome"])
        self._jumped = False
        stack.windows.restore_state(state["windows"])

    def _described(self) -> dict[str, Any]:
        layout = self._stack.layout
        return self.options.describe() | {
            "dtype": [str(parameters[0].dtype) for parameters in layout.buffers],
            "groups": [[f.name, list(f.shape), f.size] if f.shape else [f.name, f.size] for f in layout.families],
        }
