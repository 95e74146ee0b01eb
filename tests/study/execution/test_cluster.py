"""Sweeps on a cluster of real Ray nodes, started as an administrator would, and clusters that cannot be used."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from study import open_study
from study.replicates.metric_catalogue import TIMINGS
from tests.helpers.ray_nodes import RAY, free_ports, listens, own_environment

pytestmark = pytest.mark.slow


class Nodes:
    """A cluster: a head on which nothing is trained and, beside it, nodes of one CPU.

    Where the system lets us, a node is in a network namespace with an address of its own, and sees empty folders where
    the driver's files are. Elsewhere nodes are told apart by their ports alone.
    """

    def __init__(self, hidden: Path) -> None:
        self.hidden = hidden
        self.place = Path(tempfile.mkdtemp(prefix="dmdc", dir="/tmp"))  # sockets need short paths
        self.name = f"d{os.getpid() % 100000}"
        self.isolated = False
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment = own_environment(self.place)

    def start(self, count: int) -> None:
        """Start the head and so many nodes, and wait until `ray status` would show them."""
        self.isolated = self._bridge()
        host = "10.213.77.1" if self.isolated else "127.0.0.1"
        first = free_ports(30 * (count + 1))
        self.address = f"{host}:{first}"
        self._ray_start(0, first, "--head", f"--port={first}", f"--node-ip-address={host}", "--num-cpus=0")
        _until(lambda: listens(host, first), "the head node does not listen")
        for k in range(1, count + 1):
            self._namespace(k)
            ip = [f"--node-ip-address=10.213.77.{k + 1}"] if self.isolated else []
            self._ray_start(k, first + 30 * k, f"--address={self.address}", *ip, "--num-cpus=1")

    def _ray_start(self, k: int, port: int, *arguments: str) -> None:
        command = [
            *(RAY, "start", "--block", "--disable-usage-stats", "--object-store-memory=100000000", *arguments),
            *(f"--node-manager-port={port + 1}", f"--object-manager-port={port + 2}"),
            *(f"--min-worker-port={port + 5}", f"--max-worker-port={port + 29}"),
            f"--temp-dir={self.place / f'ray{k}'}",
        ]
        if k == 0:
            command += ["--include-dashboard=false"]
        elif self.isolated:
            # a node sees nothing of what the driver reads and writes
            hide = f'mount -t tmpfs none {self.hidden} && exec "$@"'
            command = ["ip", "netns", "exec", f"{self.name}{k}", "unshare", "--mount", "sh", "-c", hide, "sh", *command]
        with open(self.place / f"node{k}.log", "wb") as log:
            self._processes.append(
                subprocess.Popen(
                    command, stdout=log, stderr=log, env=self.environment, cwd=self.place, start_new_session=True
                )
            )

    def _bridge(self) -> bool:
        if os.geteuid() or not (shutil.which("ip") and shutil.which("unshare")):
            return False
        try:
            _ip("link", "add", self.name, "type", "bridge")
            _ip("addr", "add", "10.213.77.1/24", "dev", self.name)
            _ip("link", "set", self.name, "up")
        except subprocess.CalledProcessError:
            return False
        return True

    def _namespace(self, k: int) -> None:
        if self.isolated:
            inside = f"{self.name}{k}"
            _ip("netns", "add", inside)
            _ip("link", "add", f"{inside}v", "type", "veth", "peer", "name", "eth0", "netns", inside)
            _ip("link", "set", f"{inside}v", "master", self.name, "up")
            _ip("-n", inside, "addr", "add", f"10.213.77.{k + 1}/24", "dev", "eth0")
            _ip("-n", inside, "link", "set", "eth0", "up")
            _ip("-n", inside, "link", "set", "lo", "up")

    def stop(self) -> None:
        """End every node, by its own process group, and take down what was put up."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self.isolated:
            for k in range(1, len(self._processes)):
                subprocess.run(["ip", "netns", "del", f"{self.name}{k}"], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self.name], check=False, capture_output=True)
        shutil.rmtree(self.place, ignore_errors=True)

    def logs(self) -> str:
        """What the nodes have said."""
        return "\n".join(path.read_text() for path in sorted(self.place.glob("node*.log")))


