"""Methods that are not jump rules: each trains a replicate in its own way. They need only torch, numpy and `accel`."""

from collections.abc import Callable, Mapping

import torch

from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Alternative, Replicate, Task
from study.training.alternatives.averaged import train_ema, train_lookahead
from study.training.alternatives.class_pca import train_class_pca
from study.training.alternatives.mgrit import train_mgrit

TRAINERS: Mapping[str, Callable[[Replicate, Alternative, Task, torch.device], ReplicateOutcome]] = {
    "class_pca": train_class_pca,
    "ema": train_ema,
    "lookahead": train_lookahead,
    "mgrit": train_mgrit,
}
"""Name of a method in a spec -> function that trains a replicate."""

__all__ = ["TRAINERS"]
