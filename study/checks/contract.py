"""The tests that a problem or rule of the user's own must pass to be studied. What they ask for is the contract."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from accel import Combination
from problems import OwnLoss, OwnNetwork, Problem, Sizes
from study.errors import SpecError, UserError
from study.planning.cells import baselines, replicates
from study.planning.tasks import make_tasks
from study.replicates.replicate import Pack, Task
from study.specification import (
    Section,
    importable_here,
    load_spec,
    messages,
    method_section,
    parse_assignments,
    problem_section,
)
from study.training.networks import build_loss, build_network
from study.training.packs import train_pack

EPOCHS = 24
WINDOW = 6


@dataclass(frozen=True)
class Result:
    """One test: what was tested, and if it failed, why."""

    what: str
    passed: bool
    why: str = ""


def check_named(name: str, assignments: Iterable[str] = ()) -> list[Result]:
    """Test the problem or rule at ``module:Class``; assignments (``FIELD=VALUE``) fill its fields.

    Raises:
        UserError: there is no such class, it is neither a problem nor a rule, or it refuses the fields given.
    """
    importable_here()
    fields = parse_assignments(assignments)
    try:
        model, owner = problem_section(name)
        if isinstance(getattr(owner, "data", None), Callable):  # type: ignore[arg-type]
            return _check_problem(name, model, owner, fields)
        rule_model, rule = method_section(name)
    except ValueError as error:
        raise UserError(str(error)) from error
    # every class can be called; what is asked for is whether its instances can
    if rule is None or not any("__call__" in vars(ancestor) for ancestor in rule.__mro__):
        raise UserError(f"{name} must be a problem (methods sizes and data) or a rule (method __call__); it is neither")
    return _check_rule(name, rule_model, rule, fields)


def _check_problem(name: str, model: type[Section], owner: type, fields: Mapping[str, Any]) -> list[Result]:
    try:
        problem = owner(**_values(model, {"name": name}, fields))
    except ValidationError as error:
        raise SpecError(name, messages("", model, error, {})) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} refuses {dict(fields)}: {error}") from error
    results = [_test("is a frozen dataclass with the methods sizes() and data()", lambda: _frozen(problem, Problem))]
    if not results[0].passed:
        return results
    state: dict[str, Any] = {}

    def shapes() -> None:
        state["data"], sizes = problem.data(), problem.sizes()
        data = state["data"]
        found = Sizes(
            data.train_inputs.shape[1], data.train_targets.shape[1], len(data.train_inputs), len(data.test_inputs)
        )
        _require(found == sizes, f"sizes() says {sizes}, the arrays are {found}")
        lengths = len(data.train_targets), len(data.test_targets)
        _require(lengths == (sizes.train_samples, sizes.test_samples), f"targets have {lengths} rows")

    def numbers() -> None:
        for field in dataclasses.fields(state["data"]):
            array = getattr(state["data"], field.name)
            _require(array.dtype == np.float64, f"{field.name} must be float64, is {array.dtype}")
            _require(bool(np.isfinite(array).all()), f"{field.name} holds values that are not finite")

    def same_elsewhere() -> None:
        code = "import sys; from study.checks.contract import digest; print(digest(sys.argv[1], sys.argv[2]))"
        command = [sys.executable, "-c", code, name, json.dumps(dict(fields))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        _require(done.returncode == 0, f"a fresh process failed: {done.stderr.strip().splitlines()[-1:]}")
        _require(
            done.stdout.strip().splitlines()[-1] == _digest(state["data"]),
            "a fresh process made other data from the same fields",
        )

    def task() -> Task:
        data = state["data"]
        return Task(
            data.train_inputs,
            data.train_targets,
            data.test_inputs,
            data.test_targets,
            network=problem.network if isinstance(problem, OwnNetwork) else None,
            loss=problem.loss if isinstance(problem, OwnLoss) else None,
        )

    spec = {
        "name": "check",
        "problem": {"name": name, **fields},
        "training": {"epochs": EPOCHS},
        "method": {"name": "dmd", "tolerance": 1e-6},
        "axes": {"m": [WINDOW], "s": [2]},
    }
    if not isinstance(problem, OwnNetwork):
        spec["network"] = {"hidden": [8]}

    def network() -> None:
        recipe = replicates(load_spec(spec))[0].recipe
        one, two = (build_network(task(), recipe, seed=0).state_dict() for _ in range(2))
        _require(all(torch.equal(one[k], two[k]) for k in one), "the same seed gave two different networks")
        model = build_network(task(), recipe, seed=0).double()
        x, y = (torch.tensor(a) for a in (state["data"].train_inputs, state["data"].train_targets))
        value = build_loss(task())(model, x, y)
        _require(value.ndim == 0 and bool(value.isfinite()), f"the loss must be a finite scalar, is {value}")
        half = len(x) // 2
        parts = [build_loss(task())(model, *p).item() * len(p[0]) for p in ((x[:half], y[:half]), (x[half:], y[half:]))]
        _require(
            abs(sum(parts) / len(x) - value.item()) <= 1e-6 * abs(value.item()),
            "the loss must be the mean over samples: over two halves it does not average to the whole",
        )

    results += [
        _test("sizes() tells the shapes of the data", shapes),
        _test("the data are finite float64 arrays", numbers),
        _test("a fresh process makes the same data", same_elsewhere),
        _test("the network is given by its seed, and the loss is a mean over samples", network),
        _test("it can be sent to a worker", lambda: _travels(problem)),
        _test(f"it trains, {EPOCHS} epochs with DMD and without", lambda: _trains(spec)),
    ]
    return results


def _check_rule(name: str, model: type[Section], owner: type, fields: Mapping[str, Any]) -> list[Result]:
    try:
        rule = owner(**_values(model, {"name": name, "m": WINDOW, "s": 2}, fields))
    except ValidationError as error:
        raise SpecError(name, messages("", model, error, {})) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} refuses {dict(fields)}: {error}") from error
    windows = _windows()

    def shape() -> None:
        made = rule(windows, 5)
        _require(isinstance(made, Combination), f"must return an accel.Combination, returned {type(made).__name__}")
        batch, m = windows.shape[0], windows.shape[2]
        for field, expected in (("coefficients", (batch, m)), ("rank", (batch,)), ("spectral_radius", (batch,))):
            found = tuple(getattr(made, field).shape)
            _require(found == expected, f"{field} must have the shape {expected}, has {found}")
        _require(bool(made.coefficients.isfinite().all()), "coefficients of a well-behaved window are not finite")

    def alone() -> None:
        together = rule(windows, 5).coefficients
        for index in range(len(windows)):
            single = rule(windows[index : index + 1], 5).coefficients[0]
            _close(windows[index] @ single, windows[index] @ together[index], "a group alone and in a batch")

    def not_finite() -> None:
        spoilt = windows.clone()
        spoilt[0, 0, 0] = torch.nan
        made, clean = rule(spoilt, 5).coefficients, rule(windows, 5).coefficients
        _require(not bool(made[0].isfinite().all()), "a window with NaN gave finite coefficients")
        for index in range(1, len(windows)):
            _close(windows[index] @ made[index], windows[index] @ clean[index], "neighbours of a window with NaN")

    def basis() -> None:
        turn = torch.linalg.qr(torch.randn(WINDOW, WINDOW, dtype=torch.float64, generator=_generator()))[0]
        turned = turn @ windows
        for index in range(len(windows)):
            there = turn.T @ (turned[index] @ rule(turned, 5).coefficients[index])
            _close(there, windows[index] @ rule(windows, 5).coefficients[index], "a window and its rotation")

    spec = {
        "name": "check",
        "problem": {"name": "quadratic"},
        "network": {"hidden": []},
        "training": {"optimizer": "sgd", "lr": 0.05, "epochs": EPOCHS},
        "method": {"name": name, **fields},
        "axes": {"m": [WINDOW], "s": [2]},
    }
    return [
        _test("returns a Combination: coefficients (groups, m), rank and spectral radius (groups,)", shape),
        _test("a group's prediction does not depend on its neighbours in the batch", alone),
        _test("a window that is not finite is reported so, and leaves its neighbours alone", not_finite),
        _test("the prediction turns with the window under an orthogonal change of basis", basis),
        _test("identical snapshots do not raise", lambda: rule(windows[:, :, :1].expand(-1, -1, WINDOW).clone(), 5)),
        _test("it can be sent to a worker", lambda: _travels(rule)),
        _test(f"it trains, {EPOCHS} epochs on a quadratic", lambda: _trains(spec)),
    ]


def digest(name: str, fields: str) -> str:
    """Hash of a problem's data, for a fresh process to print. ``fields`` is JSON."""
    importable_here()
    model, owner = problem_section(name)
    return _digest(owner(**_values(model, {"name": name}, json.loads(fields))).data())


