"""Files that others read: GitHub's forms and workflow, the citation, and the version wherever it is written."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCHEMAS = {
    ".github/workflows/test.yml": "github-workflows",
    ".github/ISSUE_TEMPLATE/bug.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/question.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
    "CITATION.cff": "citation-file-format",
}


def check(schema: str, file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items())
def test_files_for_other_tools_keep_to_their_schema(name: str, schema: str) -> None:
    done = check(schema, ROOT / name)
    assert done.returncode == 0, done.stdout


def test_the_check_above_can_fail(tmp_path: Path) -> None:
    (tmp_path / "test.yml").write_text((ROOT / ".github/workflows/test.yml").read_text().replace("steps:", "step:"))
    assert check("github-workflows", tmp_path / "test.yml").returncode == 1


def test_every_form_and_workflow_is_checked() -> None:
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / ".github").rglob("*.yml")} < set(SCHEMAS)


def test_the_workflow_may_only_read_and_runs_on_the_versions_that_are_promised() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert {f"Programming Language :: Python :: {version}" for version in versions} <= set(PROJECT["classifiers"])
    assert PROJECT["requires-python"] == f">={versions[0]}"
    commands = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert any(command.startswith("make lint test") for command in commands)


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    version = PROJECT["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == version
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\n| {version.rpartition('.')[0]} | yes |" in (ROOT / "SECURITY.md").read_text()
    assert f"`dmd-study:{version}`" in (ROOT / "study/execution/cluster_templates/README.md").read_text()


def test_the_citation_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    (paper,) = citation["references"]
    assert paper["url"].endswith("2006.14371")
    assert [author["family-names"] for author in paper["authors"]] == ["Tano", "Portwood", "Ragusa"]
