"""Every block of code in the README and in the manual: programs run, specs are valid, commands run or parse.

`FULL`, `PLANNED` and `PARSED` say what is done with each command. A block that no test knows fails.
"""

import importlib.util
import re
import runpy
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main
import yaml

from study import load_spec, run
from study.cli import app
from tests.helpers.command_line import run_command

ROOT = Path(__file__).parents[1]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "study/execution/cluster_templates/README.md")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (*(ROOT / page for page in OUTSIDE), *sorted((ROOT / "docs").rglob("*.md")))
}

FULL = (
    "status",
    "table",
    "report",
    "heatmap",
    "figures",
    "sensitivity",
    "compare",
    "best",
    "check",
    "cluster-template",
)
"""Commands that run whole, on records of a study that trains in milliseconds; ``figures`` draws one figure of all."""
PLANNED = ("run", "compare-methods")
"""Commands that train: they run with ``--dry-run``, and without ``--time``, which takes the paper's network."""
PARSED = ("search", "dashboard", "problem", "export-packs", "import")
"""Commands that train, serve or compute for long, and have no dry run: their arguments are parsed."""
NOT_RUN = (
    *("python3 -m venv", ".venv/bin/pip install", ".venv/bin/pre-commit install", ".venv/bin/dmd-study --help"),
    *("sbatch", "kubectl", "ray ", "docker compose", "export RAY_AUTH_MODE", "python3 -c"),
)
"""Beginnings of lines that install, or that need a cluster: `tests/study/execution` tests those in its own way."""

SMALL = {
    "name": "quick",
    "problem": {"name": "quadratic"},
    "network": {"hidden": []},
    "training": {"optimizer": "sgd", "lr": 0.05, "epochs": 24},
    "method": {"name": "dmd"},
    "axes": {"m": [4, 8], "s": [2, 5], "tolerance": [1e-6, 1e-3]},
    "seeds": 3,
    "resources": {"pack": "auto"},
}
"""The study that commands and programs find in ``results/quick``."""


class Block(NamedTuple):
    """One block of code of a page; ``file``: the name it is to be saved under, or nothing."""

    page: str
    language: str
    file: str
    text: str


