"""The report of a record: one page, made of the record alone, that a notebook shows and a file holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from dashboards import render_report
from study.analysis.pages.report import report_of
from study.analysis.statistics.best_document import best_text
from study.analysis.statistics.study_data import StudyData
from study.record._files import write_whole

_HEIGHT_PX = 720
_TAKE_HOME = (
    "from accel import Accelerator",
    'accelerator = Accelerator.from_best(model, "best.yaml", optimizer=optimizer)',
)
"""Lines of a training loop that take the best parameters, beside the file that holds them."""


@dataclass(frozen=True)
class ReportPage:
    """A report as one HTML page that opens offline. A notebook shows it in a frame of its own."""

    title: str
    html: str = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the page to a file, whole or not at all. Raises OSError if it cannot be written."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda to: to.write_text(self.html, encoding="utf-8"))
        return path

    def _repr_html_(self) -> str:
        """Return a frame that keeps the page's scripts and styles apart from the notebook's."""
        page = escape(self.html, quote=True)
        return (
            f'<iframe title="{escape(self.title)}" srcdoc="{page}" sandbox="allow-scripts allow-popups" '
            f'style="width: 100%; height: {_HEIGHT_PX}px; border: 1px solid #ccc"></iframe>'
        )


def report_page(
    data: StudyData,
    details: Sequence[Mapping[str, Any]],
    spec: Mapping[str, Any],
    *,
    best: Mapping[str, Any],
    jump_rule: bool,
    provenance: Sequence[Mapping[str, Any]],
    replicates: int,
    warnings: Sequence[str],
    progress: Callable[[int, int], object],
) -> ReportPage:
    """Make the report of a study.

    Args:
        data: the study.
        details: its replicates with jumps and curves, as of `study.record.Record.details`.
        spec: the spec as plain data.
        best: the content of its ``best.yaml``.
        jump_rule: True if a training loop can take the best parameters by `accel.Accelerator.from_best`.
        provenance: versions and machines, each with its number of ``replicates``.
        replicates: number of replicates that the study asks for, without baselines.
        warnings: what a reader must know before all else.
        progress: called with the replicates done, and all.

    Raises:
        ValueError: the study has no replicates yet.
    """
    if data.table.empty:
        raise ValueError(f"{data.name} has no replicates yet: there is nothing to report")
    snippets = [("best.yaml", best_text(best))]
    if "parameters" in best["recommendation"] and jump_rule:
        snippets.insert(0, ("Use the parameters in a training loop", "\n".join(_TAKE_HOME)))
    report = report_of(
        data,
        spec,
        best,
        details,
        replicates=replicates,
        provenance=provenance,
        snippets=snippets,
        warnings=warnings,
        done=progress,
    )
    return ReportPage(report.title, render_report(report))
