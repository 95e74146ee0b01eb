"""Ray nodes of the tests' own on this machine, each of which can be killed."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.helpers.ray_nodes import RAY, free_ports, listens, own_environment

PORTS, MOST_NODES = 40, 4


class Nodes:
    """A cluster on loopback, with token authentication: a head, and as many nodes as are added.

    Args:
        head_cpus: CPUs of the head; 0 leaves training to the others.
    """

    def __init__(self, head_cpus: int) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="dmdf", dir="/tmp"))  # sockets need short paths
        self.environment = own_environment(self.place)
        self.processes: list[subprocess.Popen[bytes]] = []
        self._first = free_ports(PORTS * MOST_NODES)
        self.address = f"127.0.0.1:{self._first}"
        self._start("--head", f"--port={self._first}", f"--num-cpus={head_cpus}", "--include-dashboard=false")
        deadline_s = time.monotonic() + 60
        while not listens("127.0.0.1", self._first):
            assert self.processes[0].poll() is None, self._log(0)
            assert time.monotonic() < deadline_s, self._log(0)
            time.sleep(0.1)

    def add(self, cpus: int = 1) -> int:
        """Start another node; returns its number."""
        self._start(f"--address={self.address}", f"--num-cpus={cpus}")
        return len(self.processes) - 1

    def kill(self, number: int) -> None:
        """Kill a node with all that runs on it, as when its machine is switched off."""
        workers = self.workers(number)
        os.killpg(self.processes[number].pid, signal.SIGKILL)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):  # it may have seen its raylet die
                os.kill(pid, signal.SIGKILL)
        self.processes[number].wait()

    def kill_raylet(self, number: int) -> None:
        """Kill the process that runs a node, alone."""
        (raylet,) = self._raylet(number)
        os.kill(raylet, signal.SIGKILL)

    def workers(self, number: int) -> list[int]:
        """Process ids of a node's workers."""
        raylet = self._raylet(number)
        return [pid for pid, parent, _, arguments in _processes() if parent in raylet and arguments.startswith("ray::")]

    def _raylet(self, number: int) -> list[int]:
        """Process id of what runs a node; empty while it is being started."""
        group = self.processes[number].pid
        return [pid for pid, _, g, arguments in _processes() if g == group and "/raylet/raylet " in arguments]

    def stop(self) -> None:
        """End every node, by its own process group."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    def _start(self, *arguments: str) -> None:
        number = len(self.processes)
        first = self._first + PORTS * number
        command = [
            *(RAY, "start", "--block", "--disable-usage-stats", "--object-store-memory=100000000", *arguments),
            *("--node-ip-address=127.0.0.1", f"--temp-dir={self.place / f'ray{number}'}"),
            *(f"--node-manager-port={first + 1}", f"--object-manager-port={first + 2}"),
            *(f"--min-worker-port={first + 5}", f"--max-worker-port={first + PORTS - 1}"),
        ]
        with open(self.place / f"node{number}.log", "wb") as log:
            self.processes.append(
                subprocess.Popen(
                    command, stdout=log, stderr=log, env=self.environment, cwd=self.place, start_new_session=True
                )
            )

    def _log(self, number: int) -> str:
        return (self.place / f"node{number}.log").read_text(errors="replace")


def _processes() -> list[tuple[int, int, int, str]]:
    """Every process of this machine: id, parent, group, command."""
    listing = subprocess.run(
        ["ps", "-ww", "-eo", "pid,ppid,pgid,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 3) for line in listing.splitlines()[1:]]
    return [(int(pid), int(parent), int(group), arguments) for pid, parent, group, arguments in rows]
