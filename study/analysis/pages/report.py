"""Content of a report: the question, the answer, and the evidence for it, as `dashboards.render_report` needs it."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from dashboards import Report, Snippet, TextTable
from study.analysis.pages.drivers import Drivers, drivers_of_grid, drivers_of_samples
from study.analysis.pages.explorer import explorer, written_values
from study.analysis.statistics.answer import Answer, answer
from study.analysis.statistics.cells import Axes, describe_cell, list_values, rising, value_key
from study.analysis.statistics.jump_outcomes import LABELS, count_outcomes
from study.analysis.statistics.study_data import StudyData

MAX_FAILURES = 200
"""Largest number of failures that a report lists one by one."""

MAX_CELLS = 20_000
"""Largest number of combinations of axis values that a heatmap shows. A search over ranges has more, most not run."""

_PARTS = {
    "training": "training",
    "recording": "copying snapshots",
    "jumps": "jumps",
    "judging": "evaluating losses",
}
_SEARCHED = "a search runs only the cells that it expects to be good, but shares of the variance need a full grid"
_TAKEN_METRICS = ("final_loss_ratio", "mean_relative_error")
_PROBED_METRICS = ("geometric_mean_relative_error", "mean_relative_error")


def report_of(
    data: StudyData,
    spec: Mapping[str, Any],
    best: Mapping[str, Any],
    details: Sequence[Mapping[str, Any]],
    *,
    replicates: int,
    provenance: Sequence[Mapping[str, Any]],
    snippets: Sequence[tuple[str, str]],
    warnings: Sequence[str] = (),
    done: Callable[[int, int], object] = lambda done, total: None,
) -> Report:
    """Gather everything that a study's report shows.

    Args:
        data: The study.
        spec: Spec as plain data.
        best: Content of its ``best.yaml``, see `best_document`.
        details: One row per replicate, baselines included: ``kind``, ``cell``, ``seed``, ``status``, ``reason``,
            ``epoch``, ``steps``, ``flops_*``, ``seconds_*``, its curves and its jumps (see
            `study.record.Record.details`).
        replicates: Number of replicates that the study asks for, without baselines.
        provenance: Versions and machines, each with its number of ``replicates``.
        snippets: Title and text of each snippet that a reader may copy.
        warnings: Sentences that a reader must know first.
        done: Called after each replicate with the number of replicates done and the number of all.

    Raises:
        ValueError: The table is empty.
    """
    full_table, full_axes = data.table, {key: rising(values) for key, values in data.axes.items()}
    axes, table, details = _reduced(full_axes, full_table, details)
    seeds, probed = list(data.seeds), data.probed
    metrics = _PROBED_METRICS if probed else _TAKEN_METRICS
    if data.sampled is not None:
        drivers = drivers_of_samples(full_table, data.sampled, full_axes, seeds, metrics)
    elif list(axes) == ["cell"]:
        drivers = Drivers(f"No shares: {_SEARCHED}.")
    else:
        drivers = drivers_of_grid(table, axes, seeds, metrics)
        if spec.get("design") == "search" and not drivers.shares:
            drivers = Drivers(f"No shares: {_SEARCHED}.")
    result = answer(data, drives=drivers.shares.get(metrics[0]))
    recommended = None if result.recommendation is None else result.recommendation.cell
    first = None
    if recommended is not None:
        shown = recommended if axes.keys() == full_axes.keys() else {"cell": describe_cell(recommended)}
        first = _index_of(shown, axes)
    failures = [row for row in details if row["status"] != "finished"]
    return Report(
        title=f"{data.name}: {spec['method'].get('name')} on {spec['problem'].get('name')}",
        question=_question(spec, probed),
        verdict=result.verdict,
        answer=result.sentences,
        details=result.details,
        explorer=explorer(
            table,
            axes,
            seeds,
            details,
            recommended=first,
            recommended_as=data.recommended_as,
            preferred=metrics[0],
            done=done,
        ),
        sensitivity=drivers.bars,
        sensitivity_note=drivers.note,
        best=_best(best),
        snippets=[Snippet(title, text) for title, text in snippets],
        cost=_cost(details),
        cost_note=(
            "A step equivalent is the operations of one optimiser step. The device-seconds of a pack are shared "
            "equally by the replicates in it: they compare packs, not cells."
        ),
        jumps=_jumps(details),
        provenance=_provenance(data.name, spec, best["spec_hash"], seeds, provenance),
        spec=yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True, width=100),
        failures=TextTable(
            [_failure(row) for row in failures[:MAX_FAILURES]], ("replicate", "seed", "status", "epoch", "reason")
        ),
        failures_note=_failures_note(replicates - len(table), failures),
        warnings=tuple(warnings),
    )


def answer_of(data: StudyData) -> Answer:
    """Return the answer that the report of a study gives. Raises ValueError while the study has no replicates."""
    axes, table, _ = _reduced({key: rising(values) for key, values in data.axes.items()}, data.table, ())
    drives = None
    if data.sampled is None and list(axes) != ["cell"]:
        metric = (_PROBED_METRICS if data.probed else _TAKEN_METRICS)[0]
        drives = drivers_of_grid(table, axes, data.seeds, [metric]).shares.get(metric)
    return answer(data, drives=drives)


def _index_of(cell: Mapping[str, Any], axes: Axes) -> int:
    """Return the index of a cell among the combinations of axis values, the last axis fastest."""
    index = 0
    for axis, values in axes.items():
        keys = [value_key(value) for value in values]
        index = index * len(keys) + keys.index(value_key(cell[axis]))
    return index


def _reduced(
    axes: Mapping[str, list[Any]], table: pd.DataFrame, details: Sequence[Mapping[str, Any]]
) -> tuple[Axes, pd.DataFrame, Sequence[Mapping[str, Any]]]:
    """Turn the cells into values of one axis if the axes have too many combinations for a heatmap."""
    if math.prod(map(len, axes.values())) > MAX_CELLS:
        return _cells_as_one_axis(axes, table, details)
    return axes, table, details


def _question(spec: Mapping[str, Any], probed: bool) -> str:
    training, axes = spec["training"], list(spec["axes"])
    recipe = ", ".join(
        f"{key} {list_values([training[key]])}" for key in ("optimizer", "lr", "batch", "epochs") if key in training
    )
    helps = f"{spec['method'].get('name')} help to train {spec['problem'].get('name')}"
    question = f"Would jumps of {helps}" if probed else f"Does {helps}"
    listed = axes[0] if len(axes) == 1 else f"{', '.join(axes[:-1])} and {axes[-1]}"
    return f"{question} ({recipe}), and how does that depend on {listed}?"


def _best(best: Mapping[str, Any]) -> TextTable:
    """Return the recommended cell, and below it the cells that answer other questions."""
    recommendation = best["recommendation"]
    rows: list[tuple[str, ...]]
    if "unavailable" in recommendation:
        rows = [("recommended cell", f"none: {recommendation['unavailable']}", "", "", "")]
    else:
        steps, cell = recommendation["at_equal_steps"], describe_cell(recommendation["parameters"])
        numbers = (steps["ratio"], (steps["low"], steps["high"]), recommendation["test_ratio"])
        rows = [(f"recommended: {best['recommended']}", cell, *map(_number, numbers))]
    for entries in best["other_choices"].values():
        question = entries["question"]
        for rule, choice in entries.items():
            if rule == "question":
                continue
            name = f"{question}, {rule.replace('-', ' ')}"
            if "unavailable" in choice:
                rows.append((name, f"none: {choice['unavailable']}", "", "", ""))
                continue
            numbers = (choice["value"], (choice["low"], choice["high"]), choice["value_test"])
            rows.append((name, describe_cell(choice["parameters"]), *map(_number, numbers)))
    return TextTable(rows, ("question", "cell", "its value", "95 % interval", "on test data"))


def _number(value: float | tuple[float | None, float | None] | None) -> str:
    if isinstance(value, tuple):
        return "-" if None in value else f"{value[0]:.4g} to {value[1]:.4g}"
    return "-" if value is None else f"{value:.4g}"


def _cost(details: Sequence[Mapping[str, Any]]) -> TextTable:
    rows = []
    for kind, plural in (("cell", "cells"), ("baseline", "baselines")):
        of_kind = [row for row in details if row["kind"] == kind]
        steps = sum(row["steps"] for row in of_kind)
        flops = {part: math.fsum(row[f"flops_{part}"] for row in of_kind) for part in ("training", "jumps", "judging")}
        for part, words in _PARTS.items():
            if kind == "baseline" and part in ("jumps", "recording"):
                continue
            amount = flops.get(part)
            equivalents = f"{steps * amount / flops['training']:.4g}" if amount and flops["training"] else "-"
            seconds = math.fsum(row.get(f"seconds_{part}") or 0.0 for row in of_kind)
            written = "-" if amount is None else f"{amount:.3g}"
            rows.append((f"{words}, {len(of_kind)} {plural}", equivalents, written, f"{seconds:.4g}"))
    return TextTable(rows, ("", "step equivalents", "operations (FLOP)", "device-seconds of the packs"))


def _jumps(details: Sequence[Mapping[str, Any]]) -> TextTable:
    """Return the number of jumps by outcome; no rows if outcomes were not recorded."""
    counts = count_outcomes(details)
    total = sum(counts.values())
    rows = [(LABELS[outcome], str(count), f"{count / total:.1%}") for outcome, count in counts.items()]
    return TextTable(rows, ("outcome", "jumps", "share"))


def _provenance(
    name: str, spec: Mapping[str, Any], spec_hash: str, seeds: Sequence[int], provenance: Sequence[Mapping[str, Any]]
) -> TextTable:
    rows = [("study", name), ("identity (hash of the spec)", spec_hash), ("seeds", list_values(seeds))]
    rows += [(f"axis {axis}", written_values(values)) for axis, values in spec["axes"].items()]
    for number, source in enumerate(provenance, 1):
        trained = f"trained by, {number} of {len(provenance)}" if len(provenance) > 1 else "trained by"
        facts = ", ".join(
            f"{key} {value}" for key, value in source.items() if key != "replicates" and value is not None
        )
        rows.append((trained, f"{facts} ({source.get('replicates', '?')} replicates)"))
    return TextTable(rows)


def _failure(row: Mapping[str, Any]) -> tuple[str, ...]:
    cell = describe_cell(row["cell"])
    reason = str(row["reason"] or "").strip() or "a loss or weight stopped being finite" * (row["status"] == "diverged")
    replicate = f"baseline {cell}".strip() if row["kind"] == "baseline" else cell
    return replicate, str(row["seed"]), row["status"], str(row["epoch"]), reason


def _failures_note(missing: int, failures: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter(row["status"] for row in failures)
    counted = ", ".join(f"{n} {status}" for status, n in counts.items()) or "none"
    listed = f" (the first {MAX_FAILURES} are listed)" if len(failures) > MAX_FAILURES else ""
    return f"Replicates that did not finish: {counted}{listed}. Not run yet: {missing}."


def _cells_as_one_axis(
    axes: Axes, table: pd.DataFrame, details: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, list[Any]], pd.DataFrame, list[dict[str, Any]]]:
    """Turn the cells that were run into the values of one axis, because a search over ranges has too many combinations.

    Baselines are left out if they differ between cells.
    """
    names = [describe_cell({axis: row[axis] for axis in axes}) for _, row in table.iterrows()]
    shared = not any("." in axis and not axis.startswith("method.") for axis in axes)
    rows = [
        {**row, "cell": {"cell": describe_cell(row["cell"])} if row["kind"] == "cell" else {}}
        for row in details
        if row["kind"] == "cell" or shared
    ]
    return {"cell": list(dict.fromkeys(names))}, table.assign(cell=names), rows