def _values(model: type[Section], given: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as the section makes them of what was typed, the number 1e-6 of the text, say."""
    section = model.model_validate({**given, **fields})
    return {key: getattr(section, key) for key in fields}


def _digest(data: Any) -> str:
    found = hashlib.sha256()
    for field in dataclasses.fields(data):
        found.update(np.ascontiguousarray(getattr(data, field.name)).tobytes())
    return found.hexdigest()


def _test(what: str, body: Callable[[], object]) -> Result:
    try:
        body()
    except Exception as error:
        return Result(what, False, f"{type(error).__name__}: {error}" if not isinstance(error, _Broken) else str(error))
    return Result(what, True)


class _Broken(Exception):
    """A clause of the contract does not hold."""


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise _Broken(why)


def _close(one: torch.Tensor, two: torch.Tensor, what: str) -> None:
    # predictions of float64 windows of size one: far above rounding, far below any move that matters
    error = (one - two).abs().max().item()
    _require(error <= 1e-6, f"{what} must give the same prediction, they differ by {error:.1e}")


def _frozen(instance: Any, protocol: type) -> None:
    _require(instance.__dataclass_params__.frozen, "must be a frozen dataclass: @dataclass(frozen=True)")
    _require(isinstance(instance, protocol), "must have the methods sizes() and data()")


def _travels(instance: Any) -> None:
    from ray import cloudpickle

    module = sys.modules[type(instance).__module__]
    cloudpickle.register_pickle_by_value(module)
    try:
        cloudpickle.loads(cloudpickle.dumps(type(instance)))
        cloudpickle.loads(cloudpickle.dumps(instance))
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _trains(spec: Mapping[str, Any]) -> None:
    loaded = load_spec(spec)
    for replicate in (*baselines(loaded), *replicates(loaded)):
        outcome = train_pack(Pack("check", (replicate,), 1, "cpu"), make_tasks(loaded, [replicate]), loaded.rules)[0]
        _require(outcome.status != "failed", outcome.reason)
        jumps = EPOCHS // WINDOW if replicate.extrapolation is not None else 0
        _require(
            outcome.status == "diverged" or len(outcome.jumps.epoch) == jumps, f"made {len(outcome.jumps.epoch)} jumps"
        )


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _windows() -> torch.Tensor:
    """Three decaying trajectories with a constant part, (3, m, m): what training looks like to a rule."""
    draw = _generator()
    steps = torch.arange(WINDOW, dtype=torch.float64)
    windows = []
    for rates in ((0.9, 0.5), (0.95, 0.3), (0.8, 0.7)):
        modes = torch.randn(WINDOW, 3, dtype=torch.float64, generator=draw)
        windows.append(modes @ torch.stack([torch.ones_like(steps), *(rate**steps for rate in rates)]))
    return torch.stack(windows)
