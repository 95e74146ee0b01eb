"""The dashboard in a browser, on a study that has ended and on one that runs."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Page

from study import open_study, run, write_report
from study.analysis import sensitivity
from study.record import Record
from tests.dashboards.test_optuna_app import SPEC, served, study_of, wait_for

pytestmark = pytest.mark.slow

AXES = {"m": [2, 4, 6], "s": [2, 5], "tolerance": [1e-6]}


def spec(**changes: Any) -> dict[str, Any]:
    return {**SPEC, "axes": AXES, "seeds": 2, **changes}


def number_of(address: str, name: str) -> int:
    return int(study_of(address, name)["trials"][0]["study_id"])


def test_a_study_that_has_ended(open_page, tmp_path: Path) -> None:
    record = run(spec(training={"optimizer": "sgd", "lr": 0.1, "epochs": 24}), tmp_path / "out", executor="inline")
    write_report(record)
    with served(record.folder) as (address, _):
        number = number_of(address, "shown")
        wait_for(lambda: study_of(address, "shown")["plotly_graph_objects"])
        page, seen = open_page(f"{address}dashboard/studies/{number}/note")
        page.get_by_role("heading", name="shown", exact=True).wait_for()
        assert "snapshots per jump m" in page.locator("body").inner_text()
        link = page.get_by_role("link", name="The report")
        page.goto(f"{address}dashboard/studies/{number}")
        for title in ("Mean relative error", "Final loss ratio"):
            page.get_by_text(title, exact=True).first.wait_for()
        assert page.locator(".heatmaplayer image").count() == 2
        check_panels(page, record)
        page.screenshot(path=tmp_path / "study.png", full_page=True)
        page.goto(f"{address}dashboard/studies/{number_of(address, 'shown/baseline')}")
        page.get_by_text("none for baselines: see the note").wait_for()
        page.goto(f"{address}dashboard/studies/{number}/trials")
        page.get_by_text("Trial 0", exact=False).first.wait_for()
        shown = page.locator("body").inner_text()
        for part in ("tolerance", "overhead", "status", "finished"):
            assert part in shown
        page.goto(f"{address}dashboard/studies/{number}/analytics")
        page.get_by_role("heading", name="Contour").wait_for()
        page.locator(".contourlayer, .contour").first.wait_for(state="attached")
        page.get_by_text("linear in the value, so a few huge values may hide all others").first.wait_for()
        assert page.locator("fieldset", has_text="Log y scale:").get_by_role("checkbox").is_checked()
        page.goto(f"{address}dashboard/studies/{number}/note")
        link.click()
        page.wait_for_url("**/report")
        assert page.locator("h1").inner_text() == "shown: dmd on quadratic"
        assert seen.errors == []
        assert all(one.startswith((address, "data:", "blob:")) for one in seen.requests)


def check_panels(page: Page, record: Record) -> None:
    """The dashboard's own panels on the study's page show what the study says, and are explained."""
    data = record.study_data()
    shares = sensitivity(data.table, data.axes, data.seeds).shares
    assert shares is not None
    panel = page.locator("#graph-hyperparameter-importances")
    panel.get_by_text("interactions").wait_for()
    assert panel.locator(".ytick").all_text_contents() == ["noise", "interactions", "s", "m"]  # from below
    lengths = panel.locator(".bartext").all_text_contents()
    of_pairs = sum(term.share for term in shares.terms if len(term.axes) == 2)
    assert shares.noise is not None
    bars = [shares.noise.share, of_pairs, shares["s"].share, shares["m"].share]
    assert [float(length.replace("−", "-")) for length in lengths] == pytest.approx(bars, abs=0.00501)
    captions = dict(
        page.locator(".shown-caption").evaluate_all(
            "all => all.map((one) => [one.previousElementSibling.textContent, one.textContent])"
        )
    )
    assert "by the study and not by Optuna" in captions["Hyperparameter Importance"]
    assert "training loss" in captions["Intermediate values"]
    assert "same times" in captions["Timeline"]
    (best,) = (captions[heading] for heading in captions if heading.startswith("Best Trial (number="))
    expected = f"The lowest mean relative error with one seed, not the recommended cell. {record.answer()}"
    assert best == expected
    titles = page.locator(".gtitle").all_text_contents()
    assert titles == ["Final loss ratio", "Mean relative error"]
    # every trial has a bar as long as its training, and a curve
    bars_drawn = page.locator("#graph-timeline .bars path").evaluate_all(
        "all => all.map((one) => one.getBBox()).filter((box) => box.width > 1 && box.height > 1).length"
    )
    assert bars_drawn == len(data.table)
    assert page.locator("#graph-intermediate-values .scatterlayer .trace").count() == len(data.table)
    # logarithmic at first, but whoever wants it otherwise has it
    scale = page.get_by_label("Log y scale")
    assert scale.is_checked()
    scale.uncheck()
    page.get_by_text("mean_relative_error_train, of one seed").first.wait_for()
    page.wait_for_timeout(500)
    assert not scale.is_checked()


def test_a_study_that_runs(open_page, tmp_path: Path) -> None:
    path, out = tmp_path / "spec.yaml", tmp_path / "out"
    # more than can be trained while the test looks on
    axes = {"m": list(range(20, 70)), "s": list(range(1, 61)), "tolerance": [1e-6]}
    path.write_text(yaml.safe_dump(spec(training={"optimizer": "sgd", "lr": 0.1, "epochs": 200}, axes=axes)))
    command = [sys.executable, "-m", "study.cli", "run", str(path), "--out", str(out), "--executor", "inline"]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: len(list((out / "packs").glob("*.parquet"))) > 4, 120)
        with served(out) as (address, _):
            wait_for(lambda: study_of(address, "shown")["trials"])
            page, seen = open_page(f"{address}dashboard/studies/{number_of(address, 'shown')}")
            page.get_by_text("Mean relative error", exact=True).first.wait_for()
            first = study_of(address, "shown")
            wait_for(lambda: len(study_of(address, "shown")["trials"]) > len(first["trials"]), 120)
            wait_for(lambda: study_of(address, "shown")["plotly_graph_objects"] != first["plotly_graph_objects"], 120)
            assert seen.errors == []
        assert " finished, " in said_by_status(out)
        assert running.poll() is None
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 130, (tmp_path / "log").read_text()
    finally:
        running.kill()
        running.wait()
    record = open_study(out)
    trials = record.study.get_trials(deepcopy=False)
    assert len(trials) == int(record.statuses()["finished"])  # none twice, none by another hand
    assert f"{len(trials)} finished" in said_by_status(out)


def said_by_status(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "study.cli", "status", str(folder)], capture_output=True, text=True, check=True
    )
    return done.stdout
