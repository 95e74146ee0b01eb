"""Files that run a study on a cluster: one per kind of cluster, with the resources of the study filled in."""

import math
import re
import shlex
import string
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version

import yaml

from study.errors import UserError
from study.specification import Spec

TEMPLATES = {"slurm": "slurm.sh", "kuberay": "kuberay.yaml", "ray-up": "ray-up.yaml", "compose": "compose.yaml"}
"""Kind of cluster -> file name of its template."""

DEFAULT_CPUS = 8
"""CPUs of a node that trains without GPUs; more if a pack needs more."""


class _Template(string.Template):
    """Template with @ as its delimiter, since a shell script is full of dollar signs."""

    delimiter = "@"


@dataclass(frozen=True)
class Shape:
    """Size of a cluster.

    Attributes:
        nodes: number of nodes that train.
        cpus: CPUs of each of them.
        gpus: GPUs of each of them.
    """

    nodes: int
    cpus: int
    gpus: int


def shape(spec: Spec, nodes: int, cpus: int | None = None, gpus: int | None = None) -> Shape:
    """Return the size of a cluster whose nodes can train packs of this study.

    Args:
        spec: the study; its resources are those of each pack.
        nodes: number of nodes.
        cpus: CPUs of each node; by default as many as the packs that share its GPUs need, 8 without a GPU.
        gpus: GPUs of each node; by default as many as one pack needs.

    Raises:
        UserError: a node is too small for a pack.
    """
    asked = spec.resources
    gpus = math.ceil(asked.gpu) if gpus is None else gpus
    if cpus is None:
        packs = math.floor(gpus / asked.gpu + 1e-9) if asked.gpu else 0
        cpus = (
            max(math.ceil(asked.cpu), math.ceil(packs * asked.cpu))
            if packs
            else max(DEFAULT_CPUS, math.ceil(asked.cpu))
        )
    if cpus < asked.cpu or gpus < asked.gpu:
        raise UserError(
            f"a node must have what a pack asks for, {asked.cpu:g} CPU and {asked.gpu:g} GPU, got {cpus} and {gpus}. "
            f"Give --cpus and --gpus, or change resources in the spec."
        )
    return Shape(nodes, cpus, gpus)


def render(kind: str, spec: Spec, source: str, overrides: Sequence[str], size: Shape) -> str:
    """Return the text of the file for one kind of cluster.

    Args:
        kind: one of `TEMPLATES`.
        spec: the study.
        source: source that the spec was loaded from, as ``dmd-study run`` gets it on the cluster.
        overrides: ``key=value`` strings that the spec was loaded with.
        size: size of the cluster, from `shape`.

    Raises:
        UserError: the kind is unknown.
    """
    if kind not in TEMPLATES:
        raise UserError(f"the kind of cluster must be one of {', '.join(TEMPLATES)}, got {kind!r}")
    text = resources.files("study.execution.cluster_templates").joinpath(TEMPLATES[kind]).read_text(encoding="utf-8")
    # Kubernetes allows no other characters, and appends to the name
    label = re.sub("[^a-z0-9]+", "-", f"dmd-{spec.name.lower()}")[:40].strip("-")
    gpu = bool(size.gpus)
    return _Template(text).substitute(
        name=spec.name,
        label=label,
        spec=shlex.join([source, *(f"--set={override}" for override in overrides)]),
        out=shlex.quote(f"results/{spec.name}"),
        spec_yaml=_indented(yaml.safe_dump(spec.to_dict(), sort_keys=False), 4),
        version=version("dmd-study"),
        ray=version("ray"),
        nodes=size.nodes,
        nodes_and_head=size.nodes + 1,
        cpus=size.cpus,
        gpus=size.gpus,
        pack=f"{spec.resources.cpu:g} CPU" + (f" and {spec.resources.gpu:g} GPU" if gpu else ""),
        packs=_packs_at_once(spec, size),
        worker_ips=", ".join(f"WORKER-{k + 1}-ADDRESS" for k in range(size.nodes)),
        slurm_gpus=f"#SBATCH --gpus-per-node={size.gpus}\n" if gpu else "",
        kuberay_gpus=f'{" " * 20}nvidia.com/gpu: "{size.gpus}"\n' if gpu else "",
        ray_up_gpus='    - "--gpus=all"\n' if gpu else "",
        compose_gpus=_COMPOSE_GPUS.format(gpus=size.gpus) if gpu else "",
    )


_COMPOSE_GPUS = """\
        reservations:
          devices:
            - {{driver: nvidia, count: {gpus}, capabilities: [gpu]}}
"""


def _packs_at_once(spec: Spec, size: Shape) -> int:
    """Return the number of packs that the cluster trains at the same time."""
    per_node = [size.cpus / spec.resources.cpu]
    if spec.resources.gpu:
        per_node.append(size.gpus / spec.resources.gpu)
    return size.nodes * math.floor(min(per_node) + 1e-9)


def _indented(text: str, spaces: int) -> str:
    return "".join(f"{' ' * spaces}{line}" for line in text.splitlines(keepends=True))
