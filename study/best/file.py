"""``best.yaml``: the best parameters of a study and the evidence for them, written whole, checked when read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from study.analysis.statistics.best_cell import METRICS_IN_DOCUMENT, RULES, Choice
from study.analysis.statistics.best_document import FORMAT_VERSION, best_text
from study.errors import UserError
from study.record import write_whole
from study.specification import parse_yaml


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Unavailable(_Part):
    """A choice that the replicates do not allow."""

    unavailable: str


class Chosen(_Part):
    """Which of the choices a reader takes who names none."""

    metric: str
    rule: str


class Evidence(_Part):
    """What was trained to find them: sections of the spec, values of its axes, versions and machines."""

    problem: dict[str, Any]
    network: dict[str, Any]
    training: dict[str, Any]
    axes: dict[str, Any]
    trained_with: list[dict[str, Any]]


class BestFile(_Part):
    """The content of a ``best.yaml``.

    ``method`` is the spec's method section, which a choice's parameters complete; ``choices`` are by metric and rule.
    ``chosen`` is None where no choice was possible; ``evidence`` where the file was made from a table alone.
    """

    format_version: Literal[1]
    study: str
    spec_hash: str
    written_by: str
    chosen: Chosen | None = Chosen(metric=METRICS_IN_DOCUMENT[0], rule=RULES[0])
    evidence: Evidence | None = None
    method: dict[str, Any]
    choices: dict[str, dict[str, Choice | Unavailable]]

    @field_validator("choices", mode="before")
    @classmethod
    def _named(cls, choices: Any) -> Any:
        """A choice in the file is named by where it stands."""
        if not (isinstance(choices, dict) and all(isinstance(rules, dict) for rules in choices.values())):
            raise ValueError("must map metrics to rules, and those to choices")
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
        """The chosen one. Raises UserError where there is none."""
        found = self.choices.get(self.chosen.metric, {}).get(self.chosen.rule) if self.chosen else None
        if isinstance(found, Choice):
            return found
        why = found.unavailable if found else "no rule allows one for any metric"
        raise UserError(f"the best of {self.study} holds no choice of parameters: {why}")


def write_best_file(path: Path | str, document: Mapping[str, Any]) -> Path:
    """Write the document as YAML, whole or not at all; return the path. Raises OSError where it cannot be written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = best_text(document)
    write_whole(path, lambda to: to.write_text(text, encoding="utf-8"))
    return path


def read_best(path: Path | str) -> BestFile:
    """Read and check a ``best.yaml``.

    Raises:
        UserError: it cannot be read, is of another version, or is not what a study writes; one line says where.
    """
    try:
        content = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # a text that is not UTF-8 is a ValueError too
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold what `dmd-study best` writes, got {type(content).__name__}")
    found = content.get("format_version")
    if found != FORMAT_VERSION:
        raise UserError(
            f"{path}: format_version must be {FORMAT_VERSION}, got {found!r}: it is the best of another version of "
            f"dmd-study, or no best file; `dmd-study best DIR` writes it anew"
        )
    try:
        return BestFile.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    """Where the first mistake is, and what; how many more."""
    mistakes: dict[str, str] = {}
    for item in error.errors(include_url=False):
        if Unavailable.__name__ not in item["loc"]:  # an entry that is no choice is meant as one
            where = ".".join(str(part) for part in item["loc"] if part != Choice.__name__)
            mistakes.setdefault(where, item["msg"])
    (where, what), *more = mistakes.items()
    what = what.removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{where}: {what[0].lower()}{what[1:]}" + (f"; and {len(more)} more mistakes" if more else "")
