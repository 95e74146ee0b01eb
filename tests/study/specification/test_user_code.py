"""Sections made from classes of the user's own, and what an axis of each kind is."""

import itertools
import sys
import textwrap
from dataclasses import fields

import pytest
import yaml

import accel
from study import load_spec
from study.errors import SpecError
from study.planning.cells import replicates
from study.specification._methods import jump_method
from study.training.jump_options import build_options

OPTIONS_OF_A_SPEC = [
    *("m", "s", "group", "sample", "start", "stop", "relaxation", "max_move", "shape", "noise", "candidates", "accept"),
    *("margin", "max_residual", "max_inconsistency", "moments"),
]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of the user's own beside their spec; returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def write(body, name=None):
        name = name or f"own_module_{len(made)}"
        monkeypatch.delitem(sys.modules, name, raising=False)
        made.append(name)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(body))
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)


PROBLEM = """
    from dataclasses import dataclass, field
    from typing import Literal
    from problems import Data, Sizes

    @dataclass(frozen=True)
    class Mine:
        size: int
        scale: float = 1.0
        shape: Literal["round", "square"] = "round"
        widths: tuple[int, ...] = (1, 2)
        on: bool = True
        limit: int | None = None
        derived: object = field(default=None, init=False)

        def sizes(self):
            return Sizes(self.size, 1, 10, 5)

        def data(self, progress=None):
            raise AssertionError("planning must not make data")
"""


def mistake(source):
    with pytest.raises(SpecError) as caught:
        load_spec(source)
    assert len(caught.value.mistakes) == 1, caught.value.mistakes
    return caught.value.mistakes[0]


def test_the_fields_of_a_problem_are_the_keys_of_its_section(raw, module):
    name = f"{module(PROBLEM)}:Mine"
    spec = load_spec(raw({"problem": {"name": name, "size": 3, "scale": "1e-2"}}))
    problem = spec.problem({})
    assert (problem.size, problem.scale, problem.shape, problem.widths) == (3, 0.01, "round", (1, 2))
    assert mistake(raw({"problem": {"name": name}})) == "problem.size: must be given, here or as an axis"
    assert mistake(raw({"problem": {"name": name, "size": 3, "shape": "flat"}})) == (
        "problem.shape: must be 'round' or 'square', got 'flat'"
    )
    assert mistake(raw({"problem": {"name": name, "size": 3, "sise": 3}})) == (
        "problem.sise: unknown key; did you mean size? valid keys are name, size, scale, shape, widths, on, limit"
    )


def test_the_kinds_of_axes(raw, module):
    axes = {
        "m": [4], "s": [2], "tolerance": [0.1], "form": ["state"], "network.hidden": [[8]], "training.batch": ["full"],
        "problem.size": [3], "problem.scale": [1], "problem.shape": ["round"], "problem.widths": [[1]],
        "problem.on": [False], "problem.limit": [None, 3],
    }  # fmt: skip
    spec = load_spec(raw({"problem": {"name": f"{module(PROBLEM)}:Mine"}, "network": None, "axes": axes}))
    assert {axis: spec.kind(axis) for axis in axes} == {
        "m": "int", "s": "int", "tolerance": "float", "form": ("state", "displacement"), "network.hidden": None,
        "training.batch": None, "problem.size": "int", "problem.scale": "float", "problem.shape": ("round", "square"),
        "problem.widths": None, "problem.on": (False, True), "problem.limit": None,
    }  # fmt: skip


RULE = """
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Line:
        damping: float = 1.0

        def __call__(self, window, s):
            raise AssertionError("planning must not extrapolate")
"""


