"""Values of an axis as a spec has them: a list, steps from A to B, or all numbers between A and B."""

import math
from dataclasses import dataclass
from typing import Any

MAX_AXIS_VALUES = 10_000
"""Largest number of values of an axis."""
DIGITS = 6
"""Significant digits of a real number drawn from a range: enough to separate numbers with different effects."""
FORMS = "must be a list of values, {from: A, to: B, step: C}, or a range {from: A, to: B, log: true or false}"


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``, both included; with ``log`` spread evenly in their logarithm.

    For a key of whole numbers, the range holds only whole numbers.
    """

    low: float
    high: float
    log: bool = False

    def written(self) -> dict[str, Any]:
        """Return the range as a spec has it."""
        return {"from": self.low, "to": self.high, "log": self.log}

    def at(self, place: float) -> float:
        """Return the number at a place between 0 and 1.

        In a range between whole numbers, each number n gets the part from n - 1/2 to n + 1/2 on the range's scale:
        without ``log`` these parts are equal.
        """
        is_integer = isinstance(self.low, int) and isinstance(self.high, int)
        half = 0.5 if is_integer else 0.0
        scale, back = (math.log, math.exp) if self.log else (float, float)
        first, last = scale(self.low - half), scale(self.high + half)
        value = back(first + place * (last - first))
        return min(max(round(value) if is_integer else float(f"{value:.{DIGITS}g}"), self.low), self.high)


def parse_axis(value: Any, short: Any = repr) -> list[Any] | Range:
    """Return the values of an axis, or its range.

    Args:
        value: the axis as a spec has it: ``[...]``; ``{from, to, step}``, step 1 if left out; or ``{from, to, log}``,
            a range.
        short: function that writes a value in messages.

    Raises:
        ValueError: the value is none of these; the message says what it must be.
    """
    if isinstance(value, list):
        if not value:
            raise ValueError("must hold at least one value, got none")
        if len(value) > MAX_AXIS_VALUES:
            raise ValueError(f"must hold at most {MAX_AXIS_VALUES} values, got {len(value)}")
        return value
    forms = ({"from", "to"}, {"from", "to", "step"}, {"from", "to", "log"})
    if not isinstance(value, dict) or set(value) not in forms:
        raise ValueError(f"{FORMS}; got {short(value)}")
    if "log" in value:
        return _range(value, short)
    try:
        start, end, step = (_number(v) for v in (value["from"], value["to"], value.get("step", 1)))
    except (ValueError, OverflowError):
        start, end, step = 0, -1, 0
    if step <= 0 or end < start:
        raise ValueError(f"{{from: A, to: B, step: C}} must have A <= B and C > 0; got {short(value)}")
    steps = (end - start) / step + 1e-9  # tolerates rounding, so that 0.1 to 0.3 by 0.1 has three values
    if steps >= MAX_AXIS_VALUES:
        raise ValueError(f"must hold at most {MAX_AXIS_VALUES} values, got {short(value)}")
    count = math.floor(steps) + 1
    is_integer = all(isinstance(v, int) for v in (start, step))
    return [start + i * step if is_integer else float(f"{start + i * step:.12g}") for i in range(count)]


def within(written: Any, value: Any) -> bool:
    """Return True if a value lies in an axis as `Spec.to_dict` writes it; numbers lie between its ends."""
    if isinstance(written, dict):
        return isinstance(value, int | float) and bool(written["from"] <= value <= written["to"])
    if all(map(_is_number, [*written, value])):
        return bool(min(written) <= value <= max(written))
    return value in written or list(value if isinstance(value, tuple) else ()) in written


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range(value: dict[str, Any], short: Any) -> Range:
    try:
        low, high = _number(value["from"]), _number(value["to"])
    except (ValueError, OverflowError):
        low, high = 0, -1
    if not (isinstance(value["log"], bool) and low < high and (low > 0 or not value["log"])):
        raise ValueError(f"a range {{from: A, to: B, log: true}} must have A < B, and A > 0 if log; got {short(value)}")
    return Range(low, high, value["log"])


def _number(value: Any) -> int | float:
    if isinstance(value, str):
        value = float(value)  # YAML 1.1 reads 1e-3 as a string
    if not _is_number(value) or not math.isfinite(value):
        raise ValueError
    number: int | float = value
    return number
