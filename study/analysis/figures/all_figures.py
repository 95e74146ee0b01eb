"""All figures of a study by name. A figure that the data do not allow is left out, and the reason given."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from study.analysis.figures.cost_benefit import draw_plane
from study.analysis.figures.curves import draw_curves
from study.analysis.figures.eigenvalues import draw_eigenvalues
from study.analysis.figures.heatmap import draw_heatmaps
from study.analysis.figures.jumps import draw_jumps
from study.analysis.figures.picture import FigureOptions, Picture, comparable_metric
from study.analysis.figures.sensitivity import draw_sensitivity
from study.analysis.figures.slices import draw_slices
from study.analysis.figures.sobol import draw_sobol
from study.analysis.statistics.cells import restrict
from study.analysis.statistics.heatmap_data import HeatmapData, heatmap_data, spread_data
from study.analysis.statistics.sensitivity import NoIndices, Sensitivity, sensitivity
from study.analysis.statistics.shown_axes import one_value_each
from study.analysis.statistics.sobol import SobolIndices, sobol_indices
from study.analysis.statistics.study_data import StudyData


def _heatmap_data(data: StudyData, options: FigureOptions) -> HeatmapData:
    _check_grid(data, "a heatmap")
    if not any(len(values) > 1 for values in restrict(data.axes, options.at).values()):
        raise ValueError(f"a heatmap needs an axis with two values or more; {one_value_each(data.axes)}")
    return heatmap_data(
        data.table,
        data.axes,
        data.seeds,
        metric=options.metric,
        x=options.x,
        y=options.y,
        facet=options.facet,
        at=options.at,
        recommended=data.recommended_cell,
        recommended_as=data.recommended_as,
    )


def _heatmap(data: StudyData, options: FigureOptions) -> Picture:
    heatmaps = _heatmap_data(data, options)
    return Picture(options.stem("heatmap"), draw_heatmaps(heatmaps, title=data.title), heatmaps.frame())


def _spread(data: StudyData, options: FigureOptions) -> Picture:
    heatmaps = spread_data(_heatmap_data(data, options))
    return Picture(options.stem("spread"), draw_heatmaps(heatmaps, title=data.title), heatmaps.frame())


def _slices(data: StudyData, options: FigureOptions) -> Picture:
    _check_grid(data, "slices")
    return draw_slices(data, comparable_metric(data, options))


def _check_grid(data: StudyData, figure: str) -> None:
    if data.sampled is not None:
        raise ValueError(f"{figure} must have neighbouring cells, but the cells of {data.name} are samples, not a grid")


def draw_drivers(
    data: StudyData, options: FigureOptions, split: Literal["train", "test"] = "train"
) -> tuple[Sensitivity | SobolIndices, Picture]:
    """Find what drives a metric and draw it: shares of its variance on a grid, Sobol' indices of samples.

    Args:
        data: the study.
        options: the metric, and values of axes to stay at.
        split: replicates' losses on the training or the test set.

    Raises:
        ValueError: there are no such numbers; says why.
    """
    metric, stem = options.metric, options.stem("sensitivity")
    if data.sampled is None:
        shares = sensitivity(data.table, data.axes, data.seeds, metric=metric, split=split, at=options.at)
        if shares.shares is None:
            raise NoIndices(f"no sensitivities of {metric}: {shares.unavailable}")
        return shares, Picture(stem, draw_sensitivity(shares, title=data.title), shares.frame())
    if options.at:
        raise ValueError("at must be left out for Sobol' indices, which need all samples")
    try:
        indices = sobol_indices(data.table, data.sampled, data.axes, data.seeds, metric=metric, split=split)
    except NoIndices as reason:
        raise NoIndices(f"no Sobol' indices of {metric}: {reason}") from reason
    return indices, Picture(stem, draw_sobol(indices, title=data.title), indices.frame())


def _sensitivity(data: StudyData, options: FigureOptions) -> Picture:
    return draw_drivers(data, options)[1]


FIGURES: dict[str, Callable[[StudyData, FigureOptions], Picture]] = {
    "heatmap": _heatmap,
    "spread": _spread,
    "slices": _slices,
    "sensitivity": _sensitivity,
    "curves": draw_curves,
    "jumps": draw_jumps,
    "plane": draw_plane,
    "eigenvalues": draw_eigenvalues,
}
"""Name of a figure -> function that draws it, or raises ValueError with the reason why the data do not allow it."""


def draw_all(
    data: StudyData, options: FigureOptions, names: Iterable[str] = FIGURES
) -> Iterator[tuple[str, Picture | ValueError]]:
    """Draw figures in turn, and yield each name with its picture or with the reason why it cannot be drawn.

    Args:
        data: Data of the study.
        options: Options of all figures.
        names: Names of the figures, from `FIGURES`; all by default.
    """
    for name in names:
        try:
            yield name, FIGURES[name](data, options)
        except ValueError as reason:
            yield name, reason


@dataclass(frozen=True)
class Drawn:
    """Pictures of a study by name, and the reason for each figure that the data do not allow."""

    pictures: dict[str, Picture]
    left_out: dict[str, str]


def draw_allowed(data: StudyData, options: FigureOptions, only: str | Sequence[str] | None = None) -> Drawn:
    """Draw every figure that the data allow, or those named.

    Args:
        data: the study.
        options: what the figures show.
        only: name or names of figures, each of which must be drawn; None for all that can be.

    Raises:
        ValueError: a name is unknown, a figure that is named cannot be drawn, or none can; says why.
    """
    only = [only] if isinstance(only, str) else only
    if unknown := [name for name in only or () if name not in FIGURES]:
        raise ValueError(f"only must be among {', '.join(FIGURES)}; got {', '.join(map(repr, unknown))}")
    pictures, left_out = {}, {}
    for name, drawn in draw_all(data, options, only or FIGURES):
        if isinstance(drawn, Picture):
            pictures[name] = drawn
        elif only:
            raise drawn
        else:
            left_out[name] = str(drawn)
    if not pictures:
        raise ValueError("\n".join(["no figure can be drawn", *(f"  {name}: {why}" for name, why in left_out.items())]))
    return Drawn(pictures, left_out)
