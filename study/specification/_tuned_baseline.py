"""The section ``baseline`` of a spec: values of training that baselines alone are trained with."""

from typing import Any

from pydantic import ValidationError

from study.errors import shortened
from study.replicates.replicate import Value
from study.specification._sections import Training
from study.specification._spec import split_axis

COMPARABLE = tuple(key for key in Training.model_fields if key not in ("epochs", "products"))
"""Keys of training that plain training is tuned by. With other epochs, it would not end after as many steps; all packs
of a study have the same products."""


def tuned_values(
    given: dict[str, dict[str, Any]], axes: dict[str, list[Any]], mistakes: list[str]
) -> dict[str, tuple[Value, ...]]:
    """Return the values of each key that baselines alone vary, as the training section has them.

    Args:
        given: the sections as written.
        axes: the axes of the grid.
        mistakes: list that mistakes are added to.
    """
    values: dict[str, tuple[Value, ...]] = {}
    for written, listed in given["baseline"].items():
        section, key = split_axis(written)
        if section != "training" or key not in COMPARABLE:
            mistakes.append(f"baseline.{written}: {_why_not(section, key)}")
        elif written in axes:
            mistakes.append(
                f"baseline.{written}: is an axis as well, and baselines are trained with each value of an axis; give "
                f"one of them"
            )
        elif not isinstance(listed, list) or not listed:
            mistakes.append(f"baseline.{written}: must be a list of values, got {shortened(listed)}")
        else:
            values[written] = _validated(written, listed, mistakes)
    return values


def _why_not(section: str, key: str) -> str:
    valid = ", ".join(f"training.{name}" for name in COMPARABLE)
    if (section, key) == ("training", "epochs"):
        return f"baselines train as long as the cells, to be compared with them; valid keys are {valid}"
    if section == "method" or key in ("problem", "network"):
        return f"must be a key of training, because a baseline has no method; valid keys are {valid}"
    if section in ("problem", "network"):
        return (
            f"must be a key of training, because losses of another {section} cannot be compared; valid keys are {valid}"
        )
    return f"unknown key; valid keys are {valid}"


def _validated(written: str, listed: list[Any], mistakes: list[str]) -> tuple[Value, ...]:
    key, values = split_axis(written)[1], []
    for index, value in enumerate(listed):
        try:
            validated = getattr(Training(**{key: value}), key)
        except ValidationError as error:
            text = error.errors(include_url=False)[0]["msg"].replace("Input should be", "must be")
            mistakes.append(f"baseline.{written}[{index}]: {text[0].lower()}{text[1:]}, got {shortened(value)}")
            continue
        if validated in values:
            mistakes.append(f"baseline.{written}: must not repeat a value, got {shortened(value)} twice")
        values.append(validated)
    return tuple(values)
