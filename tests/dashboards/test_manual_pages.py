"""The manual as it is built: complete, and without anything from elsewhere."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer.main
from mkdocs.config.defaults import MkDocsConfig

import accel
import problems
import study
from study.cli import app
from study.replicates.metric_catalogue import METRICS
from study.specification import _methods, _sections
from study.specification._spec import TOP_LEVEL
from study.specification._top_level import TOP_LEVEL_KEYS
from study.specification._user_code import problem_section

ROOT = Path(__file__).parents[2]
Rows = dict[str, dict[str, list[str]]]


class Tables(HTMLParser):
    """Rows of a page's tables, by the heading above them: first cell -> the other cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: Rows = {}
        self._heading, self._texts, self._cells = "", [""], list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("h1", "h2", "h3"):
            self._heading = str(dict(attrs).get("id"))
        elif tag == "tr":
            self._cells = []
        elif tag == "td":
            self._texts = []

    def handle_data(self, data: str) -> None:
        self._texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._cells.append("".join(self._texts).strip())
        elif tag == "tr" and self._cells:
            self.rows.setdefault(self._heading, {})[self._cells[0]] = self._cells[1:]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manual, built strictly: a broken link, a page that is not in the menu or another warning fails.

    With ``--quiet``, MkDocs would not see its own warnings.
    """
    folder = tmp_path_factory.mktemp("manual")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def generators(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Import a module of `docs/_generate`."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_generate"))
    before = set(sys.modules)
    yield importlib.import_module
    for name in {"hooks", "meanings", "spec_keys", "command_options", "metric_meanings"} & (set(sys.modules) - before):
        del sys.modules[name]


def rows(site: Path, page: str) -> Rows:
    return Tables((site / page).read_text()).rows


def keys_of_a_spec() -> Iterator[tuple[str, set[str]]]:
    """Heading of a table -> the keys that it must have, from what checks a spec."""
    yield "keys-of-the-top-level", set(TOP_LEVEL)
    for name in problems.BUILT_IN:
        if keys := set(problem_section(name)[0].model_fields) - {"name"}:
            yield f"problem-{name}", keys
    yield "network", set(_sections.Network.model_fields)
    yield "training", set(_sections.Training.model_fields)
    yield "resources", set(_sections.Resources.model_fields)
    common = set(_methods.jump_method().model_fields)
    yield "keys-of-every-jump-rule", common - {"name"}
    for name in _methods.method_names():
        yield (
            f"method-{name}",
            set(_methods.method_section(name)[0].model_fields) - (common if name in accel.RULES else {"name"}),
        )


def test_every_key_of_a_spec_is_in_it_with_kind_default_and_meaning(site: Path) -> None:
    shown = rows(site, "spec.html")
    expected = dict(keys_of_a_spec())
    assert len(expected) > 20
    assert {heading: set(shown[heading]) for heading in expected} == expected
    assert [key for heading in expected for key, cells in shown[heading].items() if not all(cells)] == []


@pytest.mark.parametrize(
    ("heading", "key", "kind", "default"),
    [
        ("training", "momentum", "number ≥ 0 and < 1", "0"),
        ("training", "batch", "full or whole number ≥ 1", "full"),
        ("network", "hidden", "list, each: whole number ≥ 1", "[40, 200, 1000]"),
        ("keys-of-every-jump-rule", "m", "whole number ≥ 2", "must be given"),
        ("keys-of-every-jump-rule", "relaxation", "number > 0 and ≤ 2", "1"),
        ("keys-of-every-jump-rule", "stop", "whole number ≥ 1 or null", "null"),
        ("problem-pollutant", "test_fraction", "a number between 0 and 1, both excluded", "0.2"),
        ("problem-adder", "bits", "a whole number ≥ 1, at most 62", "12"),
        ("method-class_pca", "centred", "true, false", "true"),
    ],
)
def test_kinds_bounds_and_defaults(site: Path, heading: str, key: str, kind: str, default: str) -> None:
    assert rows(site, "spec.html")[heading][key][:2] == [kind, default]


def test_every_command_is_in_it_with_every_option(site: Path) -> None:
    shown = rows(site, "commands.html")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(shown) == set(commands)
    for name, command in commands.items():
        options = {o for p in command.params if p.param_type_name == "option" for o in (*p.opts, *p.secondary_opts)}
        assert {option for cell in shown[name] for option in cell.split(", ") if option.startswith("--")} == options
        assert [cell for cell, others in shown[name].items() if not all(others)] == []


def test_every_metric_is_in_it(site: Path) -> None:
    shown = rows(site, "answer.html")["what-the-numbers-mean"]
    assert {name: cells[-1] for name, cells in shown.items()} == {m.name: m.meaning for m in METRICS.values()}


@pytest.mark.parametrize("package", [accel, study, problems], ids=lambda package: package.__name__)
def test_every_public_name_is_in_the_reference(site: Path, package: Any) -> None:
    page = (site / "api" / f"{package.__name__}.html").read_text()
    assert [name for name in package.__all__ if f'id="{package.__name__}.{name}"' not in page] == []
    built_in = [path.replace(":", ".") for path in problems.BUILT_IN.values()]
    assert package is not problems or [name for name in built_in if f'id="{name}"' not in page] == []


def test_a_key_a_command_and_a_top_level_key_without_meaning_fail(generators, monkeypatch) -> None:
    class Bare(_sections.Section):
        explained: int = 1
        """A number."""
        key: int = 1

    spec_keys = generators("spec_keys")
    with pytest.raises(ValueError, match="`key`: the text"):
        spec_keys.table(spec_keys.HEAD, spec_keys.model_rows(Bare))
    monkeypatch.setattr(spec_keys, "TOP_LEVEL", (*TOP_LEVEL, "new"))
    with pytest.raises(ValueError, match=r"new: must be in .*TOP_LEVEL_KEYS"):
        spec_keys.top_level_rows()
    commands = generators("command_options")
    monkeypatch.setattr(commands, "app", typer.Typer())

    @commands.app.command()
    def train(spec: str) -> None:
        """Train."""

    @commands.app.command()
    def other() -> None:
        """Do something else."""

    with pytest.raises(ValueError, match="`SPEC`: the text"):
        commands.commands_text()


def test_a_page_of_measurements_is_in_it_once_they_are_there(generators, monkeypatch, tmp_path: Path) -> None:
    hooks = generators("hooks")
    monkeypatch.setattr(hooks, "ROOT", tmp_path)

    def menu() -> list[Any]:
        config = MkDocsConfig()
        config.nav = [{"Home": "index.md"}, {"Results": [{"quick": "results/quick.md"}]}]
        return hooks.on_config(config).nav[1]["Results"]

    assert menu() == [{"quick": "results/quick.md"}]
    assert hooks.outside_pages() == hooks.OUTSIDE
    page = tmp_path / "results" / "gpu" / "gpu.md"
    page.parent.mkdir(parents=True)
    page.write_text("# gpu")
    assert menu() == [{"quick": "results/quick.md"}, {"gpu": "results/gpu.md"}]
    assert hooks.outside_pages() == {**hooks.OUTSIDE, "results/gpu/gpu.md": "results/gpu.md"}


def test_the_words_for_the_top_level_are_those_of_its_keys() -> None:
    assert tuple(TOP_LEVEL_KEYS) == TOP_LEVEL


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    assert [found for page in pages for found in loaded.findall(page.read_text())] == []
    assert loaded.findall('<link rel="stylesheet" href="https://fonts.example/css">') == ["https://fonts.example/css"]
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*", styles) == []


def test_every_picture_is_in_it(site: Path) -> None:
    pictures = [
        (page, name)
        for page in site.rglob("*.html")
        for name in re.findall(r'<img[^>]* src="([^"]+)"', page.read_text())
    ]
    assert len(pictures) >= 10
    assert [name for page, name in pictures if not (page.parent / name).is_file()] == []


def test_it_opens_offline_and_its_search_finds(site: Path, open_page) -> None:
    page, seen = open_page((site / "spec.html").as_uri(), offline=True)
    page.fill("input.md-search__input", "max_inconsistency")
    page.wait_for_selector(".md-search-result__item a")
    assert "spec.html" in page.inner_html(".md-search-result__list")
    assert seen.errors == []
    assert [address for address in seen.requests if not address.startswith(("file:", "data:", "blob:"))] == []
