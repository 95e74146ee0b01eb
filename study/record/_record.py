"""A record: a study, how much of it has ended, and what that says."""

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from study.record import _rows
from study.record._grid import StudyGrid, grid_of
from study.record._kept import state_of
from study.record._ledger import Ledger
from study.record._storage import reading
from study.record._summary import Summary, ended_in_words, first_line
from study.record._table import count_jump_outcomes, read_rows, tidy_table
from study.record._trials import ended
from study.replicates.metric_catalogue import HEADLINES
from study.specification import SMALLEST_EFFECT, fresh_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from study.analysis import Choice, StudyData
    from study.analysis.statistics.answer import Answer
    from study.analysis.statistics.recommendation import Recommendation
    from study.record._report import ReportPage


def _ignore(*progress: object) -> None:
    pass


class Record(Ledger):
    """A study: what it is, how much of it has ended, and what that says.

    Make one with `study.run` or `study.open_study`. It closes its storage at the end of a ``with`` block.
    """

    # the study, and how much of it has ended

    @property
    def grid(self) -> StudyGrid:
        """Axes and seeds of the spec that ran last.

        Samples have the cells that were drawn, a search has the recorded cells that its space holds.
        """
        return grid_of(self.spec, self.done)

    @property
    def is_jump_rule(self) -> bool:
        """True if the method is a jump rule of the package, which `accel.Accelerator.from_best` takes."""
        name = str(self.spec["method"].get("name"))
        return ":" not in name and name not in HEADLINES

    def state(self) -> str:
        """Return a hash of all that results are made from: trials, attributes, files of packs, and this code."""
        with reading(self.url):
            return state_of(self._storage.engine, self.folder, self.name)

    def provenance(self) -> list[dict[str, Any]]:
        """Return versions and machines that the replicates were trained with, each with its number of ``replicates``.

        Those of most replicates come first; replicates whose worker was lost, and packs that cannot be read, have none.
        """
        groups: dict[str, dict[str, Any]] = {}
        for pack, count in Counter(pack for pack, _ in self.done().values()).items():
            versions = dict(_rows.inspect_pack(self.pack_path(pack)).provenance)
            if versions:
                group = groups.setdefault(json.dumps(versions, sort_keys=True), versions | {"replicates": 0})
                group["replicates"] += count
        return sorted(groups.values(), key=lambda group: -group["replicates"])

    def statuses(self) -> pd.Series:
        """Return the number of cells' replicates by status, those of the current grid only."""
        done = self.done()
        counted = [done[name][1] for name in (f"cell {wanted}" for wanted in self.grid.names()) if name in done]
        return pd.Series(counted, dtype=str).value_counts()

    def progress(self) -> str:
        """Say how many replicates have ended how, and how many are missing."""
        counts = {str(status): int(count) for status, count in self.statuses().items()}
        return ended_in_words(counts, len(self.grid.names()))

    def jump_outcomes(self) -> dict[str, int]:
        """Count the jumps of the current grid's cells by outcome, the most frequent first.

        Jumps of an older format count as ``not recorded``; packs that cannot be read are left out.
        """
        done, wanted = self.done(), (f"cell {name}" for name in self.grid.names())
        return count_jump_outcomes(self.folder, {name: done[name][0] for name in wanted if name in done})

    def failures(self) -> dict[str, int]:
        """Return why replicates of the current grid and baselines failed, and how many for each reason."""
        wanted = set(self.grid.names())
        with reading(self.url):
            latest = dict(ended(self._storage, self.name))
            plain = dict(ended(self._storage, self.baseline.study_name))
        reasons = [a.get("reason", "unknown") for n, a in latest.items() if n in wanted and a["status"] == "failed"]
        reasons += [f"{a.get('reason', 'unknown')} (a baseline)" for a in plain.values() if a["status"] == "failed"]
        return dict(Counter(reasons).most_common())

    # the numbers

    def table(self) -> pd.DataFrame:
        """Return one tidy row per recorded replicate of the current grid, in the grid's order.

        Columns: one per axis, seed, status, reason, epoch, steps, jumps, every metric of
        `study.replicates.metric_catalogue.METRICS` (``_train`` and ``_test`` where it has a split), seconds and FLOPs
        by what they were spent on, pack.
        """
        return tidy_table(self._read(_rows.COLUMNS_READ), self.grid)

    def details(self, progress: Callable[[int, int], object] = _ignore) -> list[dict[str, Any]]:
        """Return every recorded replicate of the current grid with its jumps and curves, cells and baselines alike.

        ``progress`` is called with the number of packs read so far and of all packs.
        """
        rows = self._read(_rows.SCHEMA.names, progress)
        wanted = {f"cell {name}" for name in self.grid.names()}
        cells = [row for name, row in rows.items() if name in wanted]
        return [*(row for row in rows.values() if row["kind"] == "baseline"), *cells]

    def _fetch(self, wanted: Callable[[str], bool]) -> list[Mapping[str, Any]]:
        """Return the replicates whose name meets a condition; only the packs that hold them are read."""
        packs = {name: pack for name, (pack, _) in self.done().items() if wanted(name)}
        return list(read_rows(self.folder, packs, _rows.SCHEMA.names, _ignore).values())

    def _read(
        self, columns: Sequence[str], progress: Callable[[int, int], object] = _ignore
    ) -> dict[str, dict[str, Any]]:
        return read_rows(self.folder, {name: pack for name, (pack, _) in self.done().items()}, columns, progress)

    # what they say

    def study_data(self) -> "StudyData":
        """Return the record as figures and statistics take it: its table is read now, jumps and curves when needed."""
        from study.analysis import StudyData

        grid, method = self.grid, self.spec["method"]
        return StudyData(
            self.name,
            self.table(),
            grid.axes,
            grid.seeds,
            self.details,
            probed=method.get("mode") == "probe",
            sampled=grid.sampled,
            fetch=self._fetch,
            training={k: v for k, v in self.spec["training"].items() if f"training.{k}" not in grid.axes},
            fresh_seeds=fresh_seeds(grid.seeds, self.spec.get("confirm", 0)),
            smallest_effect=self.spec.get("smallest_effect", SMALLEST_EFFECT),
            timing=self.attributes.get("timing"),
            headline=HEADLINES.get(str(method.get("name")), "mean_relative_error"),
        )

    def answer(self) -> "Answer":
        """Return the report's answer to whether the method should be switched on; ``str`` of it is its sentences.

        Raises:
            ValueError: there are no replicates yet.
        """
        from study.analysis.pages.report import answer_of

        return answer_of(self.study_data())

    def recommendation(self) -> "Recommendation":
        """Return the cell that the study recommends, and how it compares with the best plain training.

        Raises:
            ValueError: there are no replicates yet, or the study took no jumps.
        """
        data = self.study_data()
        if data.table.empty or data.probed:
            why = "took no jumps" if data.probed else "has no replicates yet"
            raise ValueError(f"{self.name} {why}: there is nothing to recommend")
        return data.recommendation

    def best(
        self, metric: str = "mean_relative_error", rule: str = "minimum", *, at: Mapping[str, Any] | None = None
    ) -> "Choice":
        """Choose the best cell by one training metric. The study's recommendation is another: `recommendation`.

        Args:
            metric: a ratio to be low, such as ``mean_relative_error`` or ``final_loss_ratio``.
            rule: ``minimum`` or ``one-standard-error``, as of `study.analysis.best`.
            at: axis -> value; considers only the cells with these values.

        Raises:
            NoChoice: the replicates allow none; says why. ValueError: unknown metric, rule, axis or value.
        """
        from study.analysis import best

        grid = self.grid
        return best(self.table(), grid.axes, grid.seeds, metric=metric, rule=rule, at=at)

    def best_document(
        self,
        metric: str | None = None,
        rule: str | None = None,
        *,
        at: Mapping[str, Any] | None = None,
        data: "StudyData | None" = None,
    ) -> dict[str, Any]:
        """Return the content of the record's ``best.yaml``: the recommendation, other choices, and the evidence.

        Args:
            metric: metric of the choice that readers take by default; None for the recommendation.
            rule: rule of that choice.
            at: axis -> value; considers only the cells with these values, in the choices by metric.
            data: the record's, if they have been read already.

        Raises:
            NoChoice: the metric and rule asked for allow none; says why. ValueError: one of them is unknown.
        """
        from study.analysis.statistics.answer import answer
        from study.analysis.statistics.best_document import best_document

        data, spec = data or self.study_data(), self.spec
        sections = {section: spec[section] for section in ("problem", "network", "training", "axes")}
        return best_document(
            data,
            answer(data),
            spec_hash=self.attributes["spec_hash"],
            method=spec["method"],
            metric=metric,
            rule=rule,
            at=at,
            evidence={**sections, "trained_with": self.provenance()},
        )

    def heatmap(
        self,
        metric: str | None = None,
        *,
        x: str | None = None,
        y: str | None = None,
        facet: str | None = None,
        at: Mapping[str, Any] | None = None,
    ) -> "Figure":
        """Draw heatmaps of a metric over two axes, as `figures` does with ``only="heatmap"``; its arguments are those.

        Args:
            metric: name without ``_train`` and ``_test``.
            x: axis to the right.
            y: axis upwards.
            facet: axis with one row of heatmaps per value.
            at: axis -> value to show.
        """
        return self.figures("heatmap", metric=metric, x=x, y=y, facet=facet, at=at)["heatmap"]

    def figures(
        self,
        only: str | Sequence[str] | None = None,
        *,
        metric: str | None = None,
        x: str | None = None,
        y: str | None = None,
        facet: str | None = None,
        at: Mapping[str, Any] | None = None,
    ) -> dict[str, "Figure"]:
        """Draw the study's figures: all that the record allows, or those named.

        Eigenvalues of jumps are not recorded; `study.write_figures` draws them if they are named.

        Args:
            only: name or names of `study.analysis.FIGURES`.
            metric: name without ``_train`` and ``_test``; by default the paper's, or that of a method without jumps.
            x: axis of heatmaps to the right; by default s, or another axis in a study without it, and so below.
            y: axis of heatmaps upwards; by default m.
            facet: axis with one row of heatmaps per value; by default the tolerance.
            at: axis -> value to show, for axes that a figure has no room for.

        Returns:
            Name -> figure. A notebook shows each, and all of them; `study.analysis.save_figure` writes one.

        Raises:
            ValueError: a figure that is named cannot be drawn, or none can; says why.
        """
        from study.analysis import ShownFigures, draw_allowed, options_for

        data = self.study_data()
        drawn = draw_allowed(data, options_for(data, metric=metric, x=x, y=y, facet=facet, at=at), only)
        return ShownFigures({name: picture.figure for name, picture in drawn.pictures.items()})

    def report(
        self, *, data: "StudyData | None" = None, progress: Callable[[str, int, int], object] = _ignore
    ) -> "ReportPage":
        """Make the report: one page with the answer, heatmaps, curves, costs and failures.

        ``data`` are the record's, if they have been read already. ``progress`` is called with what is done, how much of
        it, and of how much. Packs that cannot be read are named in a warning and on the page.

        Raises:
            ValueError: there are no replicates yet.
        """
        from study.record._report import report_page

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = data or self.study_data()
            details = self.details(lambda done, total: progress("packs read", done, total))
            best = self.best_document(data=data)
        texts = sorted({str(warning.message).replace(f"{self.folder}{os.sep}", "") for warning in caught})
        for text in texts:
            warnings.warn(text, stacklevel=2)
        return report_page(
            data,
            details,
            self.spec,
            best=best,
            jump_rule=self.is_jump_rule,
            provenance=self.provenance(),
            replicates=len(self.grid.names()),
            warnings=texts,
            progress=lambda done, total: progress("replicates in the report", done, total),
        )

    # itself

    def __repr__(self) -> str:
        return self._summary().line()

    def _repr_html_(self) -> str:
        return self._summary().html()

    def _summary(self) -> Summary:
        """Gather the words for a terminal or a notebook; a damaged record shows what there is."""
        try:
            progress = self.progress()
        except Exception as error:
            progress = f"cannot be read: {first_line(error)}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # packs that cannot be read are counted
            try:
                damaged, answer = len(self.damaged()), self.answer().sentences
            except Exception as error:
                damaged, answer = 0, (f"No answer: {first_line(error)}",)
        method, problem = (self.spec.get(section) for section in ("method", "problem"))
        return Summary(self.name, _named(problem), _named(method), progress, str(self.folder), answer, damaged)


def _named(section: object) -> str:
    return str(section.get("name")) if isinstance(section, dict) else "?"
