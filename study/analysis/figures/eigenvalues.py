"""Eigenvalues of the operators that jumps were made with, on the unit circle."""

import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine

from study.analysis.figures.picture import FigureOptions, Picture, cells_to_show
from study.analysis.figures.style import INK, RC, StudyFigure, caption, cell_label, house_style
from study.analysis.statistics.study_data import StudyData

_REACH = 1.6


def draw_eigenvalues(data: StudyData, options: FigureOptions) -> Picture:
    """Every eigenvalue of a cell's jumps, all groups, coloured by when; outside the circle a mode grows with s.

    Of the best cell by the final loss, or the one chosen with ``at``; of the first seed. Eigenvalues farther out than
    the page are counted. Raises ValueError where no cell can be told, or it did not jump, or ``spectrum`` is None.
    """
    words, cell = next(iter(cells_to_show(data, options.at).items()))
    if data.spectrum is None:
        raise ValueError(
            "eigenvalues are not recorded; `dmd-study figures DIR --only eigenvalues` trains the cell once more"
        )
    seed = data.seeds[0]
    frame = data.spectrum(cell, seed)
    if frame.empty:
        raise ValueError(f"the cell {cell_label(cell)} has not jumped: there is nothing to draw")
    beyond = int((np.hypot(frame["real"], frame["imag"]) > _REACH).sum())
    with house_style():
        figure = StudyFigure(figsize=(6.2, 5.6), layout=ConstrainedLayoutEngine())
        axes = figure.subplots()
        turn = np.linspace(0, 2 * np.pi, 400)
        axes.plot(np.cos(turn), np.sin(turn), color=INK, linewidth=0.9)
        points = axes.scatter(
            frame["real"], frame["imag"], c=frame["epoch"], cmap="cividis", s=12, linewidths=0, zorder=3
        )
        axes.set_aspect("equal")
        axes.set_xlim(-_REACH, _REACH)
        axes.set_ylim(-_REACH, _REACH)
        axes.set_xlabel(r"Re $\lambda$")
        axes.set_ylabel(r"Im $\lambda$")
        axes.grid(color="#ececec", linewidth=0.6)
        figure.colorbar(points, ax=axes, pad=0.02).set_label("epoch of the jump")
        said = (
            f"{words}: {cell_label(cell)}; seed {seed}, all groups. Outside the circle a mode grows with the horizon."
        )
        if beyond:
            said += f" {beyond} of {len(frame)} eigenvalues lie beyond the page."
        figure.supxlabel(caption(figure, said), fontsize=RC["legend.fontsize"])
        figure.suptitle(f"{data.title}: eigenvalues of the jumps", fontweight="bold")
    return Picture("eigenvalues", figure, frame)
