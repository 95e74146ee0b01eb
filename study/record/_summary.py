"""A record in a few words: one line for a terminal, a small table for a notebook."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_MOST_LETTERS = 80


@dataclass(frozen=True)
class Summary:
    """A study in words. They may come from anybody's folder, so nothing in them is obeyed: markup is shown as text."""

    study: str
    problem: str
    method: str
    progress: str
    folder: str
    answer: Sequence[str]
    """Sentences of the answer, or the reason why there is none."""
    damaged: int
    """Number of packs that cannot be read."""

    def line(self) -> str:
        """Return one line of printable text, with the first sentence of the answer."""
        study, problem, method = map(_printable, (self.study, self.problem, self.method))
        answer, where = (_printable(text, most=None) for text in (self.answer[0].rstrip("."), self.folder))
        return f"<Record {study}: {method} on {problem}; {_printable(self.progress)}; {answer}; {where}>"

    def html(self) -> str:
        """Return a table in HTML, with the whole answer below what the study is."""
        rows = {
            "study": self.study,
            "problem": self.problem,
            "method": self.method,
            "progress": self.progress + (f"; {self.damaged} packs cannot be read" if self.damaged else ""),
            "folder": self.folder,
            "answer": " ".join(self.answer),
        }
        lines = (
            f'<tr><th style="text-align: left">{what}</th><td style="text-align: left">{escape(text)}</td></tr>'
            for what, text in rows.items()
        )
        return f"<table>{''.join(lines)}</table>"


def ended_in_words(counts: Mapping[str, int], total: int) -> str:
    """Say how many of ``total`` replicates ended in each status, and how many are missing."""
    parts = [f"{counts[name]} {name}" for name in ("finished", "diverged", "failed", "pruned") if name in counts]
    if missing := total - sum(counts.values()):
        parts.append(f"{missing} missing")
    return f"{total} replicates: {', '.join(parts) or 'none yet'}"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its name if it has none."""
    lines: Iterable[str] = str(error).strip().splitlines()
    return next(iter(lines), type(error).__name__)


def _printable(text: str, most: int | None = _MOST_LETTERS) -> str:
    """Replace what a terminal would obey, and cut what is too long for a line."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if most is None or len(shown) <= most else f"{shown[: most - 1]}…"
