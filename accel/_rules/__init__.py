"""Extrapolating rules, one file each."""

from collections.abc import Mapping
from typing import Any

from accel._rules._batching import combine
from accel._rules._rule import Combination, Rule
from accel._rules.anderson import Anderson
from accel._rules.average import Average
from accel._rules.dmd import DMD
from accel._rules.koopman import Koopman
from accel._rules.line import Line

RULES: Mapping[str, type[Any]] = {
    "dmd": DMD,
    "koopman": Koopman,
    "line": Line,
    "anderson": Anderson,
    "average": Average,
}
"""Rules by their name in a study."""

__all__ = ["DMD", "RULES", "Anderson", "Average", "Combination", "Koopman", "Line", "Rule", "combine"]
