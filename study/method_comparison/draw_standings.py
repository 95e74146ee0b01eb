"""Figure of the standings against plain training at equal cost: a panel for each problem, a line for each method."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from study.analysis.figures.style import INK, LINES, StudyFigure, caption, house_style, label_plainly, legend_below
from study.method_comparison.standings import STEPS, TIME, Standing, methods_of, short_number

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
"""Unit, split, words and look of each mark, and its offset from the centre of a method's line."""
_PANEL_IN = 2.4
"""Width of a panel in inches."""
_WIDEST = (1e-2, 1e2)
"""Smallest and largest ratio that an axis can reach; ratios outside are written at its edge."""


def draw_standings(name: str, scale: Mapping[str, str], standings: Sequence[Standing]) -> Figure:
    """Draw the loss ratio of each method to plain training: medians as marks, bars from the lowest to the highest seed.

    Args:
        name: Name of the comparison.
        scale: Problem -> its size and training, as text; it is printed below the problem's name.
        standings: Standings of all methods on all problems.

    Raises:
        ValueError: No method has a ratio.
    """
    controls = methods_of(standings)
    methods = list(controls)
    if not any(standing.ratios for standing in standings):
        raise ValueError("no method has a ratio to plain training: there is nothing to draw")
    with house_style():
        figure = StudyFigure(
            figsize=(_PANEL_IN * len(scale) + 1.2, 0.42 * len(methods) + 2.6),
            layout=ConstrainedLayoutEngine(wspace=0.03),
        )
        panels = figure.subplots(1, len(scale), sharey=True, squeeze=False)[0]
        sizes = [textwrap.fill(words, int(_PANEL_IN / 0.06)) for words in scale.values()]
        lines = max(text.count("\n") for text in sizes)
        for axes, problem, text in zip(panels, scale, sizes, strict=True):
            on_problem = {standing.method: standing for standing in standings if standing.problem == problem}
            _draw_panel(axes, on_problem, methods)
            axes.set_title(problem + "\n" * (lines + 1), loc="left", fontweight="bold")
            text += "\n" * (lines - text.count("\n"))
            axes.text(0, 1.01, text, transform=axes.transAxes, fontsize=7, va="bottom", color=INK)
            axes.set_xlabel("loss / loss of plain training")
        panels[0].set_yticks(range(len(methods)), [f"{m} (control)" if controls[m] else m for m in methods])
        panels[0].set_ylim(len(methods) - 0.5, -0.5)
        seeds = max(len(ratios) for standing in standings for ratios in standing.ratios.values())
        text = (
            f"Compared with tuned plain training at equal cost. Marks: median over {seeds} seeds; bars: lowest to "
            f"highest seed. Left of the line: better than plain training. Triangles: outside the axis."
        )
        legend_below(
            figure,
            [Line2D([], [], linestyle="none", **look) for _, _, _, look, _ in _MARKS],
            [words for _, _, words, _, _ in _MARKS],
            caption(figure, text),
            ncols=3 if figure.get_figwidth() > 9 else 1,
        )
        figure.suptitle(f"{name}: every method with its own best parameters", fontweight="bold")
    return figure


def _draw_panel(axes: Axes, by_method: Mapping[str, Standing], methods: Sequence[str]) -> None:
    ratios = [ratio for standing in by_method.values() for values in standing.ratios.values() for ratio in values]
    finite = [ratio for ratio in ratios if 0 < ratio < math.inf]
    low, high = (min(max(value, _WIDEST[0]), _WIDEST[1]) for value in (min([*finite, 0.5]), max([*finite, 2.0])))
    low, high = low / (high / low) ** 0.08, high * (high / low) ** 0.08
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    label_plainly(axes.xaxis)
    axes.axvline(1, color=INK, linewidth=0.9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#ececec", linewidth=0.6)
    for line, method in enumerate(methods):
        if line % 2:
            axes.axhspan(line - 0.5, line + 0.5, color="#f6f6f6", zorder=0)
        standing = by_method.get(method)
        if standing is None or not standing.ratios:
            words = "not compared" if standing is None else "diverged in tuning"
            middle = axes.get_yaxis_transform()
            axes.text(0.5, line, words, fontsize=7, va="center", ha="center", color="#7f7f7f", transform=middle)
            continue
        for unit, split, _, look, offset in _MARKS:
            median, lowest, highest = standing.middle(unit, split)
            y = line + offset
            axes.plot([max(lowest, low), min(highest, high)], [y, y], color=look["color"], linewidth=1.2)
            if low <= median <= high:
                axes.plot([median], [y], **({"markersize": 5} | look), zorder=3)
                continue
            below = median < low
            edge = low if below else high
            axes.plot([edge], [y], marker="<" if below else ">", color=look["color"], markersize=4, clip_on=False)
            shift, side = (5, "left") if below else (-5, "right")
            axes.annotate(
                short_number(median), (edge, y), (shift, 0), textcoords="offset points", ha=side, va="center",
                fontsize=6.5, color=look["color"], bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