@contextlib.contextmanager
def ray_nodes(count: int, hidden: Path) -> Iterator[Nodes]:
    """A running cluster, stopped at the end."""
    nodes = Nodes(hidden)
    try:
        nodes.start(count)
        yield nodes
    finally:
        nodes.stop()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _until(true: Callable[[], bool], otherwise: str, timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s, otherwise
        time.sleep(0.2)


PROBLEM = """
from dataclasses import dataclass
import numpy as np
from problems import Data, Sizes
from helper import distance

@dataclass(frozen=True)
class Line:
    samples: int = 32

    def sizes(self):
        return Sizes(1, 1, self.samples, 8)

    def data(self, progress=None):
        x = np.linspace(-1, 1, self.samples + 8)[:, None]
        return Data(x[8:], 2 * x[8:], x[:8], 2 * x[:8])

    def loss(self, network, inputs, targets):
        return distance(network(inputs), targets)
"""
HELPER = """
import time

def distance(found, wanted):
    time.sleep(0.02)  # long enough that one node cannot train all packs before the other has begun
    return (found - wanted).square().mean()
"""
SPEC = """
name: spread
problem: {name: "my_problem:Line"}
network: {hidden: []}
training: {optimizer: sgd, lr: 0.05, epochs: 12}
axes: {m: [4, 5, 6], s: [2, 4, 6], tolerance: [1e-6]}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the driver works: spec, the user's own modules, records. No other node can read it."""
    place = tmp_path_factory.mktemp("driver")
    for name, text in (("my_problem.py", PROBLEM), ("helper.py", HELPER), ("spec.yaml", SPEC)):
        (place / name).write_text(text)
    return place


@pytest.fixture(scope="module")
def nodes(place: Path) -> Iterator[Nodes]:
    with ray_nodes(2, hidden=place) as running:
        yield running


def command(nodes: Nodes, place: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "study.cli", "run", "spec.yaml", "--no-timing", *map(str, arguments)],
        cwd=place, env=nodes.environment | environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def comparable(folder: Path) -> pd.DataFrame:
    return open_study(folder).table().drop(columns=list(TIMINGS))


def test_a_sweep_spreads_over_nodes_that_share_nothing_with_the_driver(nodes: Nodes, place: Path) -> None:
    done = command(nodes, place, "--address", nodes.address, "--nodes", 3, "--out", "on_ray")
    assert done.returncode == 0, done.stderr + nodes.logs()
    done = command(nodes, place, "--executor", "inline", "--out", "inline")
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(comparable(place / "on_ray"), comparable(place / "inline"), check_exact=True)

    metadata = [pq.read_metadata(path).metadata for path in (place / "on_ray" / "packs").glob("*.parquet")]
    trained_on = [json.loads(found[b"dmd_study"])["ray_node"] for found in metadata]
    assert len(trained_on) == 10
    assert len(set(trained_on)) == 2


def test_a_token_that_is_not_the_clusters(nodes: Nodes, place: Path) -> None:
    (nodes.place / "other").write_text("d" * 64)
    start_s = time.monotonic()
    done = command(
        nodes, place, "--address", nodes.address, "--out", "token", RAY_AUTH_TOKEN_PATH=str(nodes.place / "other")
    )
    # 15 s are promised, and 12 measured; other programs on the machine may take as much again, twice
    assert time.monotonic() - start_s < 45
    assert done.returncode == 2
    assert "does not accept this token. Give the token of the head node" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (place / "token").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["cpu=2"], "resources.cpu: each pack asks for 2 CPU and 0 GPU on one node, but Ray here has "),
        (["gpu=0.5"], "resources.gpu: each pack asks for 1 CPU and 0.5 GPU on one node, but Ray here has "),
    ],
)
def test_a_cluster_no_node_of_which_has_what_a_pack_asks_for(
    nodes: Nodes, place: Path, asked: list[str], said: str
) -> None:
    # two CPUs in all, but on two nodes: such a pack would wait for ever
    options = [option for text in asked for option in ("--set", f"resources.{text}")]
    done = command(nodes, place, "--address", nodes.address, "--nodes", 3, "--out", "large", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "2 x (1 CPU, 0 GPU)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (place / "large").exists()


def test_nodes_that_would_run_other_code(nodes: Nodes, place: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    for package in ("accel", "problems", "study", "dashboards"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "accel" / "__init__.py", "a") as code:
        code.write("\nCHANGED = True\n")
    done = command(nodes, place, "--address", nodes.address, "--nodes", 3, "--out", "code", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert len(lines) == 1  # versions are equal
    assert lines[0].startswith("  code of dmd-study: ")
    assert " here, " in lines[0]
    assert not (place / "code").exists()
