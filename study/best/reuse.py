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
    parameters = best_file.parameters()
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
    cell = {axis.removeprefix("method."): [value] for axis, value in parameters.items() if _of_method(axis)}
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
class Reuse:
    """Results of another study's parameters in this study, at one combination of the axes that are not the method's."""

    at: Mapping[str, Any]
    """Values of these axes; empty if there are none."""
    here: Choice | None
    """The parameters with their values in this study; None if a seed did not finish with a finite value."""
    why: str = ""
    """Reason why ``here`` is None."""


def reused(table: pd.DataFrame, grid: StudyGrid) -> Iterator[Reuse]:
    """Yield the results of a study that was made by `spec_from_best`, with one cell for each combination of other axes.

    Args:
        table: rows of the study.
        grid: its axes and seeds.
    """
    for values in itertools.product(*(grid.axes[axis] for axis in grid.plain_axes)):
        at = dict(zip(grid.plain_axes, values, strict=True))
        try:
            yield Reuse(at, best(table, grid.axes, grid.seeds, metric="final_loss_ratio", at=at))
        except NoChoice as reason:
            yield Reuse(at, None, str(reason))


def differences_in_training(best_file: BestFile, spec: Spec) -> list[str]:
    """Return, in words, how the spec's training differs from the one that the parameters were chosen with."""
    trained_with = best_file.trained_with
    differences = []
    for key in ("optimizer", "lr", "batch"):
        axis = f"training.{key}"
        there, here = trained_with.get(key), spec.axes.get(axis) or (spec.sections["training"][key],)
        if there is not None and list(here) != [there]:
            differences.append(f"{axis}: chosen with {there}, trained here with {', '.join(map(str, here))}")
    return differences


def _of_method(axis: str) -> bool:
    return split_axis(str(axis))[0] == "method"
