"""The README's programs run, its commands parse, its spec is valid, its files and links exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from study.cli import app
from study.specification import load_spec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
PROGRAMS = [text for language, file, text in BLOCKS if language == "python" and not file]
FILES = {file: text for _, file, text in BLOCKS if file}
COMMANDS = [
    line.partition("#")[0].strip()
    for language, _, text in BLOCKS
    if language == "sh"
    for line in text.splitlines()
    if line.startswith("dmd-study")
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda text: text.split("\n")[0])
def test_every_program_runs(program: str, tmp_path: Path) -> None:
    (tmp_path / "results" / "quick").mkdir(parents=True)
    (tmp_path / "results" / "quick" / "best.yaml").write_text((ROOT / "results" / "quick" / "best.yaml").read_text())
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr


def test_there_are_programs_and_commands_to_test() -> None:
    assert len(PROGRAMS) == 2
    assert len(COMMANDS) >= 10
    assert set(FILES) == {"my_problem.py", "my_rule.py"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    typer.main.get_command(app).commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", ["my_problem:Sine", "my_rule:Line"])
def test_the_examples_of_ones_own_pass_their_check(target: str, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "study.cli", "check", target], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(" passed, 0 failed")


def test_the_spec_is_valid(tmp_path: Path) -> None:
    (text,) = [text for language, _, text in BLOCKS if language == "yaml"]
    (tmp_path / "my-study.yaml").write_text(text)
    spec = load_spec(tmp_path / "my-study.yaml")
    assert list(spec.axes) == ["m", "s", "tolerance", "training.lr"]


def test_every_link_and_picture_exists() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(targets) >= 3
    missing = [t for t in targets if not t.startswith("https://") and not (ROOT / t).exists()]
    assert missing == []
