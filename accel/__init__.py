"""Weights in, better weights out: extrapolating training trajectories in any torch training loop.

Needs torch and numpy only.
"""

from accel._accelerator import Accelerator
from accel._class_pca import ClassPCA
from accel._horizon import ByLoss, Constant, Decay, Horizon, Linear
from accel._loss_gradient import loss_gradient
from accel._mgrit import MGRIT, Trajectory
from accel._options import Options
from accel._policy import Outcome
from accel._reports import GroupReport, GroupReports, Jump, Proposal
from accel._rules import DMD, RULES, Anderson, Average, Combination, Koopman, Line, Rule
from accel._stacked import StackedAccelerator

__all__ = [
    "DMD",
    "MGRIT",
    "RULES",
    "Accelerator",
    "Anderson",
    "Average",
    "ByLoss",
    "ClassPCA",
    "Combination",
    "Constant",
    "Decay",
    "GroupReport",
    "GroupReports",
    "Horizon",
    "Jump",
    "Koopman",
    "Line",
    "Linear",
    "Options",
    "Outcome",
    "Proposal",
    "Rule",
    "StackedAccelerator",
    "Trajectory",
    "loss_gradient",
]
