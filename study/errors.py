"""Mistakes that a user can correct: reported in plain words with exit status 2, never as a traceback."""

import reprlib
from typing import Any

_SHORT = reprlib.Repr()  # bounded, since repr() of YAML aliases within aliases can fill the memory
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 4


class UserError(Exception):
    """Request that cannot be carried out as given; the message says what must hold and what was given."""


class SpecError(UserError):
    """All mistakes in a spec at once: one line per mistake, each beginning with its path in the spec.

    Args:
        source: name of the spec in the message.
        mistakes: one line each.
    """

    def __init__(self, source: str, mistakes: list[str]) -> None:
        self.source, self.mistakes = source, mistakes
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  {line}" for line in mistakes))


def shortened(value: Any) -> str:
    """Return a value as messages quote it, in at most 60 characters."""
    text = _SHORT.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
