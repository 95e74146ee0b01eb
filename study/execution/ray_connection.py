"""Connect to Ray: start it here, or use a cluster that answers, has what a pack needs and runs the same code."""

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
"""Seconds within which a cluster must answer."""
NODES_TIMEOUT_S = 120.0
"""Seconds within which the nodes asked for must join the cluster."""
ANSWER_TIMEOUT_S = 60.0
"""Seconds within which all nodes must report their versions."""
KINDS = {"CPU": "cpu", "GPU": "gpu"}
"""Name of a resource in Ray -> its name in a spec."""

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
def connected(spec: Spec, address: str | None, nodes: int | None) -> Iterator[bool]:
    """Use the Ray that already runs in this process, the cluster at an address, or a Ray that is started here.

    Yields True if Ray is started here, so that all workers are on this machine.

    Args:
        spec: the study; its resources are those of each pack.
        address: ``auto`` or HOST:PORT; by default the value of the variable RAY_ADDRESS.
        nodes: number of nodes to wait for.

    Raises:
        UserError: the cluster cannot be reached or used for this study.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address is not None and address.startswith("ray://"):
        raise UserError(
            f"address must not be that of a Ray Client, got {address}: the record would be written on the head node. "
            f"Run dmd-study on the head node with --address auto, or submit it there as a Ray job"
        )
    if address is not None and address != "auto" and not re.fullmatch(r".+:\d+", address):
        raise UserError(f"address must be auto or HOST:PORT, got {address!r}")
    # set explicitly, so that Ray neither writes a token into the home folder nor prints messages about it
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
            _check_cluster(address)
        _start(address)
    try:
        if nodes is not None:
            _wait_for_nodes(nodes)
        capable = _capable_nodes(spec)
        if address is not None or not started:
            _check_versions(capable)
        with contextlib.nullcontext() if started else _released_groups():
            yield started and address is None
    finally:
        if started:
            ray.shutdown()


@contextlib.contextmanager
def _released_groups() -> Iterator[None]:
    """Release the placement groups that Tune still holds after an interruption; else they block a Ray that goes on."""
    import ray
    from ray.util import placement_group_table, remove_placement_group
    from ray.util.placement_group import PlacementGroup

    before = set(placement_group_table())
    try:
        yield
    finally:
        job = ray.get_runtime_context().get_job_id()
        for name, group in placement_group_table().items():
            # the name of a group ends with its job
            if name.endswith(job) and name not in before and group["state"] != "REMOVED":
                remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))


def _start(address: str | None) -> None:
    import ray

    # CPUs are given explicitly, since Ray's own count ignores the limits that a scheduler sets for this process
    options: dict[str, Any] = (
        {"address": address} if address else {"num_cpus": joblib.cpu_count(), "include_dashboard": False}
    )
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise UserError(f"Ray at {address or 'this machine'} could not be reached: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own handler prints a stack trace and ends the process


def _check_cluster(address: str) -> None:
    """Check in a separate process that a cluster answers: Ray tries for a minute, then ends its own process."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S / 2).close()
        except (OSError, OverflowError) as error:
            raise UserError(
                f"no Ray cluster at {address}: {error}. The address must be that of the head node, as `ray start` "
                f"prints it there. Use --address auto for a cluster on this machine."
            ) from error
    with subprocess.Popen(
        [sys.executable, "-c", _PROBE, address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as probe:
        try:
            assert probe.stdout is not None
            probe.stdout.readline()  # the import has no time limit: it is slow on a shared file system
            output, errors = probe.communicate(timeout=CONNECT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            probe.kill()
            output, errors = probe.communicate()
        except BaseException:
            probe.kill()
            raise
    if probe.returncode == 0:
        return
    if "InvalidAuthToken" in errors or "AuthenticationError" in output:
        raise UserError(
            f"the Ray cluster at {address} does not accept this token. Give the token of the head node by "
            f"RAY_AUTH_TOKEN_PATH=FILE (or ~/.ray/auth_token), with RAY_AUTH_MODE=token."
        )
    reason = output.strip().removeprefix("imported").strip() or f"no answer within {CONNECT_TIMEOUT_S:g} s"
    raise UserError(f"the Ray cluster at {address} cannot be used: {reason}")


def _alive_nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _wait_for_nodes(nodes: int) -> None:
    deadline_s = time.monotonic() + NODES_TIMEOUT_S
    while len(alive := _alive_nodes()) < nodes:
        if time.monotonic() > deadline_s:
            raise UserError(
                f"Timed out after {NODES_TIMEOUT_S:g} s waiting for {nodes} nodes; the cluster has {len(alive)}. Lower "
                f"--nodes or start more nodes."
            )
        time.sleep(0.5)


def _capable_nodes(spec: Spec) -> list[dict[str, Any]]:
    """Return the nodes that can train a pack. Raise UserError if there is none."""
    asked = {"CPU": spec.resources.cpu, "GPU": spec.resources.gpu}
    nodes = _alive_nodes()
    capable = [node for node in nodes if all(node["Resources"].get(kind, 0) >= asked[kind] for kind in KINDS)]
    if capable:
        return capable
    most = {kind: max((node["Resources"].get(kind, 0) for node in nodes), default=0) for kind in KINDS}
    lacking = [KINDS[kind] for kind in KINDS if asked[kind] > most[kind]] or list(KINDS.values())
    available = Counter(", ".join(f"{node['Resources'].get(kind, 0):g} {kind}" for kind in KINDS) for node in nodes)
    raise UserError(
        f"{', '.join(f'resources.{kind}' for kind in lacking)}: each pack asks for {asked['CPU']:g} CPU and "
        f"{asked['GPU']:g} GPU on one node, but Ray here has "
        f"{'; '.join(f'{count} x ({size})' for size, count in available.items()) or 'no nodes'}. Ask for less: "
        f"{' '.join(f'--set resources.{kind}=N' for kind in lacking)}"
    )


def _check_versions(nodes: list[dict[str, Any]]) -> None:
    """Raise UserError if one of the nodes that may train packs would run other code than this process."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    cloudpickle.register_pickle_by_value(ray_node_versions)
    try:
        installed = ray.remote(num_cpus=0, max_retries=0)(ray_node_versions.installed)
        answers = {
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})": installed.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote()
            for node in nodes
        }
    finally:
        cloudpickle.unregister_pickle_by_value(ray_node_versions)
    end_s, versions = time.monotonic() + ANSWER_TIMEOUT_S, {}
    for name, answer in answers.items():
        try:
            versions[name] = ray.get(answer, timeout=max(end_s - time.monotonic(), 1.0))
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or ["no reason given"]
            raise UserError(f"node {name} of the cluster could not report its versions: {lines[-1]}") from error
    if differences := ray_node_versions.differences(ray_node_versions.installed(), versions):
        raise UserError(
            "every node of the cluster must have the versions of this process, else results depend on where a pack is "
            "trained. Install the same on each node:\n" + "\n".join(f"  {line}" for line in differences)
        )