def blocks_of(page: str, text: str) -> list[Block]:
    """Blocks of a page, in its order."""
    fences = re.findall(r"^```(\w*)(?: file=(\S+))?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [Block(page, *parts) for parts in fences]


BLOCKS = [block for page, text in PAGES.items() for block in blocks_of(page, text)]
PROGRAMS = [block for block in BLOCKS if block.language == "python" and not block.file]
SPECS = [block for block in BLOCKS if block.language == "yaml"]
LINES = {
    line.partition("#")[0].partition(" > ")[0].strip(): block.page
    for block in BLOCKS
    if block.language == "sh"
    for line in block.text.splitlines()
    if line.partition("#")[0].strip()
}
"""Line of a shell -> a page that has it."""
COMMANDS = {line: page for line, page in LINES.items() if line.startswith("dmd-study ")}
QUOTED = {
    " ".join(code.split()): page
    for page, text in PAGES.items()
    for code in re.findall(
        r"`(dmd-study [a-z][^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    )
}
"""Command in the text of a page -> the page."""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records that commands and programs read, and the files that pages tell the reader to save."""
    folder = tmp_path_factory.mktemp("records")
    run(load_spec(SMALL), folder / "results" / "quick", executor="inline")
    for name in ("a", "b"):
        shutil.copytree(folder / "results" / "quick", folder / "results" / name)
    sampled = {**SMALL, "axes": {"m": [4, 8], "s": [2, 5]}, "method": {"name": "dmd", "tolerance": 1e-6}, "seeds": 1}
    run(load_spec({**sampled, "design": "saltelli", "samples": 4}), folder / "results" / "sampled", executor="inline")
    shutil.copy(ROOT / "results" / "quick" / "best.yaml", folder / "results" / "quick")
    shutil.copy(ROOT / "results" / "quick" / "best.yaml", folder)
    shutil.copy(ROOT / "study" / "method_comparison" / "methods.yaml", folder / "my-methods.yaml")
    for block in BLOCKS:
        if block.file:
            (folder / block.file).write_text(block.text)
    shutil.copy(folder / "my-study.yaml", folder / "spec.yaml")
    return folder


@pytest.fixture
def reader(records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of a reader who has done what the pages say; it is the current one."""
    folder = tmp_path / "reader"
    shutil.copytree(records, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in ({"my_problem", "my_rule"} & set(sys.modules)) - before:
        del sys.modules[name]


def save(page: str, folder: Path) -> None:
    """Save the files of this page in place of other pages' files of the same name."""
    for block in blocks_of(page, PAGES[page]):
        if block.file:
            (folder / block.file).write_text(block.text)


def test_there_is_something_to_test() -> None:
    assert len(PROGRAMS) >= 6
    assert len(COMMANDS) >= 30
    assert {block.file for block in BLOCKS if block.file} == {"my_problem.py", "my_rule.py", "my-study.yaml"}


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    # the layers in blocks of text are compared with the code by test_architecture
    assert {block.language for block in BLOCKS} == {"python", "sh", "yaml", "text"}
    assert {block.page for block in BLOCKS if block.language == "text"} == {"docs/architecture.md"}
    assert len(re.findall(r"^```", "\n".join(PAGES.values()), flags=re.MULTILINE)) == 2 * len(BLOCKS)


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: f"{block.page}: {block.text.splitlines()[0]}")
def test_every_program_runs(block: Block, reader: Path) -> None:
    (reader / "program.py").write_text(block.text)
    with warnings.catch_warnings():
        # as the text around that program says
        warnings.filterwarnings("ignore", "results/quick/best.yaml: the study recommends to leave the accelerator off")
        runpy.run_path(str(reader / "program.py"), run_name="__main__")


@pytest.mark.parametrize("block", SPECS, ids=lambda block: f"{block.page}: {block.text.splitlines()[0]}")
def test_every_spec_is_valid_and_so_is_every_part_of_one(block: Block, reader: Path) -> None:
    save(block.page, reader)
    given = yaml.safe_load(block.text)
    if "name" not in given:
        given = {**SMALL, **given}
    (reader / "given.yaml").write_text(yaml.safe_dump(given))
    assert load_spec("given.yaml").axes


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs_or_parses(command: str, reader: Path) -> None:
    save(COMMANDS[command], reader)
    _, name, *arguments = shlex.split(command)
    if name in PARSED:
        parse(name, arguments)
        return
    if name in PLANNED:
        arguments = [*(word for word in arguments if word not in ("--dry-run", "--time")), "--dry-run"]
    else:
        assert name in FULL
    if name == "figures" and "--only" not in arguments:
        arguments += ["--only", "slices"]
    done = run_command(name, *arguments)
    assert done.status == 0, done.out + done.err
    assert name != "check" or done.out.splitlines()[-1].endswith(" passed, 0 failed")


def parse(name: str, arguments: list[str]) -> None:
    typer.main.get_command(app).commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", QUOTED)
def test_every_command_in_a_text_parses(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    if not arguments:
        assert name in typer.main.get_command(app).commands  # type: ignore[attr-defined]
        return
    parse(name, arguments)


@pytest.mark.parametrize("line", [line for line in LINES if line not in COMMANDS])
def test_every_other_line_of_a_shell_is_known(line: str) -> None:
    if line.startswith("make "):
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert set(line.split()[1:]) <= set(targets)
    elif line.startswith("python -m "):
        assert importlib.util.find_spec(line.split()[2]) is not None
    else:
        assert line.startswith(NOT_RUN)


def test_the_checks_above_can_fail(reader: Path) -> None:
    (unknown,) = blocks_of("page", "```console\n$ dmd-study gone\n```\n")
    assert unknown.language == "console"
    assert run_command("run", "gone.yaml", "--dry-run").status == 2
    with pytest.raises(KeyError):
        parse("gone", [])
