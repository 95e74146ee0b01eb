"""Jumps in a Lightning Trainer. Importing this module needs the package ``lightning``."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from accel._callback import TrainerJumps
from accel._jump.reports import Jump
from accel._rules import Rule


class AcceleratorCallback(Callback):
    """Accelerate the module that a Trainer fits: ``Trainer(callbacks=[AcceleratorCallback(DMD(1e-6), m=14, s=20)])``.

    The Trainer's checkpoints hold the window. The fit that resumes from a checkpoint goes on with its window; every
    other fit begins a new one. Several callbacks in one Trainer must differ in the rule or an option.

    Args:
        rule: How a window is extrapolated, such as `accel.DMD`.
        **options: The keyword arguments of `accel.Accelerator`. A callback takes jumps without evaluating the loss, so
            ``accept="improve"``, several candidates and `accel.ByLoss` are refused. With ``moments="reset"`` the
            optimiser is the Trainer's own.

    Raises:
        ValueError: An option is outside its values, or a callback cannot serve it.
    """

    def __init__(self, rule: Rule, **options: Any) -> None:
        super().__init__()
        self._training = TrainerJumps(rule, options)
        self._window: Mapping[str, Any] | None = None
        self._steps_seen = 0

    @property
    def jumps(self) -> list[Jump]:
        """Reports of the jumps of the latest fit."""
        return self._training.jumps

    @property
    def state_key(self) -> str:
        """Name of this callback's state in a checkpoint: its rule and its options."""
        return str(self._generate_state_key(**self._training.describe()))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Drop a window that was loaded for another fit. The Trainer reads this fit's checkpoint after this call.

        Args:
            trainer: not used.
            pl_module: not used.
            stage: ``"fit"``, or another stage, which changes nothing here.
        """
        if stage == "fit":
            self._window = None
            self._training.stop()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, now that the module is on its device and a checkpoint, if there is one, is read."""
        window, self._window = self._window, None
        self._training.start(pl_module, trainer.optimizers, window)
        self._steps_seen = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """Count a step of the optimiser; a batch that only accumulates gradients ends without one."""
        if trainer.global_step > self._steps_seen:
            self._steps_seen = trainer.global_step
            self._training.step()

    def state_dict(self) -> dict[str, Any]:
        """Return window and counters, for the Trainer's checkpoints."""
        accelerator = self._training.accelerator
        return {} if accelerator is None else accelerator.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the window of a checkpoint for the fit that reads it."""
        self._window = state_dict or None
