"""Jumps in a Hugging Face Trainer. Importing this module needs the package ``transformers``."""

from typing import Any

from transformers import TrainerCallback

from accel._callback import TrainerJumps
from accel._jump.reports import Jump
from accel._rules import Rule


class AcceleratorCallback(TrainerCallback):
    """Accelerate a Trainer's model: ``Trainer(..., callbacks=[AcceleratorCallback(DMD(1e-6), m=14, s=20)])``.

    The Trainer's checkpoints do not hold the window: every training, also a resumed one, begins a new one.

    Args:
        rule: How a window is extrapolated, such as `accel.DMD`.
        **options: The keyword arguments of `accel.Accelerator`. A callback takes jumps without evaluating the loss, so
            ``accept="improve"``, several candidates and `accel.ByLoss` are refused. With ``moments="reset"`` the
            optimiser is the Trainer's own.

    Raises:
        ValueError: An option is outside its values, or a callback cannot serve it.
    """

    def __init__(self, rule: Rule, **options: Any) -> None:
        self._training = TrainerJumps(rule, options)

    @property
    def jumps(self) -> list[Jump]:
        """Reports of the jumps of the latest training."""
        return self._training.jumps

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Begin, now that the model is on its device.

        Args:
            args: not used.
            state: not used.
            control: not used.
            **rest: the Trainer's ``model`` and ``optimizer``, among others.
        """
        optimizer = rest["optimizer"]
        self._training.start(rest["model"], [getattr(optimizer, "optimizer", optimizer)])  # accelerate wraps it

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Count a step of the optimiser; the Trainer calls this once per step, after gradient accumulation.

        Args:
            args: not used.
            state: not used.
            control: not used.
            **rest: not used.
        """
        self._training.step()

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Release the model and the window's memory.

        Args:
            args: not used.
            state: not used.
            control: not used.
            **rest: not used.
        """
        self._training.stop()
