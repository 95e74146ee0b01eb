"""Hooks of MkDocs: generated tables, the pages that lie outside ``docs``, and links to files of the repository.

The same link works on GitHub and in the built manual: a page links to ``../results/quick/best.yaml`` where that file
lies, and the hook copies the file into the manual.
"""

import posixpath
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from command_options import commands_text  # noqa: E402
from metric_meanings import metrics_text  # noqa: E402
from spec_keys import spec_text  # noqa: E402

OUTSIDE: Mapping[str, str] = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "study/execution/cluster_templates/README.md": "cluster-templates.md",
}
"""Page outside ``docs`` -> its place in the manual."""

MEASURED: Mapping[str, tuple[str, str]] = {"results/gpu/gpu.md": ("gpu", "results/gpu.md")}
"""Page that is there only once it has been measured and committed -> its name in the menu and its place."""

GENERATED: Mapping[str, Callable[[], str]] = {
    "spec keys": spec_text,
    "commands": commands_text,
    "metrics": metrics_text,
}
"""Name in a page's mark ``<!-- generated: NAME -->`` -> function that writes the text in its place."""

MARK = re.compile(r"<!-- generated: ([\w ]+) -->\n.*?<!-- end -->", re.DOTALL)
"""Mark of a generated text; what stands inside is for those who read the page without building it."""
FILE_BLOCK = re.compile(r"^(```\w+) file=(\S+)$", re.MULTILINE)
"""First line of a block of code that is to be saved as a file; the manual shows the file's name."""
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
COPIES = "files"
"""Folder of the manual with the files of the repository that its pages link to."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the measured pages that are there to the results in the menu."""
    assert config.nav is not None
    results = next(entry["Results"] for entry in config.nav if "Results" in entry)
    results.extend({name: place} for source, (name, place) in MEASURED.items() if (ROOT / source).is_file())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside ``docs``, and every file of the repository that a page links to."""
    for source, place in outside_pages().items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    linked = {
        target
        for file in files.documentation_pages()
        for _, link, _ in LINK.findall(Path(str(file.abs_src_path)).read_text(encoding="utf-8"))
        if (target := repository_path(home_of(file.src_uri), link)) and place_of(target).startswith(f"{COPIES}/")
    }
    for target in sorted(linked):
        if (ROOT / target).is_file():
            files.append(File.generated(config, place_of(target), abs_src_path=str(ROOT / target)))
    return files


def outside_pages() -> dict[str, str]:
    """Return the pages outside ``docs`` that are there, with their places in the manual."""
    return {**OUTSIDE, **{source: place for source, (_, place) in MEASURED.items() if (ROOT / source).is_file()}}


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Write the generated texts, and turn links to files of the repository into links inside the manual."""
    written = FILE_BLOCK.sub(r'\1 title="\2"', MARK.sub(lambda mark: GENERATED[mark[1]](), markdown))
    return linked_inside(written, page.file.src_uri)


def linked_inside(markdown: str, place: str) -> str:
    """Return a page's text with its links as the manual needs them.

    Args:
        markdown: Text of the page.
        place: Place of the page in the manual.
    """

    def link(match: re.Match[str]) -> str:
        target = repository_path(home_of(place), match[2])
        if target is None:
            return match[0]
        to = posixpath.relpath(place_of(target), posixpath.dirname(place) or ".")
        return f"{match[1]}{to}{match[3] or ''}"

    return LINK.sub(link, markdown)


def home_of(place: str) -> str:
    """Return the path in the repository of a page of the manual."""
    return next((source for source, inside in OUTSIDE.items() if inside == place), f"docs/{place}")


def place_of(target: str) -> str:
    """Return the place in the manual of a file of the repository."""
    if target in OUTSIDE:
        return OUTSIDE[target]
    return target.removeprefix("docs/") if target.startswith("docs/") else f"{COPIES}/{target}"


def repository_path(home: str, link: str) -> str | None:
    """Return the path in the repository that a link leads to; None for a link to another site.

    Args:
        home: Path in the repository of the page that has the link.
        link: Target as the page has it.
    """
    if re.match(r"[a-z]+:", link):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(home), link))
