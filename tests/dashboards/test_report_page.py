"""The report in a browser: quiet, offline, usable by pointer and by keyboard, readable on every screen."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from dashboards import render_report
from tests.dashboards._made_up import MadeUp

pytestmark = pytest.mark.slow

LOOKS = """() => {
    const channel = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
        return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
    const behind = (e) => { for (; e; e = e.parentElement) {
        const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
    const found = [];
    for (const e of document.querySelectorAll("body *")) {
        const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!text || e.closest("script, svg, option") || !e.checkVisibility()) continue;
        if (e.closest(".face") && getComputedStyle(e.closest(".face")).backgroundImage !== "none") continue;
        const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
        found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName, e.textContent.slice(0, 40)]);
    }
    return found.sort((a, b) => a[0] - b[0]);
}"""
"""Contrast of every text with what is behind it, by WCAG 2's formula, the lowest first."""


def status(cell, seed):
    if cell["m"] == 2 and cell["s"] == 40:
        return "diverged"
    return "missing" if cell["m"] == 14 and cell["s"] == 5 and seed == 2 else "finished"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(MadeUp(status=status).report()), encoding="utf-8")
    return path.as_uri()


def focused(page):
    return page.evaluate("document.activeElement.getAttribute('aria-label')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_is_quiet_offline_and_readable(open_page, address, scheme, width):
    page, seen = open_page(address, width, color_scheme=scheme, offline=True)
    assert seen.requests == [address]
    assert seen.errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing is cut off on the right
    lowest = page.evaluate(LOOKS)
    assert len(lowest) > 100
    assert lowest[0][0] >= 4.5, lowest[:5]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 22, 26)"}[scheme]


def test_choices_change_the_heatmap(open_page, address):
    page, seen = open_page(address)
    cell = page.locator("td[data-index='10']")  # m = 8, s = 10, tolerance = 1e-6: 0.6
    assert "Final loss ratio, training set 0.6;" in cell.get_attribute("aria-label")
    assert "recommended cell; lowest value of all cells" in cell.get_attribute("aria-label")
    page.locator("#choices").get_by_label("Metric").select_option("overhead")
    assert "Overhead 1.02;" in cell.get_attribute("aria-label")
    page.locator("#choices").get_by_label("Metric").select_option("final_loss_ratio_test")
    page.locator("#choices").get_by_label("Seeds").select_option(label="seed 2")
    assert "Final loss ratio, test set 0.606; seed 2; finished" in cell.get_attribute("aria-label")
    page.locator("#choices").get_by_label("tolerance").select_option(label="0.001")
    assert page.locator("td[data-index='10']").count() == 0
    assert page.locator("td[data-index='11']").count() == 1
    # axes can be exchanged, and the one that is chosen for both takes the other's place
    page.locator("#choices").get_by_label("To the right").select_option("tolerance")
    page.locator("#choices").get_by_label("Upwards").select_option("tolerance")
    assert page.locator("#choices").get_by_label("To the right").input_value() == "m"
    assert page.locator("#heatmap tbody tr").count() == 1 + 2 + 2  # a label, two tolerances, values and a label
    assert focused(page) is None  # the choice itself keeps the focus
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    assert seen.errors == []


def test_states_are_told_by_look_and_in_words(open_page, address):
    page, _ = open_page(address)
    diverged = page.locator("td[data-index='6']")
    assert "infinite" in diverged.get_attribute("aria-label")
    assert "0 of 3 seeds" in diverged.get_attribute("aria-label")
    assert "diverged" in diverged.get_attribute("aria-label")
    assert diverged.locator(".look-crossed").count() == 1
    assert "2 of 3 seeds with a finite value; not every seed finished" in page.locator(
        "td[data-index='16']"
    ).get_attribute("aria-label")
    page.locator("#choices").get_by_label("Seeds").select_option(label="seed 2")
    assert "not run yet" in page.locator("td[data-index='16']").get_attribute("aria-label")
    assert "diverged" in page.locator("#legend").inner_text()


