"""Record, propose, judge, apply: an extrapolating rule in a user's own training loop."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from accel._best import read_best
from accel._jump.judging import judge_jump
from accel._jump.options import JumpOptions, takes
from accel._jump.outcome import JumpOutcome
from accel._jump.policy import Closure, evaluate
from accel._jump.reports import Jump, Proposal
from accel._jump.stacked import StackedAccelerator

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
        **options: ``m``, ``s`` and all other fields of `JumpOptions`, which says what each means.

    Raises:
        ValueError: An argument is outside its values, or the model has no suitable parameters.
    """

    @takes(JumpOptions)
    def __init__(self, model: nn.Module, options: JumpOptions) -> None:
        options.check()
        self.options = options
        self.rule, self.m, self.s = options.rule, options.m, options.s
        self._stack = StackedAccelerator(model, [options])
        if note := self._stack.note:
            warnings.warn(note, stacklevel=3)
        self._outcome: JumpOutcome | None = None
        self._jumped = False

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups that have an operator each, in the order of every report."""
        return tuple(f.group_name(index) for f in self._stack.layout.families for index in range(f.count))

    @property
    def outcome(self) -> JumpOutcome:
        """Outcome of the latest call of `step`: of its jump, or the reason why it did not jump."""
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

        A warning says so if the study recommends to leave the accelerator off, or if ``optimizer`` is of another class
        or has another learning rate than the one that the parameters were studied with.

        Args:
            model: The model to accelerate.
            path: A ``best.yaml``, as written by a study.
            choice: The rule of another choice than the recommended cell: ``minimum`` of a metric, or the cheapest cell
                within one standard error of it. By default the file's own, as ``dmd-study best DIR --rule`` sets it.
            metric: The metric of that choice, such as ``"mean_relative_error"`` or ``"final_loss_ratio"``.
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
        group = self.options.process_group
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
        if self._jumped and self.options.moments == "reset" and self.options.optimizer is not None:
            for parameter in self._stack.layout.parameters:
                self.options.optimizer.state.pop(parameter, None)
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
        here, there = self._described(), dict(state["options"])
        for option in fields(JumpOptions):  # an option that came after the state was saved was at its default
            there.setdefault(option.name, option.default)
        differences = [
            f"{key} is {there.get(key)!r} there, {here[key]!r} here" for key in here if there.get(key) != here[key]
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
