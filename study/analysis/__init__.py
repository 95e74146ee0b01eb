"""Statistics and figures of a table of replicates. The input is a pandas table; how it was made does not matter."""

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
