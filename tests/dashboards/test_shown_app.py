"""Answers that are not the Optuna dashboard's own: importances, the order of heatmaps, the script and its data."""

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from dashboards import Heatmap, Shown, optuna_app
from dashboards._shown_app import ShownApp
from dashboards._shown_storage import ShownStorage


def inner(environ: Any, start_response: Any) -> list[bytes]:
    """A dashboard that loses the order of heatmaps, and says what it was asked for."""
    if environ["PATH_INFO"].startswith("/api/studies/3"):
        start_response("404 Not Found", [("Content-Length", "2")])
        return [b"no"]
    plots = [{"id": name, "graph_object": "{}"} for name in ("b-2", "x", "a-1", "b-1")]
    body = json.dumps({"plotly_graph_objects": plots, "trials": [{"value": 0.1}]}).encode()
    if environ["PATH_INFO"].startswith("/dashboard"):
        assert not any(key.startswith("HTTP_IF") for key in environ)
        body = b"<html><head></head><body></body></html>"
    start_response("200 OK", [("Content-Type", "x"), ("Content-Length", str(len(body)))])
    return [body]


def heatmap(name: str) -> Heatmap:
    return Heatmap(name, "", "", "", ["1"], ["1"], [[0.5]], [[""]], ["#000000", "#ffffff"], ("", "", ""))


def ask(path: str, shown: Mapping[int, Shown], freshen: Any = lambda: None) -> tuple[str, dict[str, str], bytes]:
    answered: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "HTTP_IF_MODIFIED_SINCE": "now", "HTTP_IF_NONE_MATCH": "x"}
    app = ShownApp(inner, shown.get, {}, freshen)
    body = b"".join(app(environ, lambda status, headers: answered.extend([status, dict(headers)])))  # type: ignore[arg-type, return-value, func-returns-value]
    assert answered[1]["Content-Length"] == str(len(body))
    return answered[0], answered[1], body


def test_heatmaps_are_in_the_order_in_which_they_were_given() -> None:
    shown = {1: Shown("", [heatmap("b-1"), heatmap("b-2"), heatmap("a-1")])}
    for path in ("/api/studies/1", "/api/studies/1/"):
        status, _, body = ask(path, shown)
        assert status == "200 OK"
        assert [plot["id"] for plot in json.loads(body)["plotly_graph_objects"]] == ["b-1", "b-2", "a-1", "x"]
        assert json.loads(body)["trials"] == [{"value": 0.1}]
    assert json.loads(ask("/api/studies/2", shown)[2])["plotly_graph_objects"][0]["id"] == "b-2"
    assert ask("/api/studies/3", {3: shown[1]})[::2] == ("404 Not Found", b"no")


def test_importances_are_those_given_and_fresh() -> None:
    shown: dict[int, Shown] = {}

    def freshen() -> None:
        shown[1] = Shown("", importances={"s": 0.75, "noise": -0.01})

    status, headers, body = ask("/api/studies/1/param_importances", shown, freshen)
    assert (status, headers["Content-Type"]) == ("200 OK", "application/json")
    (bars,) = json.loads(body)["param_importances"]
    assert [(bar["name"], bar["importance"]) for bar in bars] == [("s", 0.75), ("noise", -0.01)]
    # of a study that is not ours, and where none are given, Optuna answers
    for number, given in ((2, {}), (1, {1: Shown("")})):
        assert "plotly_graph_objects" in json.loads(ask(f"/api/studies/{number}/param_importances", given)[2])


def test_every_page_of_the_dashboard_has_the_script() -> None:
    for path in ("/dashboard", "/dashboard/", "/dashboard/studies/1"):
        assert b'<head><script defer src="/shown.js"></script></head>' in ask(path, {})[2]
    status, headers, body = ask("/shown.js", {})
    assert (status, headers["Content-Type"]) == ("200 OK", "text/javascript; charset=utf-8")
    assert b"shown-caption" in body


def test_the_script_is_given_captions() -> None:
    shown = {1: Shown("", captions={"EDF": "linear"}, logarithmic=True)}
    assert json.loads(ask("/shown/1", shown)[2]) == {"captions": {"EDF": "linear"}, "logarithmic": True}
    assert json.loads(ask("/shown/2", shown)[2]) == {"captions": {}, "logarithmic": False}


def test_names_and_attributes_are_shown_and_not_stored(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="here", storage=url)
    optuna.create_study(study_name="other", storage=url)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["error"])
    study.set_user_attr("spec", "s")
    before = (tmp_path / "study.db").read_bytes()
    storage = ShownStorage(url, {})
    storage.show({"here": Shown("", objective="error, of one seed", attributes={"recommended": "m = 8"})})
    first, second = storage.get_all_studies()
    assert first.system_attrs["study:metric_names"] == ["error, of one seed"]
    assert list(first.user_attrs) == ["recommended", "spec"]
    assert storage.get_study_user_attrs(first._study_id) == first.user_attrs
    assert optuna.load_study(study_name="here", storage=storage).metric_names == ["error, of one seed"]
    assert (second.system_attrs, second.user_attrs) == ({}, {})
    assert storage.shown(second._study_id) is None
    assert storage.shown(99) is None
    assert study.metric_names == ["error"]
    assert study.user_attrs == {"spec": "s"}
    storage.engine.dispose()
    assert before == (tmp_path / "study.db").read_bytes()


@pytest.fixture
def refreshed() -> Any:
    """Refreshers, each with the number of its refreshes; ended afterwards."""
    made = []

    def make(pause_s: float) -> tuple[Any, list[int]]:
        counts: list[int] = []

        def refresh() -> dict[str, Shown]:
            number = len(counts)
            counts.append(number)
            time.sleep(pause_s)
            if number == 0:
                raise OSError("busy")
            return {"number": Shown(str(number))}

        seen: list[int] = []
        refresher = optuna_app._Refresher(lambda shown: seen.append(int(shown["number"].note)), refresh)
        made.append(refresher)
        refresher.start()
        return refresher, seen

    yield make
    for refresher in made:
        refresher.stop()
        refresher.join(timeout=10)
        assert not refresher.is_alive()


def test_a_page_waits_for_what_is_read_after_it_asked(refreshed: Any) -> None:
    refresher, seen = refreshed(0.3)
    time.sleep(0.1)  # the first one runs, and may have read already what it is to show
    refresher.freshen()
    assert seen == [1]
    asked = [threading.Thread(target=refresher.freshen) for _ in range(3)]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join()
    assert 2 <= len(seen) <= 3  # together, not one after another


def test_a_page_waits_for_so_long_at_most(refreshed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_app, "WAIT_S", 0.1)
    refresher, seen = refreshed(1.0)
    start_s = time.monotonic()
    refresher.freshen()
    assert time.monotonic() - start_s < 0.8
    assert seen == []
