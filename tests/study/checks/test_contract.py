"""Each clause of the contract, kept by good classes and broken on purpose, one at a time, by bad ones."""

import subprocess
import sys
import textwrap

import pytest

from study.checks import contract
from study.checks.contract import check_named
from study.errors import SpecError, UserError

PROBLEM = """
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

RULE = """
    from dataclasses import dataclass
    import torch
    from accel import Combination

    def combination(window, coefficients):
        fine = window.isfinite().all(-1).all(-1)
        coefficients = torch.where(fine[:, None], coefficients, torch.nan)
        return Combination(coefficients, fine.long(), torch.where(fine, 1.0, torch.nan))

    def line(window, s, damping=1.0):
        c = torch.zeros(window.shape[0], window.shape[-1], dtype=torch.float64)
        c[:, -1], c[:, -2] = 1 + damping * s, -damping * s
        return c

    @dataclass(frozen=True)
    class Good:
        damping: float = 1.0

        def __call__(self, window, s):
            return combination(window, line(window, s, self.damping))

    @dataclass(frozen=True)
    class Bare:
        def __call__(self, window, s):
            return line(window, s)

    @dataclass(frozen=True)
    class Short:
        def __call__(self, window, s):
            return combination(window, line(window, s)[:, 1:])

    @dataclass(frozen=True)
    class Sociable:
        def __call__(self, window, s):
            return combination(window, line(window, s) * (1 + window[:, -1, -1].mean()))

    @dataclass(frozen=True)
    class Blind:
        def __call__(self, window, s):
            return combination(torch.zeros_like(window), line(window, s))

    @dataclass(frozen=True)
    class Infectious:
        def __call__(self, window, s):
            return combination(window, line(window, s) + 0 * window.sum())

    @dataclass(frozen=True)
    class Slanted:
        def __call__(self, window, s):
            return combination(window, line(window, s) * (1 + window[:, :1, -1]))

    @dataclass(frozen=True)
    class Nervous:
        def __call__(self, window, s):
            if (window[:, :, 0] == window[:, :, 1]).all():
                raise ArithmeticError("nothing moves")
            return Good()(window, s)

    @dataclass(frozen=True)
    class Immovable(Good):
        def __reduce__(self):
            raise TypeError("stays where it is")

    @dataclass(frozen=True)
    class Lonely:
        def __call__(self, window, s):
            if len(window) == 1 and window.shape[-1] == 6 and s == 2:
                raise ArithmeticError("only in company")
            return Good()(window, s)

    @dataclass(frozen=True)
    class Neither:
        x: int = 0
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """A folder with a module of problems and a module of rules, whose names only this test uses."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "checked_problems.py").write_text(textwrap.dedent(PROBLEM))
    (folder / "checked_rules.py").write_text(textwrap.dedent(RULE))
    yield folder
    for name in ("checked_problems", "checked_rules"):
        sys.modules.pop(name, None)


@pytest.fixture
def verdict(modules, monkeypatch):
    """The clauses that a class breaks, with the reasons."""
    monkeypatch.chdir(modules)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def judge(name, *assignments):
        return {result.what: result.why for result in check_named(name, assignments) if not result.passed}

    return judge


@pytest.fixture
def without_fresh_process(monkeypatch):
    """Leave out the clause that starts a process, which costs seconds."""
    agreed = subprocess.CompletedProcess([], 0, stdout="the same", stderr="")
    monkeypatch.setattr(contract, "_digest", lambda data: "the same")
    monkeypatch.setattr(contract.subprocess, "run", lambda *arguments, **options: agreed)


def test_a_good_problem_passes_every_clause(verdict):
    results = check_named("checked_problems:Whole", ["slope=5e-1"])
    assert [result.what for result in results if not result.passed] == []
    assert len(results) == 7


def test_fields_are_filled_from_assignments(verdict, without_fresh_process):
    assert verdict("checked_problems:Good", "samples=30", "slope=1e-2") == {}


PROBLEMS = {
    "Thawed": ("is a frozen dataclass", "must be a frozen dataclass: @dataclass(frozen=True)"),
    "Sizeless": ("is a frozen dataclass", "must have the methods sizes() and data()"),
    "Misjudged": ("sizes() tells the shapes", "sizes() says Sizes(inputs=3, outputs=2, train_samples=21"),
    "Ragged": ("sizes() tells the shapes", "targets have (19, 10) rows"),
    "Single": ("finite float64 arrays", "train_inputs must be float64, is float32"),
    "Holey": ("finite float64 arrays", "test_targets holds values that are not finite"),
    "Restless": ("given by its seed", "the same seed gave two different networks"),
    "Summed": ("mean over samples", "over two halves it does not average to the whole"),
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
        "a fresh process makes the same data": "a fresh process made other data from the same fields"
    }


def test_a_good_rule_passes_every_clause(verdict):
    results = check_named("checked_rules:Good")
    assert [result.what for result in results if not result.passed] == []
    assert len(results) == 7
    assert verdict("checked_rules:Good", "damping=0.5") == {}


def test_the_packages_own_rule_passes_too(verdict, modules):
    (modules / "checked_dmd.py").write_text(
        "from dataclasses import dataclass\nfrom accel import DMD\n\n\n@dataclass(frozen=True)\nclass Mine(DMD): pass\n"
    )
    try:
        assert verdict("checked_dmd:Mine") == {}
        assert verdict("checked_dmd:Mine", "form=displacement", "tolerance=1e-6") == {}
    finally:
        sys.modules.pop("checked_dmd")


RULES = {
    "Bare": ("returns a Combination", "must return an accel.Combination, returned Tensor"),
    "Short": ("returns a Combination", "coefficients must have the shape (3, 6), has (3, 5)"),
    "Sociable": ("does not depend on its neighbours", "a group alone and in a batch must give the same prediction"),
    "Blind": ("not finite is reported", "a window with NaN gave finite coefficients"),
    "Infectious": ("not finite is reported", "neighbours of a window with NaN must give the same prediction"),
    "Slanted": ("orthogonal change of basis", "a window and its rotation must give the same prediction"),
    "Nervous": ("identical snapshots do not raise", "ArithmeticError: nothing moves"),
    "Immovable": ("can be sent to a worker", "TypeError: stays where it is"),
    "Lonely": ("it trains", "ArithmeticError: only in company"),
}


@pytest.mark.parametrize(("name", "clause", "why"), [(n, *v) for n, v in RULES.items()], ids=RULES)
def test_each_broken_clause_of_a_rule_is_reported(verdict, name, clause, why):
    broken = verdict(f"checked_rules:{name}")
    found = [what for what in broken if clause in what]
    assert len(found) == 1, broken
    assert why in broken[found[0]]


@pytest.mark.parametrize("name", ["Blind", "Infectious", "Slanted", "Nervous", "Immovable"])
def test_and_no_other_clause_of_a_rule_is(verdict, name):
    assert len(verdict(f"checked_rules:{name}")) == 1


@pytest.mark.parametrize(
    ("name", "assignments", "expected"),
    [
        ("checked_rules:Neither", [], "must be a problem (methods sizes and data) or a rule (method __call__); it is"),
        ("checked_rules:Missing", [], "could not be imported: AttributeError"),
        ("dmd", [], "module:Class of your own"),
        ("checked_problems:Good", ["samples=many"], "samples: must be a valid integer"),
        ("checked_problems:Good", ["sample=3"], "sample: unknown key; did you mean samples?"),
        ("checked_rules:Good", ["damping="], "damping: must be a valid number, got None"),
        ("checked_rules:Good", ["damping"], "must be KEY=VALUE"),
        ("quadratic", ["samples=1"], "refuses {'samples': 1}: quadratic: samples must be a whole number >= 2"),
    ],
)
def test_what_cannot_be_checked_is_refused(verdict, name, assignments, expected):
    with pytest.raises((UserError, SpecError)) as caught:
        check_named(name, assignments)
    assert expected in str(caught.value)
