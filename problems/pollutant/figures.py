"""Figures 2, 6 and 7 of the paper, drawn from the solver of this package."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, TriMesh
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.tri import Triangulation
from numpy.typing import NDArray

from problems.pollutant.dataset import RANGES
from problems.pollutant.flow import wind
from problems.pollutant.transport import HEIGHT, WIDTH, Transport

Array = NDArray[np.float64]

CENTRE: dict[str, float] = {"K12": 10.0, "K3": 2.0, "D": 0.1, "U0": 0.5, "u_h": 0.0, "u_v": 0.0}
"""Sample whose parameters Figure 2 varies one at a time, to both ends of their ranges (the paper names no sample)."""
EXAMPLE: dict[str, float] = {"K12": 10.0, "K3": 2.0, "D": 0.05, "U0": 0.05, "u_h": 0.01, "u_v": 0.0}
"""Sample of Figures 6 and 7: a light wind, whose boundary layer is thick enough to be seen."""

SYMBOLS = {"K12": "$K_{12}$", "K3": "$K_3$", "D": "$D$", "U0": "$U_0$", "u_h": "$u_h$", "u_v": "$u_v$"}
SEQUENTIAL, DIVERGING = "viridis", "PuOr_r"
"""Colour maps that stay readable without red-green vision."""
_NOTEBOOK_DPI = 80


class NotebookFigure(Figure):
    """A figure of no window that shows itself in a notebook, whatever matplotlib's backend is."""

    def _repr_png_(self) -> bytes:
        """Return the picture as PNG, which a notebook asks for."""
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=_NOTEBOOK_DPI)
        return picture.getvalue()


@dataclass(frozen=True)
class Fields:
    """One steady state at the nodes, each (nodes,)."""

    u_x: Array
    u_y: Array
    c1: Array
    c2: Array
    c3: Array


def solve(transport: Transport, parameters: Mapping[str, float]) -> Fields:
    """Return velocities and concentrations for parameters named as in `RANGES`."""
    velocity = wind(parameters["U0"], parameters["u_h"], parameters["u_v"])
    solution = transport.solve(velocity, parameters["K12"], parameters["K3"], parameters["D"])
    u_x, u_y = velocity(*transport.nodes.T)
    return Fields(u_x, u_y, solution.c1, solution.c2, solution.c3)


def draw(folder: Path, nodes_x: int = 89, nodes_y: int = 30) -> list[Path]:
    """Write the three figures as PNG and PDF, and return the files.

    Args:
        folder: where to write; made if missing.
        nodes_x: number of mesh nodes along the ground.
        nodes_y: number of mesh nodes above the ground.
    """
    folder.mkdir(parents=True, exist_ok=True)
    transport = Transport(nodes_x, nodes_y)
    figures: dict[str, Callable[[Transport], Figure]] = {
        "figure2-one-parameter-at-a-time": one_at_a_time,
        "figure6-mesh-and-wind": mesh_and_wind,
        "figure7-concentrations": concentrations,
    }
    files = []
    for name, make in figures.items():
        figure = make(transport)
        for suffix in ("png", "pdf"):
            file = folder / f"{name}.{suffix}"
            figure.savefig(file, dpi=150)
            files.append(file)
    return files


def one_at_a_time(transport: Transport) -> Figure:
    """Draw Figure 2: c3 with each parameter at the low end of its range, at the centre, and at the high end."""
    figure = NotebookFigure(figsize=(11, 12.5), layout=ConstrainedLayoutEngine(wspace=0.06))
    figure.suptitle(
        f"Pollutant $c_3$ (colours by its square root), one parameter varied at a time around\n{_named(CENTRE)}"
    )
    rows = figure.subplots(len(RANGES), 3, sharex=True, sharey=True)
    centre = solve(transport, CENTRE).c3
    for axes, (name, (low, high)) in zip(rows, RANGES.items(), strict=True):
        values = (low, CENTRE[name], high)
        fields = [solve(transport, {**CENTRE, name: low}).c3, centre, solve(transport, {**CENTRE, name: high}).c3]
        largest = max(float(c.max()) for c in fields)
        for ax, value, c in zip(axes, values, fields, strict=True):
            image = _field(ax, transport, np.maximum(c, 0.0), SEQUENTIAL, PowerNorm(0.5, 0.0, largest))
            ax.set_title(f"{SYMBOLS[name]} = ${value:g}$", fontsize="medium")
        axes[0].set_ylabel("$y$")
        # one scale per row, by the square root, so that colours of a row compare over a decade and more
        figure.colorbar(image, ax=list(axes), label="$c_3$", pad=0.01, shrink=0.85)
    for ax in rows[-1]:
        ax.set_xlabel("$x$")
    return figure