def test_hovering_and_clicking(open_page, address):
    page, seen = open_page(address)
    page.locator("td[data-index='0']").hover()
    assert page.locator("#readout").inner_text().startswith("snapshots per jump m 2, horizon s (steps) 5")
    page.locator("td[data-index='0']").click()
    assert page.locator("#cell h3").inner_text().startswith("snapshots per jump m 2, horizon s (steps) 5")
    assert page.locator("#curves path.curve").count() == 6  # three seeds and their three baselines
    assert page.locator("#jumps circle").count() == 3 * 30
    page.locator("#choices").get_by_label("Seeds").select_option(label="seed 0")
    assert page.locator("#curves path.curve").count() == 2
    assert page.locator("#jumps circle").count() == 30
    assert "60 epochs, 30 jumps, 30 taken" in page.locator("#cell").inner_text()
    assert seen.errors == []


def test_the_keyboard_reaches_everything(open_page, address):
    page, seen = open_page(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the heatmap"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "gridcell":
            break
    assert "m 8, horizon s (steps) 10" in focused(page)
    assert page.locator("#readout").inner_text() == focused(page)
    for keys, where in (
        (["ArrowUp"], "m 14, horizon s (steps) 10"),
        (["ArrowUp"], "m 14, horizon s (steps) 10"),  # there is none above
        (["ArrowDown", "ArrowDown", "ArrowRight"], "m 2, horizon s (steps) 20"),
        (["End"], "m 2, horizon s (steps) 40"),
        (["ArrowRight", "Home", "ArrowLeft"], "m 2, horizon s (steps) 5"),
    ):
        for key in keys:
            page.keyboard.press(key)
        assert where in focused(page)
    page.keyboard.press("Enter")
    assert "m 2, horizon s (steps) 5" in page.locator("#cell h3").inner_text()
    assert page.locator("[aria-selected=true]").get_attribute("data-index") == "0"
    page.keyboard.press("Tab")  # the grid is one stop
    assert page.evaluate("document.activeElement.getAttribute('role')") != "gridcell"
    assert seen.errors == []


def test_what_is_copied_is_what_is_shown(open_page, address):
    page, _ = open_page(address, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy Two lines").click()
    expect(page.locator(".copied").first).to_have_text("Copied.")  # waits: the clipboard answers when it likes
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#snippet-1").inner_text()


def test_where_copying_is_refused_the_text_is_selected(open_page, address):
    page, seen = open_page(address)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_role("button", name="Copy Two lines").click()
    assert "press Ctrl+C" in page.locator(".copied").first.inner_text()
    assert page.evaluate("getSelection().toString()") == page.locator("#snippet-1").inner_text()
    assert seen.errors == []


def test_pictures_have_words(open_page, address):
    page, _ = open_page(address)
    names = page.locator("svg[role=img]").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    assert len(names) == 2
    assert all("m 8" in name for name in names)
    unnamed = "button, select, a, [role=region], [role=grid]"
    found = page.locator(unnamed).evaluate_all(
        "all => all.filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).length"
    )
    assert found == 0


def test_without_scripts_the_answer_is_there(open_page, address):
    page, _ = open_page(address, java_script_enabled=False)
    assert page.locator(".verdict").inner_text().startswith("Not known: plain training's")
    assert "needs JavaScript" in page.locator("noscript").inner_text()


def test_curves_fit_the_window_they_are_in(open_page, address):
    page, seen = open_page(address)
    wide = page.locator("#curves svg").get_attribute("viewBox")
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_function("box => document.querySelector('#curves svg').getAttribute('viewBox') !== box", arg=wide)
    assert page.locator("#curves svg").evaluate("e => e.viewBox.baseVal.width") <= 400
    assert seen.errors == []


def test_a_study_of_one_axis_and_one_in_which_nothing_ran_well(open_page, tmp_path: Path):
    for number, record in enumerate((MadeUp({"s": [5, 10]}), MadeUp(status=lambda cell, seed: "diverged"))):
        path = tmp_path / f"{number}.html"
        path.write_text(render_report(record.report()), encoding="utf-8")
        page, seen = open_page(path.as_uri())
        assert page.locator("td[data-index]").count() == (2, 12)[number]
        assert seen.errors == []
