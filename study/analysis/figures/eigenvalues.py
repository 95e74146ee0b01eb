"""Figure of the eigenvalues of the operators of jumps, with the unit circle."""

import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine

from study.analysis.figures.picture import FigureOptions, Picture, cells_to_show
from study.analysis.figures.style import INK, RC, StudyFigure, caption, cell_label, house_style
from study.analysis.statistics.study_data import StudyData

_LIMIT = 1.6
"""Largest real and imaginary part that is drawn."""


def draw_eigenvalues(data: StudyData, options: FigureOptions) -> Picture:
    """Draw every eigenvalue of a cell's jumps, in all groups, coloured by the epoch of the jump.

    A mode whose eigenvalue lies outside the circle grows with s. The cell is the best one by the final loss, or the one
    chosen with ``at``; the seed is the first. Eigenvalues outside the picture are counted. Raises ValueError if no cell
    can be chosen, if it did not jump, or if ``spectrum`` is None.
    """
    words, cell = next(iter(cells_to_show(data, options.at).items()))
    if data.spectrum is None:
        raise ValueError("eigenvalues are not recorded; `dmd-study figures --only eigenvalues` trains a cell anew")
    seed = data.seeds[0]
    frame = data.spectrum(cell, seed)
    if frame.empty:
        raise ValueError(f"the cell {cell_label(cell)} has not jumped: there is nothing to draw")
    outside = int((np.hypot(frame["real"], frame["imag"]) > _LIMIT).sum())
    with house_style():
        figure = StudyFigure(figsize=(6.2, 5.6), layout=ConstrainedLayoutEngine())
        axes = figure.subplots()
        angle = np.linspace(0, 2 * np.pi, 400)
        axes.plot(np.cos(angle), np.sin(angle), color=INK, linewidth=0.9)
        points = axes.scatter(
            frame["real"], frame["imag"], c=frame["epoch"], cmap="cividis", s=12, linewidths=0, zorder=3
        )
        axes.set_aspect("equal")
        axes.set_xlim(-_LIMIT, _LIMIT)
        axes.set_ylim(-_LIMIT, _LIMIT)
        axes.set_xlabel(r"Re $\lambda$")
        axes.set_ylabel(r"Im $\lambda$")
        axes.grid(color="#ececec", linewidth=0.6)
        figure.colorbar(points, ax=axes, pad=0.02).set_label("epoch of the jump")
        text = (
            f"{words}: {cell_label(cell)}; seed {seed}, all groups. A mode outside the circle grows with the horizon."
        )
        if outside:
            text += f" {outside} of {len(frame)} eigenvalues lie outside the picture."
        figure.supxlabel(caption(figure, text), fontsize=RC["legend.fontsize"])
        figure.suptitle(f"{data.title}: eigenvalues of the jumps", fontweight="bold")
    return Picture("eigenvalues", figure, frame)
