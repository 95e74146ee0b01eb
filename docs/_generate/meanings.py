"""Reads the meaning of a class's fields from where it is written: under the field, or in the class's ``Args:``."""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence


def meanings(owner: type) -> Mapping[str, str]:
    """Return field -> its meaning, on one line. A class's own text comes before that of its bases."""
    read: dict[str, str] = {}
    for part in owner.__mro__:
        for name, text in (*_under_fields(part), *_in_args(part)):
            read.setdefault(name, text)
    return read


def first_sentence(owner: type) -> str:
    """Return the first paragraph of a class's docstring, on one line."""
    return " ".join((inspect.getdoc(owner) or "").partition("\n\n")[0].split())


def _under_fields(owner: type) -> Iterator[tuple[str, str]]:
    try:
        source = textwrap.dedent(inspect.getsource(owner))
    except (OSError, TypeError):  # a class made at run time
        return
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.ClassDef)
    for field, below in itertools.pairwise(tree.body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield field.target.id, " ".join(str(below.value.value).split())


def _in_args(owner: type) -> Iterator[tuple[str, str]]:
    args = re.search(r"^Args:\n((?: +.*\n?|\n)*)", inspect.cleandoc(owner.__doc__ or ""), flags=re.MULTILINE)
    if args is None:
        return
    for name, text in re.findall(r"^(\w+): (.*(?:\n +.*)*)", textwrap.dedent(args[1]), flags=re.MULTILINE):
        yield name, " ".join(text.split())


def cell(text: str) -> str:
    """Return a text as a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table.

    Raises:
        ValueError: A cell of the last column, the meaning, is empty; the message names the row.
    """
    if empty := [row[0] for row in rows if not row[-1].strip()]:
        raise ValueError(f"{', '.join(empty)}: the text that says what it means must not be empty")
    lines = [head, tuple("---" for _ in head), *(tuple(map(cell, row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
