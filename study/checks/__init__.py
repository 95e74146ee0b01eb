"""Contract tests for problems and rules given by the user."""

from study.checks._clauses import Result
from study.checks._named import check_named

__all__ = ["Result", "check_named"]
