"""Jumps in a Hugging Face Trainer; an optional import, which needs the package ``transformers``."""

from typing import Any

from transformers import TrainerCallback

from accel._accelerator import Accelerator
from accel._jump.reports import Jump
from accel._rules import Rule


class AcceleratorCallback(TrainerCallback):
    """Accelerate a Trainer's model: ``Trainer(..., callbacks=[AcceleratorCallback(DMD(1e-6), m=14, s=20)])``.

    The Trainer's checkpoints do not hold the window: a resumed training begins a new one.

    Args:
        rule: How a window is extrapolated, such as `accel.DMD`.
        **options: Everything else that `Accelerator` takes.

    Attributes:
        jumps: Reports of the jumps so far.
    """

    def __init__(self, rule: Rule, **options: Any) -> None:
        self.jumps: list[Jump] = []
        self._rule, self._options = rule, options
        self._accelerator: Accelerator | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The model is on its device: begin."""
        self._accelerator = Accelerator(rest["model"], self._rule, **self._options)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Called once per optimiser step, after gradient accumulation."""
        if self._accelerator is not None and (jump := self._accelerator.step()) is not None:
            self.jumps.append(jump)
