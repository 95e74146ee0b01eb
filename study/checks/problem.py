"""Contract tests for a problem given by the user."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from problems import Data, OwnLoss, OwnNetwork, Problem, Sizes
from study.checks._clauses import (
    EPOCHS,
    WINDOW,
    Result,
    build,
    require,
    require_picklable,
    require_training,
    run_clause,
    section_values,
)
from study.planning.cells import replicates
from study.replicates.replicate import Task
from study.specification import Section, importable_here, load_spec, problem_section
from study.training.networks import build_loss, build_network


def check_problem(name: str, model: type[Section], owner: type, fields: Mapping[str, Any]) -> list[Result]:
    """Test a problem.

    Args:
        name: ``module:Class`` of the problem.
        model: its section of a spec.
        owner: its class.
        fields: fields as they were typed.

    Raises:
        UserError: the problem refuses the fields.
    """
    problem = build(owner, model, {"name": name}, fields)
    frozen = run_clause(
        "is a frozen dataclass with the methods sizes() and data()", lambda: _require_frozen_problem(problem)
    )
    if not frozen.passed:
        return [frozen]
    spec: dict[str, Any] = {
        "name": "check",
        "problem": {"name": name, **fields},
        "training": {"epochs": EPOCHS},
        "method": {"name": "dmd", "tolerance": 1e-6},
        "axes": {"m": [WINDOW], "s": [2]},
    }
    if not isinstance(problem, OwnNetwork):
        spec["network"] = {"hidden": [8]}
    clauses = _Clauses(name, fields, problem, spec)
    return [
        frozen,
        run_clause("sizes() tells the shapes of the data", clauses.shapes),
        run_clause("the data are finite float64 arrays", clauses.numbers),
        run_clause("a fresh process makes the same data", clauses.same_elsewhere),
        run_clause("the network is given by its seed, and the loss is a mean over samples", clauses.network_and_loss),
        run_clause("it can be sent to a worker", lambda: require_picklable(problem)),
        run_clause(f"it trains for {EPOCHS} epochs, with DMD and without", lambda: require_training(spec)),
    ]


def digest(name: str, fields: str) -> str:
    """Return the hash of a problem's data; a fresh process prints it. ``fields`` is JSON."""
    importable_here()
    model, owner = problem_section(name)
    return _digest(owner(**section_values(model, {"name": name}, json.loads(fields))).data())


class _Clauses:
    """Clauses that only problems have; each method raises if its clause does not hold. Call `shapes` first.

    Args:
        name: ``module:Class`` of the problem.
        fields: fields as they were typed.
        problem: the problem with these fields.
        spec: content of a spec that trains it.
    """

    def __init__(self, name: str, fields: Mapping[str, Any], problem: Problem, spec: Mapping[str, Any]) -> None:
        self.name, self.fields, self.problem, self.spec = name, fields, problem, spec
        self._made: Data | None = None

    def shapes(self) -> None:
        self._made = data = self.problem.data()
        sizes = self.problem.sizes()
        shapes = Sizes(
            data.train_inputs.shape[1], data.train_targets.shape[1], len(data.train_inputs), len(data.test_inputs)
        )
        require(shapes == sizes, f"sizes() must agree with the arrays of data(), {shapes}, got {sizes}")
        lengths, rows = (len(data.train_targets), len(data.test_targets)), (sizes.train_samples, sizes.test_samples)
        require(lengths == rows, f"targets must have as many rows as inputs, {rows}, got {lengths}")

    def numbers(self) -> None:
        data = self._data()
        for field in dataclasses.fields(data):
            array = getattr(data, field.name)
            require(array.dtype == np.float64, f"{field.name} must be float64, got {array.dtype}")
            require(bool(np.isfinite(array).all()), f"{field.name} must be finite, but holds NaN or infinite values")

    def same_elsewhere(self) -> None:
        data = self._data()
        code = "import sys; from study.checks.problem import digest; print(digest(sys.argv[1], sys.argv[2]))"
        command = [sys.executable, "-c", code, self.name, json.dumps(dict(self.fields))]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        last_line = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        require(ended.returncode == 0, f"a fresh process must make the data, but it failed: {last_line}")
        require(
            ended.stdout.strip().splitlines()[-1] == _digest(data),
            "a fresh process must make the same data from the same fields, but it made other data",
        )

    def network_and_loss(self) -> None:
        data, recipe = self._data(), replicates(load_spec(self.spec))[0].recipe
        task = Task(
            data.train_inputs,
            data.train_targets,
            data.test_inputs,
            data.test_targets,
            network=self.problem.network if isinstance(self.problem, OwnNetwork) else None,
            loss=self.problem.loss if isinstance(self.problem, OwnLoss) else None,
        )
        first, second = (build_network(task, recipe, seed=0).state_dict() for _ in range(2))
        require(
            all(torch.equal(first[key], second[key]) for key in first),
            "the same seed must give the same network, but it gave two different ones",
        )
        model, loss = build_network(task, recipe, seed=0).double(), build_loss(task)
        x, y = torch.tensor(data.train_inputs), torch.tensor(data.train_targets)
        value = loss(model, x, y)
        require(value.ndim == 0 and bool(value.isfinite()), f"the loss must be a finite scalar, got {value}")
        half = len(x) // 2
        halves = [loss(model, *part).item() * len(part[0]) for part in ((x[:half], y[:half]), (x[half:], y[half:]))]
        require(
            abs(sum(halves) / len(x) - value.item()) <= 1e-6 * abs(value.item()),
            "the loss must be the mean over samples, but its mean over two halves differs from the loss of all samples",
        )

    def _data(self) -> Data:
        """Return the data that `shapes` has made."""
        require(self._made is not None, "data() must return data; see the clause on sizes()")
        assert self._made is not None
        return self._made


def _require_frozen_problem(instance: Any) -> None:
    require(instance.__dataclass_params__.frozen, "must be a frozen dataclass: @dataclass(frozen=True)")
    require(isinstance(instance, Problem), "must have the methods sizes() and data()")


def _digest(data: Data) -> str:
    total = hashlib.sha256()
    for field in dataclasses.fields(data):
        total.update(np.ascontiguousarray(getattr(data, field.name)).tobytes())
    return total.hexdigest()
