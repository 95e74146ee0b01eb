"""From the table of replicates to numbers and pictures. Needs a pandas table; knows nothing of how it was made."""

from study.analysis._data import Options, Picture, StudyData
from study.analysis.best import Choice, NoChoice, best
from study.analysis.comparison import Comparison, compare_studies, draw_comparison
from study.analysis.draw_sensitivity import draw_sensitivity
from study.analysis.draw_sobol import draw_sobol
from study.analysis.figures import draw_heatmaps, save_figure
from study.analysis.heatmap import HeatmapData, Panel, heatmap_data
from study.analysis.importance import EVALUATORS, optuna_importances
from study.analysis.sensitivity import NoIndices, Sensitivity, sensitivity
from study.analysis.sobol import SobolIndices, sobol_indices
from study.analysis.suite import FIGURES, draw_all

__all__ = [
    "EVALUATORS",
    "FIGURES",
    "Choice",
    "Comparison",
    "HeatmapData",
    "NoChoice",
    "NoIndices",
    "Options",
    "Panel",
    "Picture",
    "Sensitivity",
    "SobolIndices",
    "StudyData",
    "best",
    "compare_studies",
    "draw_all",
    "draw_comparison",
    "draw_heatmaps",
    "draw_sensitivity",
    "draw_sobol",
    "heatmap_data",
    "optuna_importances",
    "save_figure",
    "sensitivity",
    "sobol_indices",
]
