"""Weights in, better weights out: extrapolating training trajectories in any torch training loop.

Needs torch and numpy only.
"""

from accel._accelerator import Accelerator
from accel._jump.horizon import ByLoss, Constant, Decay, Horizon, Linear
from accel._jump.judging import Verdict, judge_jump
from accel._jump.options import JumpOptions
from accel._jump.outcome import JumpOutcome
from accel._jump.reports import GroupReport, GroupReports, Jump, Proposal
from accel._jump.stacked import StackedAccelerator
from accel._other_methods.class_pca import ClassPCA
from accel._other_methods.loss_gradient import loss_gradient
from accel._other_methods.mgrit import MGRIT, Trajectory
from accel._rules import DMD, RULES, Anderson, Average, Combination, Koopman, Line, Rule

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
    "JumpOptions",
    "JumpOutcome",
    "Koopman",
    "Line",
    "Linear",
    "Proposal",
    "Rule",
    "StackedAccelerator",
    "Trajectory",
    "Verdict",
    "judge_jump",
    "loss_gradient",
]
