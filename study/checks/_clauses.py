"""Clauses of a contract: how one is tested, and those that problems and rules share."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from study.errors import SpecError, UserError
from study.planning.cells import baselines, replicates
from study.planning.tasks import make_tasks
from study.replicates.replicate import Pack
from study.specification import Section, load_spec, messages
from study.training.packs import train_pack

EPOCHS = 24
"""Epochs of the trainings that test a class."""
WINDOW = 6
"""Snapshots in the windows that test a class."""


@dataclass(frozen=True)
class Result:
    """Result of one test."""

    what: str
    """The clause that was tested."""
    passed: bool
    why: str = ""
    """Reason of a failure."""


class _Broken(Exception):
    """A clause of the contract does not hold."""


def run_clause(what: str, test: Callable[[], object]) -> Result:
    """Run the test of a clause; it fails if it raises."""
    try:
        test()
    except _Broken as broken:
        return Result(what, False, str(broken))
    except Exception as error:
        return Result(what, False, f"{type(error).__name__}: {error}")
    return Result(what, True)


def require(holds: bool, why: str) -> None:
    """Fail the clause that is being tested, unless the condition holds."""
    if not holds:
        raise _Broken(why)


def build(owner: type, model: type[Section], given: Mapping[str, Any], fields: Mapping[str, Any]) -> Any:
    """Make an instance of a class, with its fields as a spec's section converts them.

    Args:
        owner: the class.
        model: its section of a spec.
        given: other keys that the section must have, such as its name.
        fields: fields as they were typed; the section makes a number of the text 1e-6, for example.

    Raises:
        UserError: the section or the class refuses the fields.
    """
    try:
        return owner(**section_values(model, given, fields))
    except ValidationError as error:
        raise SpecError(given["name"], messages("", model, error, {})) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{given['name']} refuses {dict(fields)}: {error}") from error


def section_values(model: type[Section], given: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as a spec's section converts them.

    Args:
        model: section of a spec.
        given: other keys that the section must have, such as its name.
        fields: fields as they were typed.
    """
    section = model.model_validate({**given, **fields})
    return {key: getattr(section, key) for key in fields}


def require_picklable(instance: Any) -> None:
    """Fail the clause if an instance or its class cannot be pickled as Ray sends them to a worker."""
    from ray import cloudpickle

    module = sys.modules[type(instance).__module__]
    cloudpickle.register_pickle_by_value(module)
    try:
        cloudpickle.loads(cloudpickle.dumps(type(instance)))
        cloudpickle.loads(cloudpickle.dumps(instance))
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def require_training(spec: Mapping[str, Any]) -> None:
    """Fail the clause if a replicate of this spec fails in training, or makes a wrong number of jumps."""
    loaded = load_spec(spec)
    for replicate in (*baselines(loaded), *replicates(loaded)):
        outcome = train_pack(Pack("check", (replicate,), 1, "cpu"), make_tasks(loaded, [replicate]), loaded.rules)[0]
        require(outcome.status != "failed", outcome.reason)
        jumps = EPOCHS // WINDOW if replicate.extrapolation is not None else 0
        require(
            outcome.status == "diverged" or len(outcome.jumps.epoch) == jumps,
            f"a training of {EPOCHS} epochs must make {jumps} jumps, but made {len(outcome.jumps.epoch)}",
        )
