"""``best.yaml``: the best parameters of a study and the evidence for them; its content is checked when it is read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from study.analysis.statistics.best_cell import METRICS_IN_DOCUMENT, RULES, Choice, NoChoice, best
from study.analysis.statistics.cells import Axes
from study.errors import UserError
from study.record import write_whole
from study.specification import parse_yaml

FORMAT_VERSION = 1

_HEADER = """\
# from accel import Accelerator
# accelerator = Accelerator.from_best(model, "best.yaml")
"""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Unavailable(_Part):
    """Reason why the replicates allow no choice."""

    unavailable: str


class Chosen(_Part):
    """The choice that is used if a reader names none."""

    metric: str
    rule: str


class Evidence(_Part):
    """Trainings behind the choices: sections of the spec, values of its axes, versions and machines."""

    problem: dict[str, Any]
    network: dict[str, Any]
    training: dict[str, Any]
    axes: dict[str, Any]
    trained_with: list[dict[str, Any]]


class BestFile(_Part):
    """The content of a ``best.yaml``."""

    format_version: Literal[1]
    study: str
    spec_hash: str
    written_by: str
    chosen: Chosen | None = Chosen(metric=METRICS_IN_DOCUMENT[0], rule=RULES[0])
    """None if no choice was possible."""
    evidence: Evidence | None = None
    """None if the file was made from a table alone."""
    method: dict[str, Any]
    """The spec's method section; a choice's parameters complete it."""
    choices: dict[str, dict[str, Choice | Unavailable]]
    """Choices by metric and rule."""

    @field_validator("choices", mode="before")
    @classmethod
    def _named(cls, choices: Any) -> Any:
        """Give each choice the metric and the rule under which it stands in the file."""
        if not (isinstance(choices, dict) and all(isinstance(rules, dict) for rules in choices.values())):
            raise ValueError("must map metrics to rules, and rules to choices")
        return {
            metric: {
                rule: {"metric": metric, "rule": rule, **entry}
                if isinstance(entry, dict) and "unavailable" not in entry
                else entry
                for rule, entry in rules.items()
            }
            for metric, rules in choices.items()
        }

    def choice(self) -> Choice:
        """Return the chosen choice. Raises UserError if there is none."""
        entry = self.choices.get(self.chosen.metric, {}).get(self.chosen.rule) if self.chosen else None
        if isinstance(entry, Choice):
            return entry
        reason = entry.unavailable if entry else "no rule allows one for any metric"
        raise UserError(f"the best file of {self.study} holds no choice of parameters: {reason}")


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
    """Return the content of ``best.yaml``: the choices of both rules, for the paper's metric and the final loss ratio.

    If a rule allows no choice, its entry is ``{unavailable: reason}``. With several problems, networks or trainings,
    that is so for the metric per jump until ``at`` chooses one of each. The content holds plain Python values only,
    ready for `write_best`.

    Args:
        table: rows of the replicates, as for `study.analysis.statistics.best_cell.best`.
        axes: values of the axes, likewise.
        seeds: seeds of the study, likewise.
        study: name of the study.
        spec_hash: hash of the spec's identity.
        method: the spec's method section, which the parameters complete.
        metric: metric of the choice that is used if a reader names none. By default the first possible choice is used.
        rule: rule of that choice.
        at: values of axes to choose at, as for `study.analysis.statistics.best_cell.best`.
        evidence: content of `Evidence`.

    Raises:
        NoChoice: ``metric`` and ``rule`` allow no choice; the message says why.
        ValueError: unknown metric, rule, axis or value; the message lists the valid ones.
    """
    wanted = None if metric is None and rule is None else (metric or METRICS_IN_DOCUMENT[0], rule or RULES[0])
    choices: dict[str, Any] = {}
    possible: list[tuple[str, str]] = []
    for name in dict.fromkeys((*METRICS_IN_DOCUMENT, *(wanted or ())[:1])):
        choices[name] = {}
        for rule_name in RULES:
            try:
                choice = asdict(best(table, axes, seeds, metric=name, rule=rule_name, at=at))
            except NoChoice as reason:
                choices[name][rule_name] = {"unavailable": str(reason)}
                continue
            if rule_name == "minimum":
                del choice["standard_error"], choice["qualifying"]
            del choice["metric"], choice["rule"]
            choices[name][rule_name] = choice
            possible.append((name, rule_name))
    if wanted is not None and wanted not in possible:
        best(table, axes, seeds, metric=wanted[0], rule=wanted[1], at=at)  # raises NoChoice with the reason
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
    """Return the document as YAML, with a header that shows its use."""
    return _HEADER + yaml.safe_dump(_plain(document), sort_keys=False, allow_unicode=True, width=120)


def write_best(path: Path | str, document: Mapping[str, Any]) -> Path:
    """Write the document as YAML, completely or not at all; return the path.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = best_text(document)
    write_whole(path, lambda to: to.write_text(text, encoding="utf-8"))
    return path


def read_best(path: Path | str) -> BestFile:
    """Read and check a ``best.yaml``.

    Raises:
        UserError: the file cannot be read, is of another version, or is not as a study writes it; the message is one
            line and names the place of the first mistake.
    """
    try:
        content = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError also for text that is not UTF-8
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold what `dmd-study best` writes, got {type(content).__name__}")
    given = content.get("format_version")
    if given != FORMAT_VERSION:
        raise UserError(
            f"{path}: format_version must be {FORMAT_VERSION}, got {given!r}. Another version of dmd-study wrote the "
            f"file, or it is not a best file; `dmd-study best DIR` writes it anew"
        )
    try:
        return BestFile.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_first_mistake(error)}") from error


def _first_mistake(error: ValidationError) -> str:
    """Return the place and the text of the first mistake, and the number of others."""
    mistakes: dict[str, str] = {}
    for item in error.errors(include_url=False):
        if Unavailable.__name__ not in item["loc"]:  # reported for both kinds of entry: keep the mistake as a choice
            where = ".".join(str(part) for part in item["loc"] if part != Choice.__name__)
            mistakes.setdefault(where, item["msg"])
    (where, text), *more = mistakes.items()
    text = text.removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{where}: {text[0].lower()}{text[1:]}" + (f"; and {len(more)} more mistakes" if more else "")


def _plain(value: Any) -> Any:
    """Return the document in the types that YAML's safe dumper knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value
