"""``best.yaml``: the best parameters of a study and the evidence for them; its content is checked when it is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from study.analysis.statistics.best_cell import Choice
from study.analysis.statistics.best_document import FORMAT_VERSION, best_text
from study.analysis.statistics.recommendation import Estimate, TimeRatio
from study.errors import UserError
from study.record import write_whole
from study.specification import parse_yaml


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Unavailable(_Part):
    """Reason why the replicates allow no choice."""

    unavailable: str


class Chosen(_Part):
    """The choice that is used if a reader names none."""

    metric: str
    rule: str


class Recommended(_Part):
    """The recommended cell, and how it compares with the best plain training."""

    parameters: dict[str, Any]
    trained_with: dict[str, Any]
    """Training section of the cell."""
    best_plain_training: dict[str, Any]
    plain_training_varied: dict[str, list[Any]]
    at_equal_steps: Estimate | None
    at_equal_time: Estimate | None
    time_of_an_epoch: TimeRatio | None
    test_ratio: float | None
    overhead: float | None
    smallest_effect: float
    of_cells: int


class Evidence(_Part):
    """Trainings behind the choices: sections of the spec, values of its axes, versions and machines."""

    problem: dict[str, Any]
    network: dict[str, Any]
    training: dict[str, Any]
    axes: dict[str, Any]
    trained_with: list[dict[str, Any]]


class BestFile(_Part):
    """The content of a ``best.yaml``."""

    format_version: Literal[2]
    study: str
    spec_hash: str
    written_by: str
    recommended: Literal["on", "off", "not known"]
    answer: list[str]
    recommendation: Recommended | Unavailable
    chosen: Chosen | None = None
    """Choice that readers take; None for the recommendation."""
    evidence: Evidence | None = None
    """None if the file was made from a table alone."""
    method: dict[str, Any]
    """The spec's method section; a choice's parameters complete it."""
    other_choices: dict[str, dict[str, Choice | Unavailable | str]]
    """Choices by metric and rule, each with the question that it answers."""

    @field_validator("other_choices", mode="before")
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

    def parameters(self) -> dict[str, Any]:
        """Return the chosen parameters: axis -> value. Raises UserError if there are none."""
        entry = self._entry
        if isinstance(entry, Recommended | Choice):
            return entry.parameters
        reason = entry.unavailable if isinstance(entry, Unavailable) else "it lacks the choice that it names"
        raise UserError(f"the best file of {self.study} holds no choice of parameters: {reason}")

    @property
    def trained_with(self) -> Mapping[str, Any]:
        """Training section that the chosen parameters were trained with; empty if it is not known."""
        entry = self._entry
        if isinstance(entry, Recommended):
            return entry.trained_with
        if self.evidence is None or not isinstance(entry, Choice):
            return {}
        varied = {axis: value for axis, value in entry.parameters.items() if axis.startswith("training.")}
        return {**self.evidence.training, **{axis.partition(".")[2]: value for axis, value in varied.items()}}

    @property
    def _entry(self) -> Recommended | Choice | Unavailable | str | None:
        """The entry that holds the chosen parameters, or says why there are none; None if the file lacks it."""
        if self.chosen is None:
            return self.recommendation
        return self.other_choices.get(self.chosen.metric, {}).get(self.chosen.rule)

    @property
    def why_chosen(self) -> str:
        """Name of the chosen parameters, in words."""
        if self.chosen is None:
            return f"recommended: {self.recommended}"
        return f"{self.chosen.metric}, {self.chosen.rule}"


def write_best_file(path: Path | str, document: Mapping[str, Any]) -> Path:
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
        place = item["loc"]
        # reported for each kind of entry: keep the mistake as a choice, or as the recommendation
        if Unavailable.__name__ in place or (item["type"], place[-1]) == ("string_type", "str"):
            continue
        where = ".".join(str(part) for part in place if part not in (Choice.__name__, Recommended.__name__))
        mistakes.setdefault(where, item["msg"])
    (where, text), *more = mistakes.items()
    text = text.removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{where}: {text[0].lower()}{text[1:]}" + (f"; and {len(more)} more mistakes" if more else "")
