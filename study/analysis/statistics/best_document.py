"""The content of a ``best.yaml``: the best parameters by two metrics and two rules, as plain data and as text."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import yaml

from study.analysis.statistics.best_cell import METRICS_IN_DOCUMENT, RULES, NoChoice, best
from study.analysis.statistics.cells import Axes

FORMAT_VERSION = 1

_HEADER = """\
# from accel import Accelerator
# accelerator = Accelerator.from_best(model, "best.yaml")
"""


def best_document(
    table: pd.DataFrame,
    axes: Axes,
    seeds: Sequence[int],
    *,
    study: str,
    spec_hash: str,
    method: Mapping[str, Any],
    metric: str | None = None,
    rule: str | None = None,
    at: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of ``best.yaml``: both rules for the paper's metric and for the final loss ratio.

    The entry of a rule that allows no choice is ``{unavailable: reason}``. In a study with several problems, networks
    or trainings, the metric per jump has no choice until ``at`` names one of each. All values are plain Python.

    Args:
        table: as in `study.analysis.statistics.best_cell`, and so are ``axes``, ``seeds`` and ``at``.
        axes: axis key -> its values.
        seeds: the study's seeds.
        study: name of the study.
        spec_hash: hash of its identity.
        method: the spec's method section, which the parameters complete.
        metric: metric of the choice that readers take by default; None for the first of the file that is possible.
        rule: rule of that choice.
        at: considers only the cells with these axis values.
        evidence: what was trained, as `study.best.file.Evidence` describes.

    Raises:
        NoChoice: the metric and rule asked for allow no choice; says why.
        ValueError: unknown metric, rule, axis or value, with the valid ones.
    """
    wanted = None if metric is None and rule is None else (metric or METRICS_IN_DOCUMENT[0], rule or RULES[0])
    choices: dict[str, Any] = {}
    possible: list[tuple[str, str]] = []
    for metric_name in dict.fromkeys((*METRICS_IN_DOCUMENT, *(wanted or ())[:1])):
        choices[metric_name] = {}
        for rule_name in RULES:
            try:
                choice = asdict(best(table, axes, seeds, metric=metric_name, rule=rule_name, at=at))
            except NoChoice as reason:
                choices[metric_name][rule_name] = {"unavailable": str(reason)}
                continue
            if rule_name == "minimum":
                del choice["standard_error"], choice["qualifying"]
            del choice["metric"], choice["rule"]
            choices[metric_name][rule_name] = choice
            possible.append((metric_name, rule_name))
    if wanted is not None and wanted not in possible:
        best(table, axes, seeds, metric=wanted[0], rule=wanted[1], at=at)  # which raises, and says why
    chosen = wanted or next(iter(possible), None)
    document = {
        "format_version": FORMAT_VERSION,
        "study": study,
        "spec_hash": spec_hash,
        "written_by": f"dmd-study {version('dmd-study')}",
        "chosen": None if chosen is None else dict(zip(("metric", "rule"), chosen, strict=True)),
        "method": method,
        "choices": choices,
        "evidence": evidence,
    }
    plain: dict[str, Any] = _plain(document)
    return plain


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
