"""Commands that put a study on a cluster."""

from typing import Annotated

import typer

from study.cli.console import out_console


def cluster_template(
    kind: Annotated[str, typer.Argument(help="slurm, kuberay, ray-up or compose.")],
    spec: Annotated[str, typer.Argument(help="A spec (YAML file) or the name of a preset.")] = "quick",
    nodes: Annotated[int, typer.Option(help="Nodes that train.", min=1)] = 4,
    cpus: Annotated[
        int | None, typer.Option(help="CPUs of a node; by default what the packs that fit on its GPUs ask for.", min=1)
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs of a node; by default what one pack asks for.", min=0)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: override a key, e.g. resources.gpu=0.25.")
    ] = None,
) -> None:
    """Print the file that runs a study on a cluster, with its resources filled in."""
    from study.execution import cluster_templates
    from study.specification import load_spec

    loaded = load_spec(spec, set_ or [])
    text = cluster_templates.render(kind, loaded, spec, set_ or [], cluster_templates.shape(loaded, nodes, cpus, gpus))
    out_console.out(text, end="", highlight=False)
