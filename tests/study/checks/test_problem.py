"""Each clause of the contract of a problem, kept by good classes and broken on purpose, one at a time, by bad ones."""

import subprocess

import pytest

from study.checks import check_named
from study.checks import problem as problem_contract
from study.errors import SpecError, UserError

MODULE = "checked_problems"
SOURCE = """
    import os
    from dataclasses import dataclass
    import numpy as np
    import torch
    from problems import Data, Sizes

    @dataclass(frozen=True)
    class Good:
        samples: int = 20
        slope: float = 2.0

        def sizes(self):
            return Sizes(3, 2, self.samples, 10)

        def data(self, progress=None):
            rng = np.random.default_rng(0)
            x = rng.uniform(-1, 1, (self.samples + 10, 3))
            y = self.slope * x[:, :2]
            return Data(x[: self.samples], y[: self.samples], x[self.samples :], y[self.samples :])

    @dataclass(frozen=True)
    class Whole(Good):
        def network(self):
            return torch.nn.Linear(3, 2)

        def loss(self, network, inputs, targets):
            return (network(inputs) - targets).abs().mean()

    @dataclass
    class Thawed:
        sizes = Good.sizes
        data = Good.data
        samples: int = 20
        slope: float = 2.0

    @dataclass(frozen=True)
    class Sizeless:
        def data(self, progress=None):
            return Good().data()

    @dataclass(frozen=True)
    class Misjudged(Good):
        def sizes(self):
            return Sizes(3, 2, 21, 10)

    @dataclass(frozen=True)
    class Ragged(Good):
        def data(self, progress=None):
            d = Good.data(self)
            return Data(d.train_inputs, d.train_targets[1:], d.test_inputs, d.test_targets)

    @dataclass(frozen=True)
    class Single(Good):
        def data(self, progress=None):
            d = Good.data(self)
            return Data(d.train_inputs.astype(np.float32), d.train_targets, d.test_inputs, d.test_targets)

    @dataclass(frozen=True)
    class Holey(Good):
        def data(self, progress=None):
            d = Good.data(self)
            d.test_targets[0, 0] = np.nan
            return d

    @dataclass(frozen=True)
    class Moody(Good):
        def data(self, progress=None):
            d = Good.data(self)
            return Data(d.train_inputs + os.getpid() / 1e6, d.train_targets, d.test_inputs, d.test_targets)

    made = []

    @dataclass(frozen=True)
    class Restless(Good):
        def network(self):
            made.append(torch.nn.Linear(3, 2))
            torch.nn.init.constant_(made[-1].weight, len(made))
            return made[-1]

    @dataclass(frozen=True)
    class Summed(Whole):
        def loss(self, network, inputs, targets):
            return (network(inputs) - targets).abs().sum()

    @dataclass(frozen=True)
    class Vector(Whole):
        def loss(self, network, inputs, targets):
            return (network(inputs) - targets).abs().mean(0)

    @dataclass(frozen=True)
    class Immovable(Good):
        def __reduce__(self):
            raise TypeError("stays where it is")

    @dataclass(frozen=True)
    class Untrainable(Whole):
        def loss(self, network, inputs, targets):
            return (network(inputs) - targets).detach().abs().mean()

    @dataclass(frozen=True)
    class Broken(Good):
        def data(self, progress=None):
            raise OSError("no such instrument")
"""


@pytest.fixture
def without_fresh_process(monkeypatch):
    """Leave out the clause that starts a process, which costs seconds."""
    agreed = subprocess.CompletedProcess([], 0, stdout="the same", stderr="")
    monkeypatch.setattr(problem_contract, "_digest", lambda data: "the same")
    monkeypatch.setattr(problem_contract.subprocess, "run", lambda *arguments, **options: agreed)


def test_a_good_problem_passes_every_clause(verdict):
    results = check_named("checked_problems:Whole", ["slope=5e-1"])
    assert [result.what for result in results if not result.passed] == []
    assert len(results) == 7


def test_fields_are_filled_from_assignments(verdict, without_fresh_process):
    assert verdict("checked_problems:Good", "samples=30", "slope=1e-2") == {}


PROBLEMS = {
    "Thawed": ("is a frozen dataclass", "must be a frozen dataclass: @dataclass(frozen=True)"),
    "Sizeless": ("is a frozen dataclass", "must have the methods sizes() and data()"),
    "Misjudged": (
        "sizes() tells the shapes",
        "sizes() must agree with the arrays of data(), Sizes(inputs=3, outputs=2, train_samples=20",
    ),
    "Ragged": ("sizes() tells the shapes", "targets must have as many rows as inputs, (20, 10), got (19, 10)"),
    "Single": ("finite float64 arrays", "train_inputs must be float64, got float32"),
    "Holey": ("finite float64 arrays", "test_targets must be finite, but holds NaN"),
    "Restless": ("given by its seed", "the same seed must give the same network, but it gave two"),
    "Summed": ("mean over samples", "its mean over two halves differs from the loss of all samples"),
    "Vector": ("mean over samples", "the loss must be a finite scalar"),
    "Immovable": ("can be sent to a worker", "TypeError: stays where it is"),
    "Untrainable": ("it trains", "does not require grad"),
    "Broken": ("sizes() tells the shapes", "OSError: no such instrument"),
}


@pytest.mark.parametrize(("name", "clause", "why"), [(n, *v) for n, v in PROBLEMS.items()], ids=PROBLEMS)
def test_each_broken_clause_of_a_problem_is_reported(verdict, without_fresh_process, name, clause, why):
    broken = verdict(f"checked_problems:{name}")
    found = [what for what in broken if clause in what]
    assert len(found) == 1, broken
    assert why in broken[found[0]]


@pytest.mark.parametrize("name", ["Thawed", "Misjudged", "Restless", "Summed", "Immovable"])
def test_and_no_other_clause_is(verdict, without_fresh_process, name):
    assert len(verdict(f"checked_problems:{name}")) == 1


def test_data_that_differ_in_a_fresh_process_are_reported(verdict):
    assert verdict("checked_problems:Moody") == {
        "a fresh process makes the same data": "a fresh process must make the same data from the same fields, "
        "but it made other data"
    }


@pytest.mark.parametrize(
    ("name", "assignments", "expected"),
    [
        ("checked_problems:Good", ["samples=many"], "samples: must be a valid integer"),
        ("checked_problems:Good", ["sample=3"], "sample: unknown key; did you mean samples?"),
        ("quadratic", ["samples=1"], "refuses {'samples': 1}: quadratic: samples must be a whole number >= 2"),
    ],
)
def test_what_cannot_be_checked_is_refused(verdict, name, assignments, expected):
    with pytest.raises((UserError, SpecError)) as caught:
        check_named(name, assignments)
    assert expected in str(caught.value)
