"""docs/architecture.md against the code: layers, rooms, paths; and the sizes of files that it promises."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("accel", "problems", "dashboards", "study", "docs")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LOOSE_MODULES = {"__init__", "errors", "lazy_names", "trainer", "products"}
"""Modules that lie in `study/` itself, outside every room."""
MAX_LINES = {"study/training/loop.py": 250}
MAX_LINES_OF_OTHERS = 400

Layers = list[set[str]]


def layers_of(lines: list[str]) -> Layers:
    """Names on each line; import-linter puts those that need not exist into parentheses."""
    return [{name.strip(" ()") for name in line.split("|")} for line in lines]


def drawn(page: str) -> list[Layers]:
    """Layers of every block of text on the page, top first."""
    return [
        layers_of(block.splitlines()) for block in re.findall(r"^```text\n(.*?)\n```", page, re.DOTALL | re.MULTILINE)
    ]


def existing(layers: Layers, container: str) -> Layers:
    """Layers without names of modules that do not exist."""
    places = {name: ROOT / container / name.replace(".", "/") for names in layers for name in names}
    return [
        {name for name in names if places[name].is_dir() or places[name].with_suffix(".py").is_file()}
        for names in layers
    ]


def test_the_layers_on_the_page_are_those_of_the_contracts() -> None:
    contracts = [contract for contract in CONTRACTS if contract["type"] == "layers"]
    containers = [contract.get("containers", [""])[0].replace(".", "/") for contract in contracts]
    assert containers == ["", "accel", "study/analysis"]
    checked = [layers_of(contract["layers"]) for contract in contracts]
    assert drawn(PAGE) == checked
    # a name that need not exist stands for a module that is to come: every other one is there
    for contract, container, layers in zip(contracts, containers, checked, strict=True):
        optional = set(re.findall(r"\(([\w.]+)\)", " ".join(contract["layers"])))
        missing = set().union(*layers) - set().union(*existing(layers, container))
        assert missing <= optional


def test_every_room_has_its_line() -> None:
    rooms = {f"study/{path.parent.name}/" for path in (ROOT / "study").glob("*/__init__.py")}
    described = set(re.findall(r"^\* `([\w/]+/)`: ", PAGE, flags=re.MULTILINE))
    assert described == rooms | {"accel/", "problems/", "dashboards/", "docs/"}
    in_layers = {f"{name.replace('.', '/')}/" for layer in drawn(PAGE)[0] for name in layer}
    assert rooms <= in_layers


def paths(page: str) -> set[str]:
    """Files and folders that the page names: what stands in backticks and has a slash or a suffix, and links."""
    quoted = re.findall(r"`([\w./-]+)`", page)
    files = {name for name in quoted if "/" in name or name.endswith((".py", ".md", ".toml"))}
    return files | {f"docs/{target}" for target in re.findall(r"\]\(([^)#:]+)\)", page)}


def test_every_path_on_the_page_exists() -> None:
    assert len(paths(PAGE)) > 30
    assert [name for name in sorted(paths(PAGE)) if not (ROOT / name).exists()] == []


def test_no_module_of_study_lies_outside_the_rooms() -> None:
    assert {path.stem for path in (ROOT / "study").glob("*.py")} <= LOOSE_MODULES


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_too_long(package: str) -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in (ROOT / package).rglob("*.py")
    }
    assert {name: n for name, n in lengths.items() if n > MAX_LINES.get(name, MAX_LINES_OF_OTHERS)} == {}


def test_the_files_with_a_limit_of_their_own_exist() -> None:
    assert [name for name in MAX_LINES if not (ROOT / name).is_file()] == []


def test_the_checks_above_can_fail() -> None:
    assert drawn("```text\nstudy.cli\na | (b)\n```\n") == [[{"study.cli"}, {"a", "b"}]]
    assert paths("`study/gone.py` and [a page](../gone.md), not `a word`") == {"study/gone.py", "docs/../gone.md"}
    assert existing([{"study.cli", "study.gone"}, {"accel"}], "") == [{"study.cli"}, {"accel"}]