def mesh_and_wind(transport: Transport) -> Figure:
    """Draw Figure 6: the mesh, and an example of the two velocities."""
    fields = solve(transport, EXAMPLE)
    figure = NotebookFigure(figsize=(7, 10), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, sharey=True)
    axes[0].triplot(_triangles(transport), linewidth=0.3, color="0.2")
    axes[0].set_title(
        f"Mesh, {transport.nodes_x} x {transport.nodes_y} = {len(transport.nodes)} nodes", fontsize="medium"
    )
    _frame(axes[0])
    for ax, u, symbol, words in (
        (axes[1], fields.u_x, "$u_x$", "Horizontal"),
        (axes[2], fields.u_y, "$u_y$", "Vertical"),
    ):
        signed = u.min() < 0.0 < u.max()
        reach = float(np.abs(u).max())
        norm = Normalize(-reach, reach) if signed else Normalize(u.min(), u.max())
        image = _field(ax, transport, u, DIVERGING if signed else SEQUENTIAL, norm)
        ax.set_title(f"{words} velocity {symbol} at {_named(EXAMPLE, 'U0', 'u_h', 'u_v')}", fontsize="medium")
        figure.colorbar(image, ax=ax, label=symbol, pad=0.01, shrink=0.85)
    for ax in axes:
        ax.set_ylabel("$y$")
    axes[-1].set_xlabel("$x$")
    return figure


def concentrations(transport: Transport) -> Figure:
    """Draw Figure 7: the two reactants and the pollutant for one sample."""
    fields = solve(transport, EXAMPLE)
    figure = NotebookFigure(figsize=(7, 10), layout="constrained")
    figure.suptitle(f"Concentrations at {_named(EXAMPLE)}", fontsize="medium")
    axes = figure.subplots(3, 1, sharex=True, sharey=True)
    for ax, c, symbol, words in (
        (axes[0], fields.c1, "$c_1$", "Reactant 1"),
        (axes[1], fields.c2, "$c_2$", "Reactant 2"),
        (axes[2], fields.c3, "$c_3$", "Pollutant"),
    ):
        image = _field(ax, transport, c, SEQUENTIAL, Normalize(0.0, float(c.max())))
        ax.set_title(f"{words}, {symbol}", fontsize="medium")
        ax.set_ylabel("$y$")
        figure.colorbar(image, ax=ax, label=symbol, pad=0.01, shrink=0.85)
    axes[-1].set_xlabel("$x$")
    return figure


def _field(ax: Axes, transport: Transport, values: Array, colours: str, norm: Normalize) -> PolyCollection | TriMesh:
    image = ax.tripcolor(_triangles(transport), values, shading="gouraud", cmap=colours, norm=norm, rasterized=True)
    _frame(ax)
    return image


def _frame(ax: Axes) -> None:
    ax.set(xlim=(0.0, WIDTH), ylim=(0.0, HEIGHT), aspect="equal")


def _triangles(transport: Transport) -> Triangulation:
    return Triangulation(transport.nodes[:, 0], transport.nodes[:, 1], transport.corners)


def _named(parameters: Mapping[str, float], *names: str) -> str:
    return ", ".join(f"{SYMBOLS[name]} = ${parameters[name]:g}$" for name in names or parameters)
