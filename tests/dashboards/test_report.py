"""The report is one file that fetches nothing and obeys no text it was given, at any size of study."""

import base64
import dataclasses
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import pytest

from dashboards import Snippet, TextTable, render_report
from tests.dashboards._made_up import AXES, MadeUp

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)> & \"quoted\" 'single' <!-- ]]>"


class Page(HTMLParser):
    """What a browser makes of the text: its elements, and the text of each kind."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, text):
        for tag in set(self._open):
            self.texts[tag][-1] += text

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def made_up():
    return MadeUp()


@pytest.fixture(scope="module")
def report(made_up):
    return made_up.report()


def test_it_holds_every_part(report):
    page = Page(render_report(report))
    sections = [attributes["id"] for attributes in page.attributes("section")]
    assert sections == ["answer", "explore", "sensitivity", "best", "cost", "jumps", "provenance", "failures"]
    text = " ".join(page.texts["body"])
    for part in (*report.answer, report.question, report.cost_note, report.failures_note, report.sensitivity_note):
        assert " ".join(part.split()) in " ".join(text.split())
    assert "Accelerator.from_best(model)" in page.texts["pre"][0]
    assert "epochs: 60" in page.texts["pre"][-1]
    assert "torch 2.13.0" in text


def test_it_is_the_same_for_the_same_record(report):
    assert render_report(report) == render_report(MadeUp().report())


def test_no_text_of_the_study_becomes_markup(made_up):
    plain = Page(render_report(made_up.report()))
    axes = {**AXES, "form": [HOSTILE, "state"]}
    hostile = MadeUp(axes, status=lambda cell, seed: "failed" if cell["m"] == 2 else "finished", reason=HOSTILE).report(
        provenance=[{"processor": HOSTILE, "replicates": 1}],
        snippets=[(HOSTILE, HOSTILE)],
        best={
            "recommendation": {"unavailable": HOSTILE},
            "other_choices": {HOSTILE: {"question": HOSTILE, HOSTILE: {"unavailable": HOSTILE}}},
        },
        warnings=[HOSTILE],
    )
    hostile = dataclasses.replace(
        hostile, title=HOSTILE, question=HOSTILE, answer=[HOSTILE], details=[HOSTILE], spec=HOSTILE
    )
    text = render_report(hostile)
    page = Page(text)
    for tag in ("script", "img", "style", "meta", "iframe"):
        assert len(page.attributes(tag)) == len(plain.attributes(tag))
    assert page.texts["h1"] == [HOSTILE]
    assert page.texts["title"] == [HOSTILE]
    assert page.texts["pre"] == [HOSTILE, HOSTILE]
    assert HOSTILE not in text
    data = json.loads(next(t for t in page.texts["script"] if t.startswith("{")))
    assert data["axes"][3]["values"][0] == HOSTILE
    assert any(HOSTILE in run["end"] for cell in data["cells"] for run in cell if run)


def test_only_its_own_script_and_style_are_allowed(report):
    text = render_report(report)
    (policy,) = (a["content"] for a in Page(text).attributes("meta") if a.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for kind in ("script", "style"):
        (source,) = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert not re.search(r"\s(on\w+|style)=", re.sub(r"<(script|style)[^>]*>.*?</\1>", "", text, flags=re.DOTALL))


def test_nothing_is_fetched(report):
    page = Page(render_report(report))
    addresses = [a[key] for _, a in page.tags for key in ("src", "href", "action", "data") if key in a]
    assert addresses
    assert all(address.startswith(("#", "data:,")) for address in addresses)
    assert "@import" not in page.texts["style"][0]
    assert "url(" not in page.texts["style"][0]


def test_nan_is_refused_rather_than_written(report):
    with pytest.raises(ValueError, match="JSON"):
        render_report(dataclasses.replace(report, explorer={**report.explorer, "first": math.nan}))


def test_tables_and_snippets_are_optional(report):
    bare = dataclasses.replace(
        report,
        sensitivity=[],
        best=TextTable([]),
        snippets=[Snippet("a", "b")],
        failures=TextTable([]),
        warnings=["Careful."],
    )
    page = Page(render_report(bare))
    assert "Careful." in " ".join(page.texts["p"])
    assert not page.attributes("figure")


def test_a_record_of_the_papers_grid_fits_five_megabytes():
    grid = {"m": list(range(2, 21)), "s": list(range(5, 101, 5)), "tolerance": [1e-10]}
    record = MadeUp(grid, seeds=[0], epochs=3000)
    assert len(record.details) == 381
    report = record.report()
    assert len(render_report(report).encode()) < 5e6
    assert "thinned to" in report.explorer["note"]
    assert "3001" in report.explorer["note"]