def test_the_fields_of_a_rule_are_keys_beside_those_of_every_method(raw, module):
    name = f"{module(RULE)}:Line"
    method = {"name": name, "group": "model"}
    spec = load_spec(raw({"method": method, "axes": {"m": [4], "s": [2], "damping": [0.5, 1]}}))
    assert spec.rule_class.__name__ == "Line"
    assert spec.axes["damping"] == (0.5, 1.0)
    told = mistake(raw({"method": {**method, "tolerance": 0.1}, "axes": {"m": [4], "s": [2]}}))
    assert told.startswith("method.tolerance: unknown key; valid keys are name, mode, probes, snapshots, ")
    assert told.endswith(f"{', '.join(OPTIONS_OF_A_SPEC)}, damping")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("def broken(:", "could not be imported: SyntaxError"),
        ("raise RuntimeError('no licence')", "could not be imported: RuntimeError: no licence"),
        ("import nowhere_to_be_found", "could not be imported: ModuleNotFoundError"),
        ("Other = 1", "could not be imported: AttributeError"),
        ("class Mine: pass", "must be a dataclass: its fields are the keys of the section"),
        ("Mine = 5", "must be a dataclass"),
        ("from dataclasses import dataclass\n@dataclass\nclass Mine:\n    name: str = ''", "a field called 'name'"),
        (
            "from dataclasses import dataclass\n@dataclass\nclass Mine:\n    x: 'Nothing' = 0",
            "type annotations that can be",
        ),
        (
            "from dataclasses import dataclass\nimport numpy as np\n@dataclass\nclass Mine:\n    x: np.ndarray = None",
            "must have fields that YAML can hold",
        ),
        ("from dataclasses import dataclass\n@dataclass\nclass Mine:\n    x: int = 0", "must have the methods sizes()"),
    ],
)
def test_a_class_that_cannot_be_used_is_a_mistake_that_says_why(raw, module, body, expected):
    assert expected in mistake(raw({"problem": {"name": f"{module(body)}:Mine"}}))


def test_a_rule_must_not_take_a_methods_own_keys(raw, module):
    body = "from dataclasses import dataclass\n@dataclass\nclass Rule:\n    m: int = 0\n    group: str = ''"
    name = f"{module(body)}:Rule"
    assert mistake(raw({"method": {"name": name}, "axes": {"m": [4], "s": [2]}})) == (
        f"method.name: {name} must not have fields called group, m: every method has those keys"
    )


@pytest.mark.parametrize(
    "name", [".up:Mine", "no colon", "os:", ":path", "os:not an identifier", "a.b.c:D", 5, None, ["x"]]
)
def test_names_that_cannot_be_imported(raw, name):
    assert mistake(raw({"problem": {"name": name}})).startswith("problem.name: ")


def test_a_problem_with_its_own_network_takes_no_network_section(raw, module):
    body = PROBLEM + "\n        def network(self):\n            raise AssertionError('planning must not build it')\n"
    problem = {"name": f"{module(body)}:Mine", "size": 3}
    assert load_spec(raw({"problem": problem, "network": None}))
    assert mistake(raw({"problem": problem})) == "network: must be left out, because Mine brings its own network"


@pytest.mark.parametrize("where", ["working directory", "beside the spec"])
def test_a_module_is_found_in_the_working_directory_and_beside_the_spec(raw, tmp_path, monkeypatch, where):
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"found_{where.replace(' ', '_')}"
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    source = raw({"problem": {"name": f"{name}:Mine", "size": 3}})
    if where == "working directory":
        (here / f"{name}.py").write_text(textwrap.dedent(PROBLEM))
        assert load_spec(source).problem({}).size == 3
    else:
        (there / f"{name}.py").write_text(textwrap.dedent(PROBLEM))
        (there / "spec.yaml").write_text(yaml.safe_dump(source))
        assert load_spec(there / "spec.yaml").problem({}).size == 3
    sys.modules.pop(name)


POLICY_AXES = {
    "group": ["layer", "node", "weight", 3],
    "horizon": ["constant", "linear", "decay", "loss"],
    "horizon_jumps": [3, None],
    "candidates": [[1], [0.5, 1, 2]],
    "relaxation": [0.5, 1],
    "max_move": [None, 0.1],
    "sample": ["all", 0.5],
    "shape": ["none", "masked", "random", "last_step"],
    "noise": [0, 0.1],
    "start": [0, 2],
    "stop": [None, 20],
    "max_residual": [None, 0.1],
    "max_inconsistency": [0.1, 0.5],
}


@pytest.mark.parametrize("key", POLICY_AXES)
def test_every_policy_can_be_an_axis(small, key):
    spec = small({f"axes.{key}": POLICY_AXES[key], "seeds": 1})
    made = [
        {**vars(r.extrapolation), **r.extrapolation.options}[key] for r in replicates(spec)[: len(POLICY_AXES[key])]
    ]
    assert made == [tuple(value) if isinstance(value, list) else value for value in POLICY_AXES[key]]
    assert spec.kind("max_inconsistency" if key == "max_inconsistency" else "s") in ("int", "float")


