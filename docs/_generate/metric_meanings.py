"""The table of metrics, from their catalogue."""

from meanings import table

from study.replicates.metric_catalogue import METRICS, Metric

SCALES = {"ratio": "1 is no difference", "signed": "0 is no difference", "log": "logarithmic", "linear": "linear"}


def metrics_text() -> str:
    """Return the table of all metrics: name, the better direction, scale, ends of its columns' names, meaning."""
    return table(("metric", "better", "scale", "columns", "meaning"), [_row(metric) for metric in METRICS.values()])


def _row(metric: Metric) -> tuple[str, ...]:
    columns = ", ".join(f"`_{split}`" for split in metric.splits if split) or "one"
    better = "high" if metric.higher_is_better else "low"
    return f"`{metric.name}`", better, SCALES[metric.scale], columns, metric.meaning
