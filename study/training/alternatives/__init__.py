"""Methods that are no jump rules: each trains a replicate its own way. They need torch, numpy and `accel` only."""

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
"""Name in a spec -> what trains a replicate."""

__all__ = ["TRAINERS"]
