"""The content of a ``best.yaml``: the recommendation, the best cells by other metrics, and the evidence."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import yaml

from study.analysis.statistics.answer import RECOMMENDED, Answer
from study.analysis.statistics.best_cell import METRICS_IN_DOCUMENT, RULES, NoChoice, best
from study.analysis.statistics.cells import restrict
from study.analysis.statistics.study_data import StudyData
from study.replicates.metric_catalogue import METRICS

FORMAT_VERSION = 2

QUESTIONS = {"mean_relative_error": "lowest error per jump", "final_loss_ratio": "lowest final loss ratio"}
"""Metric of a ``best.yaml`` -> the question that its best cell answers."""

_HEADER = """\
# from accel import Accelerator
# accelerator = Accelerator.from_best(model, "best.yaml", optimizer=optimizer)
"""


def best_document(
    data: StudyData,
    answer: Answer,
    *,
    spec_hash: str,
    method: Mapping[str, Any],
    metric: str | None = None,
    rule: str | None = None,
    at: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of ``best.yaml``. All values are plain Python.

    ``recommended`` is ``on``, ``off`` or ``not known``. The ``recommendation`` is the cell that readers take unless a
    metric and a rule are chosen; if plain training wins, it is the least bad cell. The entry of a rule that allows no
    choice is ``{unavailable: reason}``.

    Args:
        data: The study.
        answer: Its answer.
        spec_hash: Hash of the study's identity.
        method: The spec's method section, which the parameters complete.
        metric: Metric of the choice that readers take by default; None for the recommendation.
        rule: Rule of that choice.
        at: Considers only the cells with these axis values, in the choices by metric.
        evidence: What was trained, as `study.best.file.Evidence` describes.

    Raises:
        NoChoice: The metric and rule asked for allow no choice; says why.
        ValueError: Unknown metric, rule, axis or value, with the valid ones.
    """
    table, axes, seeds = data.table, data.axes, data.seeds
    restrict(axes, at)  # which names the valid axes and values
    chosen = None
    if metric is not None or rule is not None or at:
        chosen = (metric or METRICS_IN_DOCUMENT[0], rule or RULES[0])
    choices: dict[str, Any] = {}
    for metric_name in dict.fromkeys((*METRICS_IN_DOCUMENT, *(chosen or ())[:1])):
        choices[metric_name] = (
            {"question": QUESTIONS.get(metric_name, METRICS[metric_name].title.lower())}
            if (metric_name in METRICS)
            else {}
        )
        for rule_name in dict.fromkeys((*RULES, *(chosen or ())[1:])):  # of which `best` refuses an unknown one
            try:
                choice = asdict(best(table, axes, seeds, metric=metric_name, rule=rule_name, at=at))
            except NoChoice as reason:
                if chosen == (metric_name, rule_name):
                    raise
                choices[metric_name][rule_name] = {"unavailable": str(reason)}
                continue
            if rule_name == "minimum":
                del choice["standard_error"], choice["qualifying"]
            del choice["metric"], choice["rule"]
            choices[metric_name][rule_name] = choice
    document = {
        "format_version": FORMAT_VERSION,
        "study": data.name,
        "spec_hash": spec_hash,
        "written_by": f"dmd-study {version('dmd-study')}",
        "recommended": RECOMMENDED[answer.verdict],
        "answer": list(answer.sentences),
        "recommendation": recommendation_entry(data),
        "chosen": None if chosen is None else dict(zip(("metric", "rule"), chosen, strict=True)),
        "method": method,
        "other_choices": choices,
        "evidence": evidence,
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def recommendation_entry(data: StudyData) -> dict[str, Any]:
    """Return the recommended cell and its evidence as plain data, or ``{unavailable: reason}``."""
    if data.table.empty:
        return {"unavailable": "the table has no replicates yet"}
    if data.probed:
        why = "this study judged jumps, but took none, so that no final loss is known"
        way = "`dmd-study best DIR --metric geometric_mean_relative_error` chooses by the jumps"
        return {"unavailable": f"{why}; {way}"}
    result = data.recommendation
    if result.cell is None:
        return {"unavailable": result.why_none}
    overhead = data.median_of(result.cell, "overhead")
    training = dict(data.training)
    training |= {k.partition(".")[2]: v for k, v in result.cell.items() if k.startswith("training.")}
    return {
        "parameters": result.cell,
        "trained_with": training,
        "best_plain_training": result.plain,
        "plain_training_varied": result.tuned,
        "at_equal_steps": None if result.equal_steps is None else asdict(result.equal_steps),
        "at_equal_time": None if result.equal_time is None else asdict(result.equal_time),
        "time_of_an_epoch": None if result.time is None else asdict(result.time),
        "test_ratio": result.test,
        "overhead": overhead if math.isfinite(overhead) else None,
        "smallest_effect": result.smallest_effect,
        "of_cells": result.cells,
    }


def best_text(document: Mapping[str, Any]) -> str:
    """Return the document as YAML, below two lines that say how to use it."""
    return _HEADER + yaml.safe_dump(_plain(document), sort_keys=False, allow_unicode=True, width=120)


def _plain(value: Any) -> Any:
    """Return the same document in the types that YAML's safe dumper knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value
