"""The words of the code: docstrings open with a verb or a name, arguments are documented, locals speak."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("accel", "problems", "dashboards", "study", "docs")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
RIDDLES = ("What", "Whether", "Of", "How", "Which", "With", "Nothing", "In", "From", "Where", "That", "Beyond", "As")
"""Openings of a relative clause or a fragment: the reader must guess what the sentence is about."""
NAMELESS = {"found", "own", "said", "one", "whole", "theirs", "mine", "much", "some"}
"""Locals named for nothing in particular."""
MAX_UNDOCUMENTED_PARAMETERS = 2


def riddles(tree: ast.AST) -> Iterator[str]:
    """Docstrings, also of fields and constants, that open with one of `RIDDLES`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            text = node.value.value.strip()
            if text.split(" ", 1)[0].rstrip(",") in RIDDLES:
                yield f"{node.lineno}: {text.splitlines()[0][:80]}"


def undocumented(tree: ast.AST) -> Iterator[str]:
    """Functions of three or more parameters whose docstring, or their class's, leaves one of them out."""
    for owner in ast.walk(tree):
        for node in ast.iter_child_nodes(owner):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            given = node.args
            names = [
                a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs) if a.arg not in ("self", "cls")
            ]
            if len(names) <= MAX_UNDOCUMENTED_PARAMETERS:
                continue
            public = not node.name.startswith("_") or node.name == "__init__"
            commented = owner if node.name == "__init__" and isinstance(owner, ast.ClassDef) else node
            text = ast.get_docstring(commented) or ""
            if (public and not (text or _is_stub(node))) or (text and "Args:" not in text and public):
                yield f"{node.lineno}: {node.name}({', '.join(names)}) has no Args section"
                continue
            if public and (missing := [name for name in names if f"{name}:" not in text and f"*{name}:" not in text]):
                yield f"{node.lineno}: {node.name} does not document {', '.join(missing)}"


def _is_stub(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Overloads and protocol members without a text of their own."""
    return all(isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) for part in node.body)


def nameless(tree: ast.AST) -> Iterator[str]:
    """Assignments to one of `NAMELESS`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in NAMELESS:
            yield f"{node.lineno}: {node.id}"


@pytest.mark.parametrize("rule", [riddles, undocumented, nameless], ids=lambda rule: rule.__name__)
def test_every_file_keeps_to_the_words(rule) -> None:
    # a command's parameters are documented by its options, which `--help` shows
    files = [path for path in FILES if not (rule is undocumented and path.parts[-2] == "cli")]
    broken = [f"{path.relative_to(ROOT)}:{line}" for path in files for line in rule(ast.parse(path.read_text()))]
    assert broken == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (riddles, 'def f():\n    """Whether it is so."""'),
        (riddles, 'LIMIT = 3\n"""Of a window."""'),
        (undocumented, 'def f(a, b, c):\n    """Add."""'),
        (undocumented, 'def f(a, b, c):\n    """Add.\n\n    Args:\n        a: a.\n        b: b.\n    """'),
        (nameless, "def f():\n    found = 1"),
    ],
)
def test_the_rules_can_fail(rule, text: str) -> None:
    assert len(list(rule(ast.parse(text)))) == 1
