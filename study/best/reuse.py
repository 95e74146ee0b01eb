"""Use the best parameters of one study in another: train them there, and compare the results of both studies."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from study.analysis.statistics.best_cell import Choice, NoChoice, best
from study.best.file import BestFile
from study.errors import UserError
from study.record import StudyGrid
from study.specification import Spec, load_spec, parse_assignments, read_raw, split_axis


def spec_from_best(
    source: str | Path | Mapping[str, Any], best_file: BestFile, overrides: Iterable[str] | Mapping[str, Any] = ()
) -> Spec:
    """Return a spec with the method of another study, and with its best values of the method's axes.

    Problem, network, training, seeds and resources stay those of the spec, and so do its other axes. The best of a
    study of probes is trained with jumps.

    Args:
        source: a spec, in any form that `load_spec` takes.
        best_file: the best parameters of another study.
        overrides: applied last, so they win over the best parameters.

    Raises:
        SpecError: mistakes in the spec, or best parameters that do not fit it.
        UserError: the file holds no choice, or it names user code that the spec does not name.
    """
    choice = best_file.choice()
    raw, label = read_raw(source)
    method, axes = raw.get("method"), raw.get("axes")
    name = best_file.method.get("name")
    # a best file may come from someone else: only code that the user's own spec names is imported
    if ":" in str(name) and not (isinstance(method, dict) and method.get("name") == name):
        raise UserError(
            f"the best file of {best_file.study} uses the method {name!r}, which is user code. To allow it to run, "
            f"{label} must have method: {{name: {name!r}}} too"
        )
    kept = {axis: values for axis, values in (axes if isinstance(axes, dict) else {}).items() if not _of_method(axis)}
    cell = {axis.removeprefix("method."): [value] for axis, value in choice.parameters.items() if _of_method(axis)}
    given = overrides if isinstance(overrides, Mapping) else parse_assignments(overrides)
    combined = {
        **raw,
        "name": f"{str(raw.get('name'))[:59]}-best",
        "method": {key: value for key, value in best_file.method.items() if key not in (*cell, "mode")},
        "axes": {**cell, **kept},
        "design": "grid",
        "samples": None,
    }
    return load_spec(combined, given)


@dataclass(frozen=True)
class ReuseComparison:
    """Comparison of the best of one study with its results in another."""

    at: Mapping[str, Any]
    """Values of the axes that are not the method's; empty if there are none."""
    there: Choice
    """The best, with its values in the study that chose it."""
    here: Choice | None
    """The same parameters, with their values in this study; None if a seed did not finish with a finite value."""
    why: str = ""
    """Reason why ``here`` is None."""

    @property
    def verdict(self) -> str:
        """One sentence that says if the method pays in this study."""
        if self.here is None:
            return f"It is not known whether it pays here: {self.why}."
        ratio = self.here.final_loss_ratio
        if ratio is None:
            return "It is not known whether it pays here: no baseline has finished."
        end = f"training ends at {ratio:.3g} of plain training's loss"
        cost = "" if self.here.overhead is None else f", for {100 * (self.here.overhead - 1):.1f} % more operations"
        return f"It pays here: {end}{cost}." if ratio < 1 else f"It does not pay here: {end}{cost}."


def compare(best_file: BestFile, table: pd.DataFrame, grid: StudyGrid) -> Iterator[ReuseComparison]:
    """Compare the best of another study with its results here, once per combination of values of the other axes.

    Args:
        best_file: the best parameters of another study.
        table: rows of this study.
        grid: axes and seeds of this study.
    """
    there = best_file.choice()
    for values in itertools.product(*(grid.axes[axis] for axis in grid.plain_axes)):
        at = dict(zip(grid.plain_axes, values, strict=True))
        try:
            yield ReuseComparison(at, there, best(table, grid.axes, grid.seeds, metric=there.metric, at=at))
        except NoChoice as reason:
            yield ReuseComparison(at, there, None, str(reason))


def _of_method(axis: str) -> bool:
    return split_axis(str(axis))[0] == "method"
