"""Pages on a study. They take plain data or a storage URL, and do not know how a study is run."""

from dashboards._content import Bar, Bars, Heatmap, Report, Shown, Snippet, TextTable
from dashboards.optuna_app import serve_optuna
from dashboards.report import render_report

__all__ = ["Bar", "Bars", "Heatmap", "Report", "Shown", "Snippet", "TextTable", "render_report", "serve_optuna"]
