"""From the table of replicates to numbers and pictures. Needs a pandas table; knows nothing of how it was made."""

from study.analysis.best import Choice, NoChoice, best
from study.analysis.figures import draw_heatmaps, save_figure
from study.analysis.heatmap import HeatmapData, Panel, heatmap_data
from study.analysis.sensitivity import Sensitivity, sensitivity

__all__ = [
    "Choice",
    "HeatmapData",
    "NoChoice",
    "Panel",
    "Sensitivity",
    "best",
    "draw_heatmaps",
    "heatmap_data",
    "save_figure",
    "sensitivity",
]
