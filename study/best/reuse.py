"""The best parameters of one study in another: trained once as they are, and set beside what they were best at."""

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
    source: str | Path | Mapping[str, Any], found: BestFile, overrides: Iterable[str] | Mapping[str, Any] = ()
) -> Spec:
    """A spec whose method, and whose cell of the method's axes, are the best of another study.

    Problem, network, training, seeds and resources stay those of the spec, and so do its axes that are not the
    method's. A study of probes has its best trained for real.

    Args:
        source: a spec, as `load_spec` takes it.
        found: the best of another study.
        overrides: applied last, so they win over the best.

    Raises:
        SpecError: mistakes in the spec, or a best that does not fit it. UserError: there is no choice in the file, or
            it names code of one's own that the spec does not name.
    """
    choice = found.choice()
    raw, label = read_raw(source)
    method, axes = raw.get("method"), raw.get("axes")
    name = found.method.get("name")
    # a best file is passed from hand to hand; only what the user wrote into a spec is imported
    if ":" in str(name) and not (isinstance(method, dict) and method.get("name") == name):
        raise UserError(
            f"the best of {found.study} is of the method {name!r}, which is code of someone's own: {label} must have "
            f"method: {{name: {name!r}}} too, to say that it may be run"
        )
    kept = {axis: values for axis, values in (axes if isinstance(axes, dict) else {}).items() if not _of_method(axis)}
    cell = {axis.removeprefix("method."): [value] for axis, value in choice.parameters.items() if _of_method(axis)}
    given = overrides if isinstance(overrides, Mapping) else parse_assignments(overrides)
    whole = {
        **raw,
        "name": f"{str(raw.get('name'))[:59]}-best",
        "method": {key: value for key, value in found.method.items() if key not in (*cell, "mode")},
        "axes": {**cell, **kept},
        "design": "grid",
        "samples": None,
    }
    return load_spec(whole, given)


@dataclass(frozen=True)
class ReuseComparison:
    """What the best of one study gives in another.

    ``at``: values of the axes that are not the method's, empty where there are none. ``here`` is None where some seed
    did not finish with a finite value; ``why`` then says how many.
    """

    at: Mapping[str, Any]
    there: Choice
    here: Choice | None
    why: str = ""

    @property
    def verdict(self) -> str:
        """Whether it pays here, in one sentence."""
        if self.here is None:
            return f"It cannot be said to pay here: {self.why}."
        ratio = self.here.final_loss_ratio
        if ratio is None:
            return "Whether it pays here is not known: there is no baseline that finished."
        end = f"training ends at {ratio:.3g} of plain training's loss"
        cost = "" if self.here.overhead is None else f", for {100 * (self.here.overhead - 1):.1f} % more operations"
        return f"It pays here: {end}{cost}." if ratio < 1 else f"It does not pay here: {end}{cost}."


def compare(found: BestFile, table: pd.DataFrame, grid: StudyGrid) -> Iterator[ReuseComparison]:
    """Set the best of another study beside what it gave here: once for every combination of the axes it left alone."""
    there = found.choice()
    for values in itertools.product(*(grid.axes[axis] for axis in grid.plain_axes)):
        at = dict(zip(grid.plain_axes, values, strict=True))
        try:
            yield ReuseComparison(at, there, best(table, grid.axes, grid.seeds, metric=there.metric, at=at))
        except NoChoice as reason:
            yield ReuseComparison(at, there, None, str(reason))


def _of_method(axis: str) -> bool:
    return split_axis(str(axis))[0] == "method"
