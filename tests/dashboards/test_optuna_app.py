"""The Optuna dashboard is the real one, explains the study, changes nothing, is on loopback and ends when asked."""

import json
import math
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
import pytest

from dashboards import Heatmap, Shown
from dashboards._shown_storage import ShownStorage
from study import run
from study.analysis.pages.optuna_dashboard import MAX_HEATMAPS, note_of, shown_of
from tests.dashboards._made_up import MadeUp

SPEC = {
    "name": "shown",
    "problem": {"name": "quadratic"},
    "network": {"hidden": []},
    "training": {"optimizer": "sgd", "lr": 0.1, "epochs": 8},
    "axes": {"m": [2, 4], "s": [5], "tolerance": [1e-6]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(SPEC, tmp_path_factory.mktemp("study"), executor="inline").folder


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-u", "-m", "study.cli", "dashboard", str(folder), *options]


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The dashboard in a process of its own: its address, and what it has said when it was interrupted."""
    process = subprocess.Popen(
        command(folder, "--port", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said: list[str] = []
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0], said
    finally:
        process.send_signal(signal.SIGINT)
        said += [*process.communicate(timeout=60), str(process.returncode)]


def answer(address: str, method: str = "GET") -> tuple[int, str]:
    asked = urllib.request.Request(address, data=b"{}" if method != "GET" else None, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def wait_for(found: Callable[[], Any], limit_s: float = 60) -> Any:
    end_s = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < end_s, "it has not come in time"
        time.sleep(0.2)
    return value


def study_of(address: str, name: str) -> dict[str, Any]:
    summaries = json.loads(answer(f"{address}api/studies")[1])["study_summaries"]
    (number,) = (one["study_id"] for one in summaries if one["study_name"] == name)
    detail: dict[str, Any] = json.loads(answer(f"{address}api/studies/{number}")[1])
    return detail


def test_it_shows_the_study_on_loopback_until_interrupted_and_changes_nothing(folder: Path) -> None:
    database = folder / "study.db"
    before, files = database.read_bytes(), sorted(folder.rglob("*"))
    with served(folder) as (address, said):
        assert address.startswith("http://127.0.0.1:")
        assert "Optuna Dashboard" in answer(f"{address}dashboard")[1]
        names = {one["study_name"] for one in json.loads(answer(f"{address}api/studies")[1])["study_summaries"]}
        assert names == {"shown", "shown/baseline"}
        shown = study_of(address, "shown")
        assert "[The report](/report)" in shown["note"]["body"]
        assert "snapshots per jump m" in shown["note"]["body"]
        plain = study_of(address, "shown/baseline")
        assert "A baseline is plain training" in plain["note"]["body"]
        assert "`final_loss_train`" in plain["note"]["body"]
        assert plain["objective_names"] == ["final_loss_train, of one seed"]
        assert shown["directions"] == ["minimize"]
        assert shown["objective_names"] == ["mean_relative_error_train, of one seed"]
        assert [one["name"] for one in shown["union_search_space"]] == ["m", "s", "seed", "tolerance"]
        for trial in shown["trials"]:
            assert {"status", "overhead", "final_loss_train"} <= {one["key"] for one in trial["user_attrs"]}
        wait_for(lambda: study_of(address, "shown")["plotly_graph_objects"])
        assert answer(f"{address}report") == (404, "There is no report.html yet.")
        assert [one["id"] for one in study_of(address, "shown")["plotly_graph_objects"]] == [
            "final-loss-ratio-1",
            "mean-relative-error-1",
        ]
        page = folder / "report.html"
        page.write_text("<p>the report</p>")
        assert answer(f"{address}report") == (200, "<p>the report</p>")
        with urllib.request.urlopen(f"{address}report", timeout=30) as reply:
            fence = reply.headers["Content-Security-Policy"]  # its file may have come from anybody
            assert fence == "sandbox allow-scripts; default-src 'unsafe-inline' data:"
        page.unlink()
        number = shown["trials"][0]["study_id"]
        for method, path in (
            ("DELETE", f"api/studies/{number}"),
            ("POST", "api/studies"),
            ("PUT", f"api/studies/{number}/note"),
            ("POST", f"api/trials/{shown['trials'][0]['trial_id']}/tell"),
        ):
            status, reason = answer(address + path, method)
            assert status == 403
            assert "changes nothing" in reason
    assert said[-1] == "130"
    assert "Traceback" not in said[1]
    assert database.read_bytes() == before
    assert sorted(folder.rglob("*")) == files


def test_a_port_in_use_is_said_in_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(command(folder, "--port", port), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def heatmap(**changes: Any) -> Heatmap:
    given: dict[str, Any] = {
        "id": "one",
        "title": "<b>One</b>",
        "x": "s",
        "y": "m",
        "x_values": ["5", "10"],
        "y_values": ["2"],
        "levels": [[0.25, None]],
        "words": [["a", "b & c"]],
        "colours": ["#000000", "#ffffff"],
        "scale": ("low", "1", "high"),
    }
    return Heatmap(**(given | changes))


def test_what_is_shown_is_beside_the_storage_and_not_in_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="here", storage=url)
    before = (tmp_path / "study.db").read_bytes()
    storage = ShownStorage(url, {})
    storage.show({"here": Shown("x" * 5000, [heatmap()])})
    (seen,) = storage.get_all_studies()
    assert seen.system_attrs == storage.get_study_system_attrs(seen._study_id)
    assert optuna_dashboard.get_note(optuna.load_study(study_name="here", storage=storage)) == "x" * 5000
    # a note that someone wrote stays, as a whole
    optuna_dashboard.save_note(study, "mine")
    assert optuna_dashboard.get_note(optuna.load_study(study_name="here", storage=storage)) == "mine"
    storage.show({})
    assert not any("plot_data" in key for key in storage.get_study_system_attrs(seen._study_id))
    storage.engine.dispose()
    assert before != (tmp_path / "study.db").read_bytes()  # by save_note, so that it would have been seen


def test_a_heatmap_is_a_picture_of_its_levels_and_words() -> None:
    from dashboards._shown_storage import _figure

    figure = json.loads(_figure(heatmap()).to_json())
    (picture,) = figure["data"]
    assert picture["z"] == [[0.25, None]]
    assert picture["customdata"] == [["a", "b &amp; c"]]
    assert (picture["zmin"], picture["zmax"]) == (0, 1)
    assert picture["colorscale"] == [[0.0, "#000000"], [1.0, "#ffffff"]]
    assert figure["layout"]["title"]["text"] == "&lt;b>One&lt;/b>"


def test_the_heatmaps_are_the_tables() -> None:
    record = MadeUp(status=lambda cell, seed: "diverged" if cell["s"] == 40 else "finished")
    shown = shown_of("made-up", record.spec, "mean_relative_error_train", record.table, record.spec["axes"])
    assert [heatmap.id for heatmap in shown.heatmaps] == [
        "final-loss-ratio-1",
        "final-loss-ratio-2",
        "mean-relative-error-1",
        "mean-relative-error-2",
    ]
    heatmap = shown.heatmaps[0]
    assert heatmap.title == "Final loss ratio (tolerance = 1e-06)"
    assert (heatmap.x_values, heatmap.y_values) == (["5", "10", "20", "40"], ["2", "8", "14"])
    assert heatmap.words[1][1] == "m = 8, s = 10, tolerance = 1e-06: final loss ratio 0.6, spread 0.006, 3 of 3 seeds"
    assert "diverged" in heatmap.words[0][3]
    assert heatmap.levels[0][3] is None
    # on a scale from 0.6 to 1 / 0.6, and m = 2, s = 5 is at 0.6 exp(0.4 (ln 4 + ln 2)) = 1.378
    assert heatmap.levels[1][1] == 0
    assert heatmap.levels[0][0] == pytest.approx(0.5 + math.log(1.378) / math.log(1 / 0.36), abs=1e-3)
    assert heatmap.scale[1] == "1"


def test_a_study_with_too_many_cells_or_none_has_a_note_alone() -> None:
    record = MadeUp({"m": [2, 8]})
    many = {"m": range(200), "s": range(200)}
    assert not shown_of("made-up", record.spec, "mean_relative_error_train", record.table, many).heatmaps
    assert not shown_of("made-up", record.spec, "x", record.table.iloc[:0], record.spec["axes"]).heatmaps
    assert len(shown_of("made-up", record.spec, "x", record.table, {"m": [2, 8]}).heatmaps) == 2
    values = [1e-3 * k for k in range(MAX_HEATMAPS + 3)]
    wide = MadeUp({"m": [2, 8], "s": [5, 10], "tolerance": values}, seeds=[0])
    assert len(shown_of("made-up", wide.spec, "x", wide.table, wide.spec["axes"]).heatmaps) == 2 * MAX_HEATMAPS


@pytest.mark.parametrize("mode", ["train", "probe"])
def test_the_heatmaps_are_in_the_order_of_the_report(mode: str) -> None:
    record = MadeUp(mode=mode)
    shown = shown_of("made-up", record.spec, "mean_relative_error_train", record.table, record.spec["axes"])
    of_report = list(dict.fromkeys(metric["name"] for metric in record.report().explorer["metrics"]))
    names = list(dict.fromkeys(one.id.rsplit("-", 1)[0].replace("-", "_") for one in shown.heatmaps))
    assert len(names) == 2
    assert names == [name for name in of_report if name in names]
    assert names[0] == of_report[0]


def test_a_scale_says_where_colours_end() -> None:
    huge = MadeUp(ratio=lambda cell, seed: 6e14 if (cell["m"], cell["s"]) == (2, 5) else 0.5)
    shown = shown_of("made-up", huge.spec, "mean_relative_error_train", huge.table, huge.spec["axes"])
    low, middle, high = shown.heatmaps[0].scale
    assert (low, middle) == ("0.25", "1")
    assert high == "≥ 4"  # a limit of twice the improvement, on a logarithmic scale
    assert shown.heatmaps[0].levels[0][0] == 1
    assert "6e+14" in shown.heatmaps[0].words[0][0]


def test_the_note_takes_text_literally() -> None:
    spec = MadeUp({"m": [2, 8]}).spec
    spec["axes"]["form"] = ["a|b", "<script>", "[x](javascript:1)"]
    note = note_of("made_up", spec, "final_loss_train")
    assert "a\\|b" in note
    assert "\\<script\\>" in note
    assert "[x]" not in note
    assert "lower is better." in note
    spec["axes"]["m"] = {"from": 2, "to": 20, "log": False}
    assert "| 2 to 20 |" in note_of("made_up", spec, "x")
