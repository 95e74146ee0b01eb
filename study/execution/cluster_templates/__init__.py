"""Files that put a study on a cluster: one per kind of cluster, with the study's resources filled in."""

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
"""Kinds of cluster, and the template of each."""

CPUS = 8
"""CPUs of a node, where it need not have more or fewer for the packs of its GPUs."""


class _Template(string.Template):
    """A shell script is full of dollars, and none of these files has an at sign of its own."""

    delimiter = "@"


@dataclass(frozen=True)
class Shape:
    """A cluster's size.

    nodes: nodes that train, beside whatever the head is.
    cpus, gpus: what each of them has.
    """

    nodes: int
    cpus: int
    gpus: int


def shape(spec: Spec, nodes: int, cpus: int | None = None, gpus: int | None = None) -> Shape:
    """Nodes on which packs of this study fit.

    Args:
        spec: its resources are what each pack asks for.
        nodes: how many.
        cpus: CPUs of each; by default as many as the packs that share its GPUs ask for, 8 without a GPU.
        gpus: GPUs of each; by default as many as one pack asks for.

    Raises:
        UserError: no pack fits.
    """
    asked = spec.resources
    gpus = math.ceil(asked.gpu) if gpus is None else gpus
    if cpus is None:
        packs = math.floor(gpus / asked.gpu + 1e-9) if asked.gpu else 0
        cpus = max(math.ceil(asked.cpu), math.ceil(packs * asked.cpu)) if packs else max(CPUS, math.ceil(asked.cpu))
    if cpus < asked.cpu or gpus < asked.gpu:
        raise UserError(
            f"a node must have what a pack asks for, {asked.cpu:g} CPU and {asked.gpu:g} GPU, got {cpus} and {gpus}: "
            f"give --cpus and --gpus, or change resources in the spec"
        )
    return Shape(nodes, cpus, gpus)


def render(kind: str, spec: Spec, source: str, overrides: Sequence[str], size: Shape) -> str:
    """The file for one kind of cluster.

    Args:
        kind: one of `TEMPLATES`.
        spec: the study.
        source: what the spec was loaded from, as it is given to ``dmd-study run`` on the cluster.
        overrides: ``key=value`` strings that it was loaded with.
        size: of `shape`.

    Raises:
        UserError: there is no such kind.
    """
    if kind not in TEMPLATES:
        raise UserError(f"the kind of cluster must be one of {', '.join(TEMPLATES)}, got {kind!r}")
    text = resources.files("study.execution.cluster_templates").joinpath(TEMPLATES[kind]).read_text(encoding="utf-8")
    # Kubernetes takes no other names, and adds to this one
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
        packs=_packs(spec, size),
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


def _packs(spec: Spec, size: Shape) -> int:
    """How many packs are trained at once."""
    fit = [size.cpus / spec.resources.cpu]
    if spec.resources.gpu:
        fit.append(size.gpus / spec.resources.gpu)
    return size.nodes * math.floor(min(fit) + 1e-9)


def _indented(text: str, spaces: int) -> str:
    return "".join(f"{' ' * spaces}{line}" for line in text.splitlines(keepends=True))
