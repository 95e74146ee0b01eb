"""Extrapolating rules, one file each."""

from accel._rules._rule import Combination, Rule
from accel._rules._together import combine
from accel._rules.dmd import DMD

__all__ = ["DMD", "Combination", "Rule", "combine"]
