"""Figure of Sobol' indices: first order and total of each axis side by side, and those of pairs."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from study.analysis.figures.style import INK, SPLIT_LABEL, StudyFigure, caption, house_style, legend_below
from study.analysis.statistics.sobol import Index, SobolIndices

_LOOK: dict[str, dict[str, Any]] = {
    "first": {"facecolor": "#0072b2", "edgecolor": "#0072b2"},
    "total": {"facecolor": "white", "edgecolor": "#0072b2", "hatch": "////"},
    "second": {"facecolor": "#e69f00", "edgecolor": "#e69f00"},
}
_LABEL = {
    "first": "first order: the axis alone",
    "total": "total: with all its interactions",
    "second": "second order: the interaction of the pair",
}


def draw_sobol(result: SobolIndices, *, title: str) -> Figure:
    """Draw bars with intervals of about 95 %: every axis on the left, every pair (if there is one) on the right."""
    pairs = result.of("second")
    rows = max(len(result.axes), len(pairs))
    with house_style():
        figure = StudyFigure(
            figsize=(8.6 if pairs else 5.6, 0.42 * rows + 2.5), layout=ConstrainedLayoutEngine(wspace=0.05, hspace=0.1)
        )
        panels = figure.subplots(1, 2 if pairs else 1, squeeze=False, sharex=True)[0]
        _draw_bars(panels[0], {order: result.of(order) for order in ("first", "total")})
        panels[0].set_title("Axes", loc="left")
        if pairs:
            _draw_bars(panels[1], {"second": pairs})
            panels[1].set_title("Pairs", loc="left")
        figure.suptitle(f"{title}: what drives the {result.metric.title.lower()}", fontweight="bold")
        _draw_legend(figure, result)
    return figure


def _draw_bars(axes: Axes, by_order: dict[str, list[Index]]) -> None:
    height = 0.72 / len(by_order)
    for number, (order, indices) in enumerate(by_order.items()):
        shift = (number - (len(by_order) - 1) / 2) * height
        for k, index in enumerate(indices):
            axes.barh(k + shift, index.value, height=0.9 * height, linewidth=0.8, **_LOOK[order])
            axes.plot([index.low, index.high], [k + shift] * 2, color=INK, linewidth=1.2, marker="|", markersize=6)
    names = [index.name for index in next(iter(by_order.values()))]
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("Sobol' index (share of the variance)")
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_legend(figure: Figure, result: SobolIndices) -> None:
    orders = [order for order in _LABEL if result.of(order)]
    handles: list[Patch | Line2D] = [Patch(linewidth=0.8, **_LOOK[order]) for order in orders]
    handles.append(Line2D([], [], color=INK, linewidth=1.2, marker="|", markersize=6))
    parts = [f"{result.samples} samples in {result.cells} cells, {result.seeds} seed{'s' * (result.seeds > 1)}"]
    if result.split:
        parts.append(SPLIT_LABEL[result.split].lower())
    if result.noise is not None:
        parts.append(f"noise is {result.noise:.2g} of the variance and is not subtracted")
    if result.n_cells_at_cap:
        parts.append(f"{result.n_cells_at_cap} cells have a replicate at the cap of {result.cap:.3g}")
    legend_below(
        figure,
        handles,
        [*(_LABEL[order] for order in orders), "interval of about 95 % (bootstrap over samples)"],
        caption(figure, f"{'; '.join(parts)}."),
        ncols=2 if result.of("second") else 1,
    )
