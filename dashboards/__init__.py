"""Pages on a study. They are handed data or a storage URL, and know nothing of how a study is run."""

from dashboards.optuna_app import serve_optuna

__all__ = ["serve_optuna"]
