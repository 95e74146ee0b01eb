"""Jumps in a Lightning Trainer; an optional import, which needs the package ``lightning``."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from accel._accelerator import Accelerator
from accel._jump.reports import Jump
from accel._rules import Rule


class AcceleratorCallback(Callback):
    """Accelerate the module that a Trainer fits: ``Trainer(callbacks=[AcceleratorCallback(DMD(1e-6), m=14, s=20)])``.

    Args:
        rule: How a window is extrapolated, such as `accel.DMD`.
        **options: Everything else that `Accelerator` takes.

    Attributes:
        jumps: Reports of the jumps so far.
    """

    def __init__(self, rule: Rule, **options: Any) -> None:
        super().__init__()
        self.jumps: list[Jump] = []
        self._rule, self._options = rule, options
        self._accelerator: Accelerator | None = None
        self._resume: Mapping[str, Any] | None = None
        self._steps_seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The module is on its device and a checkpoint, if any, is read: begin."""
        self._accelerator = Accelerator(pl_module, self._rule, **self._options)
        self._steps_seen = trainer.global_step
        if self._resume is not None:
            self._accelerator.load_state_dict(self._resume)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """One call per optimiser step: while gradients accumulate, batches end without one."""
        if self._accelerator is not None and trainer.global_step > self._steps_seen:
            self._steps_seen = trainer.global_step
            if (jump := self._accelerator.step()) is not None:
                self.jumps.append(jump)

    def state_dict(self) -> dict[str, Any]:
        """Window and counters, for the Trainer's checkpoints."""
        return {} if self._accelerator is None else self._accelerator.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume with the window of a checkpoint."""
        self._resume = state_dict or None
