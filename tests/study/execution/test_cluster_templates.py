"""Templates for clusters: valid by the tools' own schemas, the study's resources in them, and no door left open."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from study import load_spec, open_study
from study.errors import UserError
from study.execution.cluster_templates import TEMPLATES, Shape, render, shape
from tests.helpers.command_line import run_command

GPU = ["--set=resources.gpu=0.25", "--set=resources.cpu=2"]


def printed(kind: str, *arguments: str) -> str:
    """What the command prints."""
    done = run_command("cluster-template", kind, *arguments)
    assert done.status == 0, done.err
    return done.out


@pytest.mark.parametrize(
    ("changes", "given", "expected"),
    [
        ({}, {}, Shape(4, 8, 0)),
        ({"cpu": 12}, {}, Shape(4, 12, 0)),
        ({"cpu": 2, "gpu": 0.25}, {}, Shape(4, 8, 1)),  # four packs share a GPU
        ({"cpu": 2, "gpu": 0.3}, {}, Shape(4, 6, 1)),  # three do
        ({"cpu": 4, "gpu": 2}, {}, Shape(4, 4, 2)),
        ({"cpu": 1, "gpu": 0.25}, {"gpus": 8}, Shape(4, 32, 8)),
        ({"cpu": 1, "gpu": 0.25}, {"cpus": 96, "gpus": 8}, Shape(4, 96, 8)),
    ],
)
def test_a_node_is_as_large_as_its_packs_ask_for(
    small: Callable[..., Any], changes: dict[str, float], given: dict[str, int], expected: Shape
) -> None:
    assert shape(small({"resources": changes}), 4, **given) == expected


def test_a_node_on_which_no_pack_fits(small: Callable[..., Any]) -> None:
    spec = small({"resources": {"cpu": 4, "gpu": 1}})
    for given in ({"cpus": 2}, {"cpus": 8, "gpus": 0}):
        with pytest.raises(UserError, match="must have what a pack asks for, 4 CPU and 1 GPU, got "):
            shape(spec, 1, **given)


def test_an_unknown_kind(small: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="must be one of slurm, kuberay, ray-up, compose, got 'pbs'"):
        render("pbs", small(), "quick", [], Shape(1, 1, 0))


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("options", [[], GPU], ids=["cpu", "gpu"])
def test_what_every_template_says(kind: str, options: list[str]) -> None:
    text = printed(kind, "quick", "--nodes=3", *options)
    assert "@{" not in text
    assert len(re.findall(r"num-cpus[=:]", text)) >= 1
    assert ('num-gpus: "1"' in text or "--num-gpus=1" in text) is bool(options)
    assert "RAY_USAGE_STATS_ENABLED" in text
    assert "object-store-memory" in text
    assert "0.0.0.0" not in text
    packs = "12 packs at once, each with 2 CPU and 0.25 GPU" if options else "24 packs at once, each with 1 CPU"
    assert f"{packs}" in text
    if kind != "kuberay":  # which holds the whole spec
        assert f"dmd-study run quick {' '.join(options)}".strip() in text
        # the token is made where the file is used, and is never in it
        assert "RAY_AUTH_MODE" in text
        assert not re.search(r"RAY_AUTH_TOKEN[=:] *['\"]?[0-9a-z]{8}", text)


@pytest.mark.parametrize("options", [[], GPU], ids=["cpu", "gpu"])
def test_slurm_is_a_shell_script_for_nodes_that_nobody_shares(tmp_path: Path, options: list[str]) -> None:
    script = tmp_path / "job.sh"
    script.write_text(printed("slurm", "figure3", "--set=resources.gpu=0", "--nodes=3", *options))
    subprocess.run(["bash", "-n", script], check=True)
    directives = re.findall(r"^#SBATCH --(\S+)", script.read_text(), flags=re.MULTILINE)
    assert {"nodes=3", "ntasks-per-node=1", "cpus-per-task=8", "exclusive", "signal=B:TERM@120"} <= set(directives)
    assert ("gpus-per-node=1" in directives) is bool(options)


def test_kuberay_has_valid_pods_and_holds_the_spec() -> None:
    documents = list(yaml.safe_load_all(printed("kuberay", "figure3", "--nodes=3")))
    config, claim, job = documents
    for document in (config, claim):
        kubernetes_validate.validate(document, "1.37", strict=True)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    (group,) = cluster["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == 3
    assert group["rayStartParams"]["num-cpus"] == "4"
    for part in (cluster["headGroupSpec"], group):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **part["template"]}
        pod["metadata"] = {"name": "x", **part["template"].get("metadata", {})}
        kubernetes_validate.validate(pod, "1.37", strict=True)
        (container,) = pod["spec"]["containers"]
        assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container["volumeMounts"]
        assert pod["spec"]["shareProcessNamespace"] is True
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
    held = load_spec(yaml.safe_load(config["data"]["spec.yaml"]))
    assert held.to_dict() == load_spec("figure3").to_dict()
    assert job["spec"]["entrypoint"].endswith("--out /results/figure3 --address auto --nodes 4")


def test_names_that_kubernetes_would_not_take(small: Callable[..., Any]) -> None:
    for name in ("Figure_3.b-", "3", "x" * 64):
        job = list(yaml.safe_load_all(render("kuberay", small({"name": name}), "s.yaml", [], Shape(1, 1, 0))))[-1]
        assert re.fullmatch("[a-z]([-a-z0-9]{0,45}[a-z0-9])?", job["metadata"]["name"])


def test_ray_up_meets_the_schema_of_ray() -> None:
    config = yaml.safe_load(printed("ray-up", "quick", "--nodes=3", *GPU))
    schema = json.loads(resources.files("ray.autoscaler").joinpath("ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    assert config["provider"]["worker_ips"] == ["WORKER-1-ADDRESS", "WORKER-2-ADDRESS", "WORKER-3-ADDRESS"]
    assert {"--init", "--shm-size=3g", "--gpus=all"} <= set(config["docker"]["run_options"])
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]
    assert head.startswith("RAY_AUTH_MODE=token ")
    assert "--num-cpus=0 " in head
    assert worker.startswith("RAY_AUTH_MODE=token ")
    assert "--num-cpus=8 --num-gpus=1 " in worker


def test_compose_meets_the_schema_of_compose_and_publishes_no_port() -> None:
    config = yaml.safe_load(printed("compose", "quick", "--nodes=3", *GPU))
    place = resources.files("check_jsonschema").joinpath("builtin_schemas", "vendor", "compose-spec.json")
    jsonschema.validate(config, json.loads(place.read_text()))
    for service in config["services"].values():
        assert service["init"] is True
        assert service["shm_size"] == "3gb"
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["secrets"] == ["ray_token"]
        assert "ports" not in service
        assert "network_mode" not in service
    deploy = config["services"]["worker"]["deploy"]
    assert deploy["replicas"] == 3
    assert deploy["resources"]["limits"]["cpus"] == "8"
    assert deploy["resources"]["reservations"]["devices"][0]["count"] == 1


SHIMS = {
    "scontrol": 'echo "$3"',
    "hostname": "echo 127.0.0.1",
    # a step on this very machine: what follows srun's own options
    "srun": 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"',
}


@pytest.mark.slow
def test_the_slurm_script_runs_a_study_on_a_node(tmp_path: Path, environment: dict[str, str]) -> None:
    """The very script, on a node that is this machine, with Slurm's own commands stood in for."""
    shims = tmp_path / "shims"
    shims.mkdir()
    for name, line in SHIMS.items():
        (shims / name).write_text(f"#!/bin/bash\n{line}\n")
        (shims / name).chmod(0o755)
    (tmp_path / "spec.yaml").write_text(
        "{name: one, problem: {name: quadratic}, network: {hidden: []}, training: {epochs: 24},"
        " axes: {m: [4, 6], s: [2], tolerance: [1e-6]}}"
    )
    (tmp_path / "job.sh").write_text(printed("slurm", str(tmp_path / "spec.yaml"), "--nodes=1", "--cpus=1"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
    job = {
        "PATH": f"{shims}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "here",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_END_TIME": str(int(time.time()) + 900),
    }
    inherited = {name: value for name, value in environment.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(
        ["bash", "job.sh"], cwd=tmp_path, env=inherited | job, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(open_study(tmp_path / "results" / "one").table()) == 2
    assert "2 finished" in done.stdout
