"""Each clause of the contract of a rule, kept by good classes and broken on purpose, one at a time, by bad ones."""

import sys

import pytest

from study.checks import check_named
from study.errors import SpecError, UserError

MODULE = "checked_rules"
SOURCE = """
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


def test_a_good_rule_passes_every_clause(verdict):
    results = check_named("checked_rules:Good")
    assert [result.what for result in results if not result.passed] == []
    assert len(results) == 7
    assert verdict("checked_rules:Good", "damping=0.5") == {}


def test_the_packages_own_rule_passes_too(verdict, folder):
    (folder / "checked_dmd.py").write_text(
        "from dataclasses import dataclass\nfrom accel import DMD\n\n\n@dataclass(frozen=True)\nclass Mine(DMD): pass\n"
    )
    try:
        assert verdict("checked_dmd:Mine") == {}
        assert verdict("checked_dmd:Mine", "form=displacement", "tolerance=1e-6") == {}
    finally:
        sys.modules.pop("checked_dmd")


RULES = {
    "Bare": ("returns a Combination", "must return an accel.Combination, got Tensor"),
    "Short": ("returns a Combination", "coefficients must have the shape (3, 6), got (3, 5)"),
    "Sociable": ("does not depend on its neighbours", "a group alone and in a batch must give the same prediction"),
    "Blind": ("window that is not finite", "coefficients of a window with NaN must not be finite"),
    "Infectious": ("window that is not finite", "a window with NaN and of one without must give the same prediction"),
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
        ("checked_rules:Good", ["damping="], "damping: must be a valid number, got None"),
        ("checked_rules:Good", ["damping"], "must be KEY=VALUE"),
    ],
)
def test_what_cannot_be_checked_is_refused(verdict, name, assignments, expected):
    with pytest.raises((UserError, SpecError)) as caught:
        check_named(name, assignments)
    assert expected in str(caught.value)
