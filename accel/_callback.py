"""Jumps for the callbacks of other people's trainers; this module knows none of those trainers."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import nn
from torch.optim import Optimizer

from accel._accelerator import Accelerator
from accel._jump.options import JumpOptions
from accel._jump.reports import Jump
from accel._rules import Rule


class TrainerJumps:
    """Jumps in the trainings of a trainer that calls back: options checked at once, one accelerator per training.

    Args:
        rule: How a window is extrapolated, such as `accel.DMD`.
        options: The keyword arguments of `Accelerator`, without ``optimizer``: the trainer has one.

    Attributes:
        jumps: Reports of the jumps of the latest training.

    Raises:
        ValueError: An option is outside its values, or cannot be served by a callback; all such options are listed.
    """

    def __init__(self, rule: Rule, options: Mapping[str, Any]) -> None:
        self.jumps: list[Jump] = []
        self.accelerator: Accelerator | None = None
        self._rule, self._options = rule, dict(options)
        mistakes = []
        if "optimizer" in self._options:
            mistakes.append(
                'leave out optimizer=: with moments="reset" the callback takes the one that the trainer steps'
            )
            del self._options["optimizer"]
        self._resets = self._options.get("moments") == "reset"
        # the optimiser of a reset is not known yet: Accelerator checks it when training starts
        self._checked = JumpOptions(rule, **(self._options | ({"moments": "keep"} if self._resets else {})))
        try:
            self._checked.check()
        except ValueError as error:
            mistakes.append(str(error).removeprefix("Accelerator: "))
        if needs := self._checked.needs_loss:
            mistakes.append(
                f"{needs} needs the loss at every jump, which a callback cannot evaluate: take every jump "
                '(accept="always", one candidate, s a number or a schedule other than ByLoss), or call '
                "Accelerator.step(closure) in a loop of your own"
            )
        if mistakes:
            raise ValueError("AcceleratorCallback: " + "; ".join(mistakes))

    def describe(self) -> dict[str, Any]:
        """Return the rule and all options that are not at their defaults, the same in every process."""
        given, described = self._checked, self._checked.describe()
        changed = {
            f.name: described[f.name] for f in fields(given) if f.compare and getattr(given, f.name) != f.default
        }
        return changed | ({"moments": "reset"} if self._resets else {})

    def start(self, model: nn.Module, optimizers: Sequence[Optimizer], window: Mapping[str, Any] | None = None) -> None:
        """Begin a training, with a new window or that of a checkpoint.

        Args:
            model: The model to accelerate, on its device.
            optimizers: All optimisers that the trainer steps.
            window: State of the accelerator in the checkpoint that this training resumes from.

        Raises:
            ValueError: ``moments="reset"`` with several optimisers, or the window of another model.
        """
        options = self._options
        if self._resets:
            if len(optimizers) != 1:
                raise ValueError(
                    f'AcceleratorCallback: moments="reset" needs a training with one optimiser, got {len(optimizers)}; '
                    'use moments="keep"'
                )
            options = options | {"optimizer": optimizers[0]}
        self.jumps = []
        self.accelerator = Accelerator(model, self._rule, **options)
        if window is not None:
            self.accelerator.load_state_dict(window)

    def step(self) -> None:
        """Count a step of the optimiser, and jump if the window is full."""
        if self.accelerator is not None and (jump := self.accelerator.step()) is not None:
            self.jumps.append(jump)

    def stop(self) -> None:
        """Release the model and the window's memory; the reports of the jumps stay."""
        self.accelerator = None