METHODS = {
    "koopman": ({"s": [2], "tolerance": [0.0, 1e-3]}, accel.Koopman),
    "line": ({"s": [2], "anchor": ["line", "newest"]}, accel.Line),
    "anderson": ({"tolerance": [0.0, 1e-3], "mixing": [0.0, 1.0]}, accel.Anderson),
    "average": ({"decay": [0.5, 1.0]}, accel.Average),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_named_method_has_the_options_of_its_rule_as_keys(raw, name):
    axes, rule = METHODS[name]
    spec = load_spec(raw({"method": {"name": name}, "axes": {"m": [4], **axes}}))
    own = {field.name for field in fields(rule)}
    assert set(spec.models["method"].model_fields) - set(jump_method().model_fields) == own
    made = {build_options(r, {}, 40).rule for r in replicates(spec)}
    values = {key: axes[key] for key in axes if key in own}
    assert made == {rule(**dict(zip(values, each, strict=True))) for each in itertools.product(*values.values())}
    found = mistake(raw({"method": {"name": name, "rank": 1}, "axes": {"m": [4], "s": [1]}}))
    assert found.startswith("method.rank: unknown key")
    assert found.endswith(", ".join(f.name for f in fields(rule)))


@pytest.mark.parametrize("name", ["anderson", "average"])
def test_methods_without_a_horizon_take_none(raw, name):
    assert mistake(raw({"method": {"name": name}, "axes": {"m": [4], "s": [2]}})) == "axes.s[0]: must be 1, got 2"


def test_an_unknown_method_lists_the_known_ones(raw):
    assert "method.name: unknown method 'newton'; must be one of dmd, koopman, line, anderson, average" in mistake(
        raw({"method": {"name": "newton"}, "axes": {"m": [4], "s": [2]}})
    )


def test_rank_stands_in_for_tolerance(raw):
    axes = {"m": [4], "s": [2]}
    spec = load_spec(raw({"axes": {**axes, "rank": [1, 3]}}))
    assert spec.kind("rank") == "int"
    assert [r.extrapolation.rule_options["rank"] for r in replicates(spec)] == [1, 1, 3, 3]
    assert mistake(raw({"axes": axes})) == "method.tolerance: must be given, here or as an axis"
    assert mistake(raw({"axes": {**axes, "rank": [1]}, "method": {"name": "dmd", "tolerance": 0.1}})) == (
        "method.tolerance: must be left out where rank is given (1), got 0.1"
    )
    assert mistake(raw({"axes": {**axes, "m": [9, 4], "rank": [2, 4]}})) == (
        "method.rank: must be less than every m, got 4 with m = 4"
    )
    assert "greater than or equal to 1" in mistake(raw({"axes": {**axes, "rank": [0]}}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method.margin": 0.1}, "method.margin: must be 0 with accept always, which accepts every jump, got 0.1"),
        (
            {"method.stop": 6, "method.start": 2},
            "method.stop: must leave room for a window, at least start + m = 8, got 6",
        ),
        (
            {"method.sample": 5},
            "method.sample: must be a number of weights of at least every m, so that they tell the snapshots apart, "
            "got 5 with m = 6",
        ),
        ({"method.start": 20}, "training.epochs: 24 epochs, of which method.start skips 20, give 4 snapshots, fewer"),
        ({"method.candidates": []}, "method.candidates: tuple should have at least 1 item"),
        ({"method.candidates": [1, 0]}, "method.candidates[1]: must be greater than 0"),
        ({"method.relaxation": 0}, "method.relaxation: must be greater than 0, got 0"),
        ({"method.noise": -1}, "method.noise: must be greater than or equal to 0, got -1"),
        ({"method.horizon": "short"}, "method.horizon: must be 'constant', 'linear', 'decay' or 'loss', got 'short'"),
        ({"method.max_residual": -1}, "method.max_residual: must be greater than or equal to 0, got -1"),
    ],
)
def test_policies_that_cannot_be(raw, changes, expected):
    assert mistake(raw(changes)).startswith(expected)
