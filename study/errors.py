"""Mistakes that a user can mend: reported in plain words, never as a traceback, with exit status 2."""

import reprlib
from typing import Any

_SHORT = reprlib.Repr()  # bounded, where repr() of aliases within aliases fills the memory
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 4


class UserError(Exception):
    """A request that cannot be carried out as typed; the message says what must hold and what was given."""


class SpecError(UserError):
    """Everything wrong with a spec, all at once: one line per mistake, each beginning with its path in the spec."""

    def __init__(self, source: str, mistakes: list[str]) -> None:
        self.source, self.mistakes = source, mistakes
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  {line}" for line in mistakes))


def shortened(value: Any) -> str:
    """What was given, as a message quotes it: at most 60 characters."""
    text = _SHORT.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
