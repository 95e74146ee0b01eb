"""How methods stand against plain training at equal cost, a panel for each problem, a line for each method."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from study.analysis.figures.style import INK, LINES, StudyFigure, caption, house_style, label_plainly, legend_below
from study.method_comparison.standings import STEPS, TIME, Standing, methods_of, number

_MARKS: tuple[tuple[str, str, str, dict[str, Any], float], ...] = (
    (STEPS, "test", "test loss, equal step equivalents", {"marker": "o", "color": LINES[1]["color"]}, -0.22),
    (
        STEPS,
        "train",
        "training loss, equal step equivalents",
        {"marker": "o", "color": LINES[5]["color"], "markerfacecolor": "white"},
        0.0,
    ),
    (TIME, "test", "test loss, equal wall time", {"marker": "D", "color": LINES[6]["color"], "markersize": 4.5}, 0.22),
)
"""Way, split, words, look, and the height within a method's line."""
_PANEL_IN = 2.4
"""Width of a panel in inches."""
_WIDEST = (1e-2, 1e2)
"""Ratios that an axis reaches at most; what lies beyond is written at its edge."""


def draw_standings(name: str, scale: Mapping[str, str], standings: Sequence[Standing]) -> Figure:
    """Loss over that of plain training, a mark at the median over seeds, a bar from the lowest to the highest seed.

    ``scale``: problem -> what was trained, printed below its name.
    Raises ValueError where there is nothing to draw.
    """
    controls = methods_of(standings)
    methods = list(controls)
    if not any(one.ratios for one in standings):
        raise ValueError("no method has a ratio to plain training: there is nothing to draw")
    with house_style():
        figure = StudyFigure(
            figsize=(_PANEL_IN * len(scale) + 1.2, 0.42 * len(methods) + 2.6),
            layout=ConstrainedLayoutEngine(wspace=0.03),
        )
        panels = figure.subplots(1, len(scale), sharey=True, squeeze=False)[0]
        said = [textwrap.fill(words, int(_PANEL_IN / 0.06)) for words in scale.values()]
        lines = max(text.count("\n") for text in said)
        for axes, problem, text in zip(panels, scale, said, strict=True):
            _draw_panel(axes, {one.method: one for one in standings if one.problem == problem}, methods)
            axes.set_title(problem + "\n" * (lines + 1), loc="left", fontweight="bold")
            text += "\n" * (lines - text.count("\n"))
            axes.text(0, 1.01, text, transform=axes.transAxes, fontsize=7, va="bottom", color=INK)
            axes.set_xlabel("loss / plain training's")
        panels[0].set_yticks(range(len(methods)), [f"{m} (control)" if controls[m] else m for m in methods])
        panels[0].set_ylim(len(methods) - 0.5, -0.5)
        seeds = max(len(found) for one in standings for found in one.ratios.values())
        words = (
            f"Against plain training, its learning rate tuned, that has cost as much: median over {seeds} seeds, bars "
            f"from the lowest to the highest. Left of the line is better. Triangles: beyond the axis."
        )
        legend_below(
            figure,
            [Line2D([], [], linestyle="none", **look) for _, _, _, look, _ in _MARKS],
            [said for _, _, said, _, _ in _MARKS],
            caption(figure, words),
            ncols=3,
        )
        figure.suptitle(f"{name}: every method with its own best parameters", fontweight="bold")
    return figure


def _draw_panel(axes: Axes, own: Mapping[str, Standing], methods: Sequence[str]) -> None:
    finite = [r for one in own.values() for found in one.ratios.values() for r in found if 0 < r < math.inf]
    low, high = (min(max(value, _WIDEST[0]), _WIDEST[1]) for value in (min([*finite, 0.5]), max([*finite, 2.0])))
    low, high = low / (high / low) ** 0.08, high * (high / low) ** 0.08
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    label_plainly(axes.xaxis)
    axes.axvline(1, color=INK, linewidth=0.9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#ececec", linewidth=0.6)
    for place, method in enumerate(methods):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="#f6f6f6", zorder=0)
        one = own.get(method)
        if one is None or not one.ratios:
            said = "not compared" if one is None else "diverged in tuning"
            middle = axes.get_yaxis_transform()
            axes.text(0.5, place, said, fontsize=7, va="center", ha="center", color="#7f7f7f", transform=middle)
            continue
        for way, split, _, look, height in _MARKS:
            median, lowest, highest = one.middle(way, split)
            y = place + height
            axes.plot([max(lowest, low), min(highest, high)], [y, y], color=look["color"], linewidth=1.2)
            if low <= median <= high:
                axes.plot([median], [y], **({"markersize": 5} | look), zorder=3)
                continue
            below = median < low
            edge = low if below else high
            axes.plot([edge], [y], marker="<" if below else ">", color=look["color"], markersize=4, clip_on=False)
            said, side = number(median), "left" if below else "right"
            axes.annotate(
                said, (edge, y), (5 if below else -5, 0), textcoords="offset points", ha=side, va="center",
                fontsize=6.5, color=look["color"], bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
