"""Statistics and figures of a table of replicates. The input is a pandas table; how it was made does not matter."""

from typing import TYPE_CHECKING

from study.lazy_names import lazy_names

if TYPE_CHECKING:
    from study.analysis.figures.all_figures import FIGURES, Drawn, draw_all, draw_allowed, draw_drivers
    from study.analysis.figures.comparison import draw_comparison
    from study.analysis.figures.heatmap import draw_heatmaps, save_figure
    from study.analysis.figures.picture import FigureOptions, Picture, options_for
    from study.analysis.figures.sensitivity import draw_sensitivity
    from study.analysis.figures.sobol import draw_sobol
    from study.analysis.figures.style import ShownFigures
    from study.analysis.statistics.best_cell import Choice, NoChoice, best
    from study.analysis.statistics.comparison import StudyComparison, compare_studies
    from study.analysis.statistics.heatmap_data import HeatmapData, Panel, heatmap_data
    from study.analysis.statistics.importance import EVALUATORS, optuna_importances
    from study.analysis.statistics.sensitivity import NoIndices, Sensitivity, sensitivity
    from study.analysis.statistics.sobol import SobolIndices, sobol_indices
    from study.analysis.statistics.study_data import StudyData

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "study.analysis.figures.all_figures": ["Drawn", "FIGURES", "draw_all", "draw_allowed", "draw_drivers"],
        "study.analysis.figures.comparison": ["draw_comparison"],
        "study.analysis.figures.heatmap": ["draw_heatmaps", "save_figure"],
        "study.analysis.figures.picture": ["FigureOptions", "Picture", "options_for"],
        "study.analysis.figures.sensitivity": ["draw_sensitivity"],
        "study.analysis.figures.sobol": ["draw_sobol"],
        "study.analysis.figures.style": ["ShownFigures"],
        "study.analysis.statistics.best_cell": ["Choice", "NoChoice", "best"],
        "study.analysis.statistics.comparison": ["StudyComparison", "compare_studies"],
        "study.analysis.statistics.heatmap_data": ["HeatmapData", "Panel", "heatmap_data"],
        "study.analysis.statistics.importance": ["EVALUATORS", "optuna_importances"],
        "study.analysis.statistics.sensitivity": ["NoIndices", "Sensitivity", "sensitivity"],
        "study.analysis.statistics.sobol": ["SobolIndices", "sobol_indices"],
        "study.analysis.statistics.study_data": ["StudyData"],
    },
)

__all__ = [
    "EVALUATORS",
    "FIGURES",
    "Choice",
    "Drawn",
    "FigureOptions",
    "HeatmapData",
    "NoChoice",
    "NoIndices",
    "Panel",
    "Picture",
    "Sensitivity",
    "ShownFigures",
    "SobolIndices",
    "StudyComparison",
    "StudyData",
    "best",
    "compare_studies",
    "draw_all",
    "draw_allowed",
    "draw_comparison",
    "draw_drivers",
    "draw_heatmaps",
    "draw_sensitivity",
    "draw_sobol",
    "heatmap_data",
    "options_for",
    "optuna_importances",
    "save_figure",
    "sensitivity",
    "sobol_indices",
]
