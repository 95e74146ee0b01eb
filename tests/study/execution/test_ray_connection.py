"""What is said of a cluster that cannot be used, without one."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study import run
from study.errors import UserError
from study.execution import ray_connection
from study.execution.ray_node_versions import MAX_NODES_LISTED, differences, installed

HERE = {"python": "3.11.4", "dmd-study": "0.1.0", "torch": "2.13.0"}


def node(cpu: float, gpu: float = 0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpu, "memory": 1e9} | ({"GPU": gpu} if gpu else {})}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The cluster's nodes, as Ray lists them."""
    there: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.nodes", lambda: there)
    return there


@pytest.fixture
def listening() -> Iterator[str]:
    """Address of something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in taken:
            connection.close()


def test_this_process_says_what_it_runs() -> None:
    found = installed()
    assert set(found) == {"python", "dmd-study", "torch", "numpy", "ray", "code of dmd-study"}
    assert re.fullmatch(r"\d+(\.\d+)+", found["torch"])  # without the build's label
    assert "none" not in found.values()
    assert differences(found, {"other": installed()}) == []


def test_differences_name_both_versions_and_the_nodes() -> None:
    other = HERE | {"torch": "2.9.0", "dmd-study": "none"}
    lines = differences(HERE, {"a (10.0.0.1)": HERE, "b (10.0.0.2)": other, "c (10.0.0.3)": other})
    assert lines == [
        "dmd-study: 0.1.0 here, none on b (10.0.0.2), c (10.0.0.3)",
        "torch: 2.13.0 here, 2.9.0 on b (10.0.0.2), c (10.0.0.3)",
    ]
    (line,) = differences(HERE, {str(k): HERE | {"python": "3.12.0"} for k in range(1000)})
    assert line.endswith(f" and {1000 - MAX_NODES_LISTED} more")


def test_a_pack_needs_one_node_that_has_all_it_asks_for(small: Callable[..., Any], nodes: list[dict[str, Any]]) -> None:
    spec = small({"resources": {"cpu": 4, "gpu": 1}})
    nodes += [node(8), node(8), node(2, gpu=4), node(64, gpu=8, alive=False)]
    with pytest.raises(UserError) as refused:
        ray_connection._capable_nodes(spec)
    assert str(refused.value) == (
        "resources.cpu, resources.gpu: each pack asks for 4 CPU and 1 GPU on one node, but Ray here has "
        "2 x (8 CPU, 0 GPU); 1 x (2 CPU, 4 GPU). Ask for less: --set resources.cpu=N --set resources.gpu=N"
    )
    nodes.append(able := node(4, gpu=1))
    assert ray_connection._capable_nodes(spec) == [able]


def test_nodes_that_do_not_join(nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_connection, "NODES_TIMEOUT_S", 0.1)
    nodes.append(node(1))
    ray_connection._wait_for_nodes(1)
    with pytest.raises(UserError, match=r"after 0\.1 s waiting for 2 nodes; the cluster has 1\."):
        ray_connection._wait_for_nodes(2)


REFUSED = {
    "ray://head:10001": "must not be that of a Ray Client, got ray://head:10001",
    "head": "address must be auto or HOST:PORT, got 'head'",
    "127.0.0.1:1": "no Ray cluster at 127.0.0.1:1: ",
    "127.0.0.1:99999": "no Ray cluster at 127.0.0.1:99999: ",
    "nowhere.invalid:6379": "no Ray cluster at nowhere.invalid:6379: ",
}


@pytest.mark.parametrize("by_variable", [False, True])
@pytest.mark.parametrize(("address", "said"), REFUSED.items())
def test_addresses_that_are_refused(
    tmp_path: Path,
    raw: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    said: str,
    by_variable: bool,
) -> None:
    if by_variable:
        monkeypatch.setenv("RAY_ADDRESS", address)
    start_s = time.monotonic()
    with pytest.raises(UserError, match=re.escape(said)):
        run(raw(), tmp_path / "out", address=None if by_variable else address)
    assert time.monotonic() - start_s < 15  # what is promised
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_takes_connections_and_is_no_ray(tmp_path: Path, raw: Callable[..., Any], listening: str) -> None:
    start_s = time.monotonic()
    with pytest.raises(UserError, match=re.escape(f"the Ray cluster at {listening} cannot be used: no answer within")):
        run(raw(), tmp_path / "out", address=listening)
    assert time.monotonic() - start_s < 15  # what is promised
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [{"address": "auto"}, {"nodes": 2}])
def test_inline_has_no_cluster(tmp_path: Path, raw: Callable[..., Any], given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="do not go with the executor inline"):
        run(raw(), tmp_path / "out", executor="inline", **given)
