"""Getting hold of Ray: one started here, or a cluster that answers, has what packs ask for, and runs the same code."""

import contextlib
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib

from study.errors import UserError
from study.execution import ray_node_versions
from study.specification import Spec

CONNECT_TIMEOUT_S = 8.0
NODES_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 60.0
KINDS = {"CPU": "cpu", "GPU": "gpu"}
"""What Ray calls a resource, and what a spec calls it."""

_PROBE = """
import sys
import ray
print("imported", flush=True)
try:
    ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False, logging_level=50)
except BaseException as error:
    print(f"{type(error).__name__}: {error}".splitlines()[0])
    sys.exit(1)
"""


@contextlib.contextmanager
def connected(spec: Spec, address: str | None, nodes: int | None) -> Iterator[None]:
    """Use Ray that runs in this process already, the cluster at an address, or one started here and stopped again.

    Args:
        spec: its resources are what packs ask for.
        address: ``auto`` or HOST:PORT; by default what the variable RAY_ADDRESS says.
        nodes: wait until the cluster has so many nodes.

    Raises:
        UserError: the cluster cannot be reached or used for this study.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address is not None and address.startswith("ray://"):
        raise UserError(
            f"address must not be a Ray Client's, got {address}: there the record would be written on the head node. "
            f"Run dmd-study on the head node with --address auto, or submit it there as a Ray job"
        )
    if address is not None and address != "auto" and not re.fullmatch(r".+:\d+", address):
        raise UserError(f"address must be auto or HOST:PORT, got {address!r}")
    # said outright, Ray neither writes a token into the home folder nor talks about it
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        has_token = "RAY_AUTH_TOKEN_PATH" in os.environ or (Path.home() / ".ray" / "auth_token").exists()
        if address is None:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            if not has_token:
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        elif has_token or "RAY_AUTH_TOKEN" in os.environ:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    started = not ray.is_initialized()
    if started:
        if address is not None:
            _reach(address)
        _start(address)
    try:
        if nodes is not None:
            _wait_for(nodes)
        able = _able_nodes(spec)
        if address is not None or not started:
            _same_versions(able)
        with contextlib.nullcontext() if started else _given_back():
            yield
    finally:
        if started:
            ray.shutdown()


@contextlib.contextmanager
def _given_back() -> Iterator[None]:
    """Take from Tune what it holds if it was interrupted: on Ray that goes on after us, nobody else would get it."""
    import ray
    from ray.util import placement_group_table, remove_placement_group
    from ray.util.placement_group import PlacementGroup

    before = set(placement_group_table())
    try:
        yield
    finally:
        job = ray.get_runtime_context().get_job_id()
        for name, group in placement_group_table().items():
            # a group's name ends with the job that it belongs to
            if name.endswith(job) and name not in before and group["state"] != "REMOVED":
                remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))


def _start(address: str | None) -> None:
    import ray

    # of one started here: said outright, since Ray's own count overlooks what a scheduler allots to this process
    here: dict[str, Any] = (
        {"address": address} if address else {"num_cpus": joblib.cpu_count(), "include_dashboard": False}
    )
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**here, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise UserError(f"Ray at {address or 'this machine'} could not be reached: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own prints a stack trace and dies


def _reach(address: str) -> None:
    """See that a cluster answers, in a process that can be ended: Ray itself tries for a minute, then ends its own."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S / 2).close()
        except (OSError, OverflowError) as error:
            raise UserError(
                f"no Ray cluster at {address}: {error}. The address must be that of the head node, as `ray start` "
                f"on it says; --address auto finds the cluster that runs on this machine"
            ) from error
    with subprocess.Popen(
        [sys.executable, "-c", _PROBE, address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as probe:
        try:
            assert probe.stdout is not None
            probe.stdout.readline()  # importing may take its time, on a shared file system
            said, noise = probe.communicate(timeout=CONNECT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            probe.kill()
            said, noise = probe.communicate()
        except BaseException:
            probe.kill()
            raise
    if probe.returncode == 0:
        return
    if "InvalidAuthToken" in noise or "AuthenticationError" in said:
        raise UserError(
            f"the Ray cluster at {address} does not take this token: give the head node's, by RAY_AUTH_TOKEN_PATH=FILE "
            f"(or ~/.ray/auth_token) with RAY_AUTH_MODE=token"
        )
    reason = said.strip().removeprefix("imported").strip() or f"no answer within {CONNECT_TIMEOUT_S:g} s"
    raise UserError(f"the Ray cluster at {address} cannot be used: {reason}")


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _wait_for(nodes: int) -> None:
    deadline_s = time.monotonic() + NODES_TIMEOUT_S
    while len(_alive()) < nodes:
        if time.monotonic() > deadline_s:
            raise UserError(
                f"--nodes must not be more than join the cluster: {nodes} were asked for, {len(_alive())} are there "
                f"after {NODES_TIMEOUT_S:g} s"
            )
        time.sleep(0.5)


def _able_nodes(spec: Spec) -> list[dict[str, Any]]:
    """The nodes that can train a pack. Raises UserError where there is none."""
    asked = {"CPU": spec.resources.cpu, "GPU": spec.resources.gpu}
    nodes = _alive()
    able = [node for node in nodes if all(node["Resources"].get(kind, 0) >= asked[kind] for kind in KINDS)]
    if able:
        return able
    most = {kind: max((node["Resources"].get(kind, 0) for node in nodes), default=0) for kind in KINDS}
    lacking = [KINDS[kind] for kind in KINDS if asked[kind] > most[kind]] or list(KINDS.values())
    there = Counter(", ".join(f"{node['Resources'].get(kind, 0):g} {kind}" for kind in KINDS) for node in nodes)
    raise UserError(
        f"{', '.join(f'resources.{kind}' for kind in lacking)}: each pack asks for {asked['CPU']:g} CPU and "
        f"{asked['GPU']:g} GPU on one node, but Ray here has "
        f"{'; '.join(f'{count} x ({what})' for what, count in there.items()) or 'no nodes'}; ask for less: "
        f"{' '.join(f'--set resources.{kind}=N' for kind in lacking)}"
    )


def _same_versions(nodes: list[dict[str, Any]]) -> None:
    """See that every node that may train packs would run the same code. Raises UserError where one would not."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    cloudpickle.register_pickle_by_value(ray_node_versions)
    try:
        ask = ray.remote(num_cpus=0, max_retries=0)(ray_node_versions.installed)
        asked = {
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})": ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote()
            for node in nodes
        }
    finally:
        cloudpickle.unregister_pickle_by_value(ray_node_versions)
    end_s, found = time.monotonic() + ANSWER_TIMEOUT_S, {}
    for name, answer in asked.items():
        try:
            found[name] = ray.get(answer, timeout=max(end_s - time.monotonic(), 1.0))
        except ray.exceptions.RayError as error:
            said = str(error).strip().splitlines() or ["no reason given"]
            raise UserError(f"the node {name} of the cluster cannot say what it would run: {said[-1]}") from error
    if lines := ray_node_versions.differences(ray_node_versions.installed(), found):
        raise UserError(
            "every node of the cluster must run what runs here, or results would depend on where a pack is trained; "
            "install the same on each:\n" + "\n".join(f"  {line}" for line in lines)
        )
