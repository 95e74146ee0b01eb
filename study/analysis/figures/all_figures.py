"""All figures of a study by name. A figure that the data do not allow is left out, and the reason given."""

from collections.abc import Callable, Iterable, Iterator

from study.analysis.figures.cost_benefit import draw_plane
from study.analysis.figures.curves import draw_curves
from study.analysis.figures.eigenvalues import draw_eigenvalues
from study.analysis.figures.heatmap import draw_heatmaps
from study.analysis.figures.jumps import draw_jumps
from study.analysis.figures.picture import FigureOptions, Picture
from study.analysis.figures.sensitivity import draw_sensitivity
from study.analysis.figures.slices import draw_slices
from study.analysis.figures.sobol import draw_sobol
from study.analysis.statistics.heatmap_data import HeatmapData, heatmap_data, spread_data
from study.analysis.statistics.sensitivity import sensitivity
from study.analysis.statistics.sobol import sobol_indices
from study.analysis.statistics.study_data import StudyData


def _heatmap_data(data: StudyData, options: FigureOptions) -> HeatmapData:
    _check_grid(data, "a heatmap")
    return heatmap_data(
        data.table,
        data.axes,
        data.seeds,
        metric=options.metric,
        x=options.x,
        y=options.y,
        facet=options.facet,
        at=options.at,
    )


def _heatmap(data: StudyData, options: FigureOptions) -> Picture:
    heatmaps = _heatmap_data(data, options)
    return Picture(options.stem("heatmap"), draw_heatmaps(heatmaps, title=data.title), heatmaps.frame())


def _spread(data: StudyData, options: FigureOptions) -> Picture:
    heatmaps = spread_data(_heatmap_data(data, options))
    return Picture(options.stem("spread"), draw_heatmaps(heatmaps, title=data.title), heatmaps.frame())


def _slices(data: StudyData, options: FigureOptions) -> Picture:
    _check_grid(data, "slices")
    return draw_slices(data, options)


def _check_grid(data: StudyData, figure: str) -> None:
    if data.sampled is not None:
        raise ValueError(f"{figure} must have neighbouring cells, but the cells of {data.name} are samples, not a grid")


def _sensitivity(data: StudyData, options: FigureOptions) -> Picture:
    if data.sampled is not None:
        if options.at:
            raise ValueError("at must be left out for Sobol' indices, which need all samples")
        indices = sobol_indices(data.table, data.sampled, data.axes, data.seeds, metric=options.metric)
        return Picture(options.stem("sensitivity"), draw_sobol(indices, title=data.title), indices.frame())
    shares = sensitivity(data.table, data.axes, data.seeds, metric=options.metric, at=options.at)
    return Picture(options.stem("sensitivity"), draw_sensitivity(shares, title=data.title), shares.frame())


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
