"""The README: short, with its parts in order, and links that lead somewhere. `test_code_blocks` runs its code."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MAX_LINES = 150
MAX_LINES_OF_EXAMPLES = 12
"""Lines of the training loop and of the problem, without empty ones."""


def links(page: str) -> list[str]:
    """Targets of links and pictures that lie in the repository."""
    return [target for target in re.findall(r"\]\(([^)#]+)", page) if not target.startswith("https://")]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES


def test_its_parts_come_in_order() -> None:
    parts = ["make study", "![", "Should you switch it on?", "## In your own training loop", "## A study of your own"]
    places = [README.index(part) for part in (*parts, "## Install", "## The manual")]
    assert places == sorted(places)


def test_its_examples_have_twelve_lines() -> None:
    examples = re.findall(r"^```python.*?\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    lengths = [sum(bool(line.strip()) for line in text.splitlines()) for text in examples]
    assert len(lengths) == 2
    assert max(lengths) <= MAX_LINES_OF_EXAMPLES


def test_every_page_of_the_manual_is_linked() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    reference = {page for page in pages if page.startswith("docs/api/")}  # the guides link to it
    assert pages - reference <= set(links(README))


def test_every_link_and_picture_exists() -> None:
    assert [target for target in links(README) if not (ROOT / target).exists()] == []
    assert links("[a](docs/gone.md#part), [b](https://example.org)") == ["docs/gone.md"]
