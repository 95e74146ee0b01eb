import math
import random
import re
import subprocess
import sys

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from problems import BUILT_IN
from study import Spec, load_spec
from study.errors import SpecError
from study.planning.cells import baselines, cells, replicates
from study.specification import SECTIONS, TOP_LEVEL, method_names, presets


def mistakes(source, overrides=()):
    with pytest.raises(SpecError) as caught:
        load_spec(source, overrides)
    assert str(caught.value).splitlines()[1:] == [f"  {line}" for line in caught.value.mistakes]
    return caught.value.mistakes


def only_mistake(source, overrides=()):
    found = mistakes(source, overrides)
    assert len(found) == 1, found
    return found[0]


# presets


@pytest.mark.parametrize(
    ("name", "cell_count", "seeds", "replicate_count"),
    # the paper's Figure 3: m = 2..20 up, s = 5, 10, .., 100 to the right
    [
        ("quick", 7 * 8 * 2, 3, 336),
        ("figure3", 19 * 20, 1, 380),
        ("figure3-42", 7 * 6, 1, 42),
        ("figure3-full", 19 * 20 * 5, 3, 5700),
    ],
)
def test_presets_load(name, cell_count, seeds, replicate_count):
    spec = load_spec(name)
    assert spec.name == name
    assert len(cells(spec)) == cell_count
    assert len(spec.seeds) == seeds
    assert len(replicates(spec)) == replicate_count
    assert len(baselines(spec)) == seeds


@pytest.mark.parametrize(
    ("name", "cell_count", "baseline_count"),
    [
        ("class-pca", 4 * 4 * 3, 4),
        ("koopman", 4 * 2 * 2 * 2, 1),
        ("koopman-digits", 4 * 2 * 2, 1),
        ("mgrit", 3 * 3 * 2 * 2, 6),
        ("mgrit-serial", 6 * 2 * 2, 12),
        ("mgrit-two-level", 5 * 2, 5),
    ],
)
def test_presets_of_other_methods_load(name, cell_count, baseline_count):
    spec = load_spec(name)
    assert spec.name == name
    assert len(cells(spec)) == cell_count
    assert len(baselines(spec)) == baseline_count * len(spec.seeds)


def test_every_preset_is_one_of_those_tested_above():
    jumping = ["figure3", "figure3-42", "figure3-full", "quick"]
    others = ["class-pca", "koopman", "koopman-digits", "mgrit", "mgrit-serial", "mgrit-two-level"]
    assert presets() == sorted(jumping + others)


def test_quick_trains_as_figure3_does():
    quick, figure3 = load_spec("quick").sections["training"], load_spec("figure3").sections["training"]
    differences = {key for key in quick if quick[key] != figure3[key]}
    assert differences == {"epochs"}


# how values are read


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(
        "name: q\nproblem: {name: quadratic, noise: 1e-3}\nnetwork: {hidden: []}\n"
        "training: {lr: 5e-2, epochs: 24}\naxes: {m: [4], s: [2], tolerance: [1e-10, 1E-6, .01]}\n"
    )
    assert isinstance(yaml.safe_load("1e-10"), str)  # why this needs a test
    spec = load_spec(path)
    assert spec.axes["tolerance"] == (1e-10, 1e-6, 0.01)
    assert (spec.sections["training"]["lr"], spec.sections["problem"]["noise"]) == (0.05, 1e-3)


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ({"from": 2, "to": 5}, (2, 3, 4, 5)),
        ({"from": 5, "to": 100, "step": 5}, tuple(range(5, 101, 5))),
        ({"from": 2, "to": 9, "step": 3}, (2, 5, 8)),
        ({"from": 7, "to": 7}, (7,)),
    ],
)
def test_ranges_of_whole_numbers_include_both_ends(small, written, values):
    assert small({"axes.s": written}).axes["s"] == values


@pytest.mark.parametrize("step", [0.1, "1e-1"])
def test_ranges_of_real_numbers_hold_the_decimals_that_were_typed(small, step):
    spec = small({"training.lr": None, "axes.training.lr": {"from": 0.1, "to": 0.7, "step": step}})
    assert spec.axes["training.lr"] == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@pytest.mark.parametrize(
    ("seeds", "expected"), [(None, (0,)), (1, (0,)), (3, (0, 1, 2)), ([5], (5,)), ([7, 0, 3], (7, 0, 3))]
)
def test_seeds(small, seeds, expected):
    assert small({"seeds": seeds}).seeds == expected


@pytest.mark.parametrize(
    "seeds", [0, -1, 1.5, "three", True, [], [1, 1], [-1], [2**31], [0.5], [True], {"from": 0}, 10**400]
)
def test_seeds_that_cannot_be(raw, seeds):
    assert only_mistake(raw({"seeds": seeds})).startswith("seeds: must")


def test_defaults_are_those_of_the_paper(raw):
    spec = load_spec({"name": "q", "problem": {"name": "pollutant"}, "axes": {"m": [14], "s": [55], "tolerance": [0]}})
    assert spec.sections["network"] == {"hidden": (40, 200, 1000), "activation": "softsign"}
    assert spec.sections["training"]["epochs"] == 3000
    assert spec.section("method", {"m": 14, "s": 55, "tolerance": 0})["form"] == "state"


# what may vary


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("problem.seed", [0, 1]),
        ("problem.condition", [1.0, 10.0]),
        ("network.hidden", [[], [8], [8, 4]]),
        ("network.activation", ["softsign", "relu"]),
        ("training.optimizer", ["sgd", "adam"]),
        ("training.lr", [0.1, 0.01]),
        ("training.epochs", [24, 30]),
        ("training.batch", ["full", 16]),
        ("training.dtype", ["float32", "float64"]),
        ("form", ["state", "displacement"]),
        ("group", ["layer", "model"]),
        ("accept", ["always", "improve"]),
    ],
)
def test_any_key_of_a_section_may_be_an_axis(small, axis, values):
    section, dot, key = axis.partition(".")
    spec = small({axis if dot else f"method.{axis}": None, f"axes.{axis}": values})
    expected = tuple(tuple(v) if isinstance(v, list) else v for v in values)
    assert spec.axes[axis] == expected
    assert len(cells(spec)) == 4 * len(values)
    owner, name = (section, key) if dot else ("method", axis)
    assert name not in spec.sections[owner]
    for cell in cells(spec):
        assert spec.section(owner, cell)[name] == cell[axis]


def test_a_methods_axis_may_be_written_with_its_section(small):
    assert small({"axes.method.form": ["state"]}).axes["form"] == ("state",)


def test_an_axis_written_both_ways_is_one_axis_twice(raw):
    assert only_mistake(raw({"axes.method.m": [4]})) == "axes.method.m: is the same axis as axes.m; give one of them"


# --set


def test_overrides_reach_every_kind_of_key(raw):
    spec = load_spec(
        raw(),
        ["name=other", "seeds=[3,4]", "training.epochs=30", "axes.m=[5]", "axes.s={from: 1, to: 3}", "resources.cpu=2"],
    )
    assert (spec.name, spec.seeds, spec.resources.cpu) == ("other", (3, 4), 2.0)
    assert spec.sections["training"]["epochs"] == 30
    assert (spec.axes["m"], spec.axes["s"]) == ((5,), (1, 2, 3))


def test_overrides_as_a_mapping_are_those_as_text(raw):
    as_text = load_spec(raw(), ["axes.m=[5]", "training.lr=1e-3"])
    assert load_spec(raw(), {"axes.m": [5], "training.lr": 1e-3}).to_dict() == as_text.to_dict()


@pytest.mark.parametrize(
    ("override", "axes", "lr"),
    [
        ("axes.training.lr=[1e-1, 1e-2]", {"m", "s", "tolerance", "training.lr"}, None),
        ("method.tolerance=1e-4", {"m", "s"}, 0.05),
    ],
)
def test_an_override_turns_a_fixed_key_into_an_axis_and_back(raw, override, axes, lr):
    spec = load_spec(raw(), [override])
    assert set(spec.axes) == axes
    assert spec.sections["training"].get("lr") == lr


def test_overrides_do_not_change_what_they_override(raw):
    source = raw()
    load_spec(source, ["axes.m=[5]", "axes.training.lr=[0.1]"])
    assert source == raw()


@pytest.mark.parametrize("text", ["axes.m", "=3", "axes.m=[1", "axes.m=!!int x", "axes.m={a: 1, a: 2}"])
def test_an_override_that_cannot_be_read_is_named(raw, text):
    assert only_mistake(raw(), [text]).startswith(f"{text}: ")


def test_every_bad_override_is_named(raw):
    assert len(mistakes(raw(), ["one", "axes.m=[5]", "two"])) == 2


# mistakes


def test_ten_mistakes_are_reported_at_once_each_with_its_path(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(
        """
        name: ../elsewhere
        problem: {name: quadratic, sample: 10, noise: -1}
        network: {hidden: [8, 0], activation: softmax}
        training: {optimizer: sgd, lr: 0, epochs: many, bacth: 4}
        method: {name: dmd, form: straight}
        axes: {m: [1, 4], s: [0], tolerance: [0.5, 1], m_: [3]}
        seeds: 0
        resorces: {cpu: 1}
        """
    )
    found = mistakes(path)
    paths = [line.partition(": ")[0] for line in found]
    assert sorted(paths) == sorted(
        [
            "resorces", "name", "seeds", "problem.sample", "network.hidden[1]", "network.activation", "training.lr",
            "training.epochs", "training.bacth", "method.form", "axes.m[0]", "axes.s[0]", "axes.tolerance[1]",
            "axes.m_",
        ]
    )  # fmt: skip
    assert all(len(line) > len(path) + 10 for line, path in zip(found, paths, strict=True))


def test_a_preset_that_is_not_there():
    assert only_mistake("figure4") == (
        f"there is no such file, and no preset of this name; presets are {', '.join(presets())}"
    )


@pytest.mark.parametrize("source", ["x" * 5000, "no\0name", "", "."])
def test_names_that_cannot_be_files(source):
    assert "there is no such file" in only_mistake(source)


def test_the_valid_names_are_listed(raw):
    assert (
        only_mistake(raw({"nam": 1})) == f"nam: unknown key; did you mean name? valid keys are {', '.join(TOP_LEVEL)}"
    )
    found = only_mistake(raw({"training.learning_rate": 1}))
    assert found.startswith("training.learning_rate: unknown key; ")
    keys = "optimizer, lr, momentum, weight_decay, epochs, batch, dtype, order, precision, products"
    assert found.endswith(f"valid keys are {keys}")
    assert only_mistake(raw({"problem.name": "polutant"})) == (
        f"problem.name: unknown problem 'polutant'; must be one of {', '.join(BUILT_IN)}, or module:Class of your own"
    )
    methods = ", ".join(method_names())
    assert only_mistake(raw({"method.name": "dmdd"})) == (
        f"method.name: unknown method 'dmdd'; must be one of {methods}, or module:Class of your own"
    )
    assert "must be 'softsign', 'tanh', 'relu', 'sigmoid' or 'gelu', got 'softmax'" in only_mistake(
        raw({"network.activation": "softmax"})
    )
    assert re.search(r"valid keys are .*training\.lr.*, m, s, .*tolerance", only_mistake(raw({"axes.lr": [1]})))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"axes.m": [4, 1]}, "axes.m[1]: must be greater than or equal to 2, got 1"),
        ({"axes.m": None, "method.m": 1}, "method.m: must be greater than or equal to 2, got 1"),
        ({"axes.s": [0]}, "axes.s[0]: must be greater than or equal to 1, got 0"),
        ({"axes.s": [2.5]}, "axes.s[0]: must be a valid integer"),
        ({"axes.s": [True]}, "axes.s[0]: must be a number, got True"),
        ({"axes.tolerance": [1]}, "axes.tolerance[0]: must be less than 1, got 1"),
        ({"axes.tolerance": [-1e-3]}, "axes.tolerance[0]: must be greater than or equal to 0"),
        ({"axes.tolerance": [math.nan]}, "axes.tolerance[0]: must be a finite number"),
        ({"training.lr": math.inf}, "training.lr: must be a finite number"),
        ({"axes.m": []}, "axes.m: must hold at least one value, got none"),
        ({"axes.m": 4}, "axes.m: must be a list of values, {from: A, to: B, step: C}, or a range"),
        ({"axes": {}, "method": {"m": 4, "s": 2, "tolerance": 0}}, "axes: at least one axis must be given"),
        ({"axes.m": [4, 6, 4]}, "axes.m: must not repeat a value, got 4 twice"),
        ({"axes.tolerance": ["1e-3", 0.001]}, "axes.tolerance: must not repeat a value, got 0.001 twice"),
        ({"axes.s": [2, "2"]}, "axes.s: must not repeat a value, got 2 twice"),
        ({"axes.network.hidden": [[8], [8]], "network": None}, "axes.network.hidden: must not repeat a value"),
        ({"method.m": 4}, "axes.m: is fixed in method.m as well"),
        ({"training.epochs": 5}, "training.epochs: 5 epochs give 5 snapshots, fewer than the window m = 6"),
        ({"training.batch": 65}, "training.batch: must be at most the 64 training samples, got 65"),
        ({"training.batch": 0}, "training.batch: must be"),
        ({"training.epochs": 10**400}, "training.epochs: must be less than or equal to"),
        (
            {"axes.training.optimizer": ["sgd", "adagrad"], "training.optimizer": None, "method.moments": "reset"},
            "method.moments: must be keep with the optimizer adagrad",
        ),
        (
            {"axes.training.optimizer": ["adam", "adagrad"], "training.optimizer": None, "training.momentum": 0.5},
            "training.momentum: must be 0.0 with the optimizer adam or adagrad, which has none",
        ),
        ({"problem.noise": -1}, "problem: quadratic: noise must be a finite number >= 0, not -1.0"),
        ({"axes.problem.noise": [0.1, -1]}, "problem: quadratic: noise must be a finite number >= 0, not -1.0 at"),
        ({"problem": {"name": "pollutant", "samples": 10**400}}, "problem: "),
        ({"axes.m": {"from": 4}}, "axes.m: must be a list of values, {from: A, to: B, step: C}, or a range"),
        ({"axes.m": {"from": 6, "to": 4}}, "axes.m: {from: A, to: B, step: C} must have A <= B and C > 0; got"),
        ({"axes.m": {"from": 4, "to": 6, "step": 0}}, "axes.m: {from: A, to: B, step: C} must have"),
        ({"axes.m": {"from": 4, "to": "x"}}, "axes.m: {from: A, to: B, step: C} must have"),
        ({"axes.m": {"from": 4, "to": 10**400}}, "axes.m: {from: A, to: B, step: C} must have"),
        ({"axes.m": {"from": 4, "to": 10**6}}, "axes.m: must hold at most 10000 values"),
        ({"axes.s": list(range(1, 10_002))}, "axes.s: must hold at most 10000 values, got 10001"),
        ({"axes.tolerance": {"from": 0, "to": 0.9, "step": 1e-300}}, "axes.tolerance: must hold at most 10000 values"),
        ({"training": [1]}, "training: must be a mapping, got [1]"),
        ({"design": "sobol"}, "design: must be one of grid, saltelli, search, got 'sobol'"),
        ({"resources": {"cpu": 0}}, "resources.cpu: must be greater than 0, got 0"),
        ({"resources": {"gpus": 1}}, "resources.gpus: unknown key; did you mean gpu?"),
        ({"axes.problem.name": ["quadratic"]}, "axes.problem.name: unknown key"),
        ({"axes.resources.cpu": [1, 2]}, "axes.resources.cpu: unknown key"),
    ],
)
def test_what_must_hold_and_what_was_given(raw, changes, expected):
    assert any(line.startswith(expected) for line in mistakes(raw(changes))), mistakes(raw(changes))


@pytest.mark.parametrize(
    "name", ["../up", "a/b", "/etc", "..", ".hidden", "", "a" * 65, "a b", "a\nb", None, 5, ["a"], "-rf"]
)
def test_names_that_would_leave_the_results_folder(raw, name):
    source = {**raw(), "name": name}
    assert only_mistake(source).startswith("name: must be 1 to 64 letters, digits, '.', '_' or '-', got ")


def test_a_jump_must_fit_into_every_cell(small, raw):
    # mini-batches: 4 steps an epoch, so 2 epochs hold a window of 6; snapshots of epochs do not
    batches = {"training.batch": 16, "training.epochs": 2}
    assert small(batches)
    assert "give 2 snapshots" in only_mistake(raw({**batches, "method.snapshots": "epoch"}))
    assert "give 2 snapshots" in only_mistake(raw({**batches, "axes.snapshots": ["step", "epoch"]}))
    assert "give 5 snapshots" in only_mistake(raw({"training.epochs": None, "axes.training.epochs": [24, 5]}))
    axis = {"training.epochs": 2, "axes.training.batch": [16, "full"]}
    assert "give 2 snapshots" in only_mistake(raw(axis))


# YAML


@pytest.mark.parametrize(
    "text",
    [
        "name: [1",
        "\tname: x",
        "a: !!int x",
        "a: !!int ''",
        "a: !!bool maybe",
        "a: !!timestamp never",
        "a: !!binary x",
        "a: 2024-13-45",
        "{a: 1, a: 2}",
        "m: {from: 1, to: 2, from: 3}",
        "? [a]\n: 1",
        "a: 1\n---\nb: 2",
        "[" * 1500,
        "\0",
        "a: " + "9" * 5000,
    ],
)
def test_broken_yaml_is_a_mistake(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    assert only_mistake(path).startswith("not valid YAML: ")


@pytest.mark.parametrize("text", ["", "just text", "[1, 2]", "null", "3"])
def test_yaml_that_is_no_mapping(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    assert only_mistake(path).startswith("a spec must be a mapping with the keys name, problem, ")


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert only_mistake(path).startswith("the file could not be read: ")


@pytest.mark.parametrize("tag", ["object/apply:os.mkdir", "object/new:os.mkdir", "name:os.mkdir", "module:os"])
def test_unsafe_yaml_is_neither_run_nor_a_traceback(tmp_path, tag):
    path, victim = tmp_path / "spec.yaml", tmp_path / "made"
    path.write_text(f"name: !!python/{tag} ['{victim}']\n")
    assert "could not determine a constructor for the tag" in only_mistake(path)
    assert not victim.exists()


@pytest.mark.parametrize("text", ["a: &a [*a]", "problem: &a {name: *a}", "axes: &a {m: *a}"])
def test_a_spec_that_holds_itself_is_a_mistake(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    assert mistakes(path)


def test_aliases_of_aliases_do_not_fill_the_memory(tmp_path):
    # 10^9 leaves once written out
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    path = tmp_path / "spec.yaml"
    path.write_text("\n".join([*lines, "seeds: *i", "problem: *i"]))
    assert max(map(len, mistakes(path))) < 1000


def test_merge_keys_are_read(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(
        "name: q\nproblem: {name: quadratic}\nnetwork: {hidden: []}\ntraining: &t {epochs: 24}\n"
        "method: {<<: {tolerance: 1e-3}, form: displacement}\naxes: {m: [4], s: [2]}\n"
    )
    assert load_spec(path).sections["method"]["tolerance"] == 1e-3


@pytest.mark.parametrize("value", [{1, 2}, {(1, 2): 3}, object()])
def test_a_mapping_must_be_plain_data(raw, value):
    assert only_mistake(raw({"problem.seed": value})).startswith("must be plain data, as YAML can hold it")
    assert only_mistake(raw(), {"problem.seed": value}).startswith("must be plain data, as YAML can hold it")


# identity


@pytest.mark.parametrize(
    "changes",
    [
        {"axes.m": [4, 5, 6, 7]},
        {"axes.tolerance": [1e-3]},
        {"seeds": 5},
        {"resources": {"cpu": 2, "gpu": 0.5, "pack": 4}},
        {"training.lr": "5e-2"},
        {"training.dtype": "float32"},  # the default, spelt out
        {"training.products": "auto"},
    ],
)
def test_the_same_study(small, changes):
    assert small(changes).hash() == small().hash()


@pytest.mark.parametrize(
    "changes",
    [
        {"training.epochs": 25},
        {"training.lr": 0.04},
        {"training.batch": 16},
        {"training.products": "torch"},
        {"training.products": "onednn"},
        {"problem.seed": 1},
        {"network.hidden": [8]},
        {"method.form": "displacement"},
        {"axes.form": ["state"]},
        {"axes.training.lr": [0.05], "training.lr": None},
    ],
)
def test_another_study(small, changes):
    assert small(changes).hash() != small().hash()


def test_the_order_of_axes_and_keys_does_not_make_another_study(raw):
    source = raw()
    turned = {key: source[key] for key in reversed(source)}
    turned["axes"] = {axis: source["axes"][axis] for axis in reversed(source["axes"])}
    assert load_spec(turned).hash() == load_spec(source).hash()


def test_a_fresh_process_gives_the_same_identity_and_plan(fresh_environment):
    code = (
        "from study import load_spec\n"
        "from study.planning.cells import replicates; from study.planning.packs import plan\n"
        "spec = load_spec('figure3'); print(spec.hash(), *(p.id for p in plan(spec, replicates(spec))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=fresh_environment, capture_output=True, text=True, check=True
    )
    from study.planning.packs import plan

    spec = load_spec("figure3")
    assert done.stdout.split() == [spec.hash(), *(pack.id for pack in plan(spec, replicates(spec)))]


def test_to_dict_is_what_it_was_read_from(small):
    spec = small({"axes.network.hidden": [[], [8, 4]], "network": None})
    again = yaml.safe_load(yaml.safe_dump(spec.to_dict()))
    assert load_spec(again).to_dict() == spec.to_dict()
    assert load_spec(again).hash() == spec.hash()


# anything at all


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.sampled_from([10**400, -(10**400), 2**53, 2**63, 10**9]),
    st.floats(),
    st.sampled_from(["", "full", "dmd", "quadratic", "pollutant", "1e-3", "nan", "../x", "a:b", ".x:Y", "é\u200b"]),
    st.text(max_size=5),
    st.lists(st.integers(-2, 9) | st.text(max_size=2) | st.floats(), max_size=3),
    st.dictionaries(
        st.sampled_from(["from", "to", "step", "name", "m"]), st.integers(-2, 40) | st.floats() | st.text(), max_size=3
    ),
    st.lists(st.lists(st.integers(-1, 4), max_size=2), max_size=2),
)
KEYS = st.sampled_from(
    [
        *TOP_LEVEL,
        *(f"{section}.{key}" for section in (*SECTIONS, "resources") for key in ("name", "x", "seed")),
        *("problem.samples", "problem.noise", "problem.nodes_x", "problem.test_fraction", "network.hidden"),
        *("training.lr", "training.epochs", "training.batch", "training.dtype", "method.m", "method.s", "method.form"),
        *("axes.m", "axes.s", "axes.tolerance", "axes.training.batch", "axes.problem.seed", "axes.network.hidden"),
        *("axes.form", "axes.method.m", "axes.", "axes..", "axes.name", "resources.cpu", "resources.pack", "surprise"),
    ]
)


def attempt(source, overrides=()):
    """The spec, or its mistakes."""
    try:
        return load_spec(source, overrides)
    except SpecError as error:
        return error.mistakes


@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(KEYS, ODD), min_size=1, max_size=4), sets=st.booleans())
def test_whatever_is_typed_gives_a_spec_or_its_mistakes(raw, changes, sets):
    source = raw()
    if not sets:
        for path, value in changes:
            top, dot, key = path.partition(".")
            if not dot:
                source[top] = value
            elif isinstance(source.setdefault(top, {}), dict):
                source[top][key] = value
    made = attempt(source, dict(changes) if sets else ())
    if isinstance(made, Spec):
        assert load_spec(made.to_dict()).hash() == made.hash()
    else:
        assert made
        assert all(line.strip() for line in made)


def test_whatever_a_file_holds_gives_a_spec_or_its_mistakes(tmp_path):
    text, draw, path = yaml.safe_dump(load_spec("quick").to_dict()), random.Random(0), tmp_path / "spec.yaml"
    pieces = ["", ":", "-", "[", "{", "!!", "&a", "*a", "\n", " ", "9", "'"]
    outcomes = []
    for _ in range(300):
        letters = list(text)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(letters))
            letters[place : place + draw.randint(0, 2)] = draw.choice(pieces)
        path.write_text("".join(letters))
        outcomes.append(attempt(path))
    accepted = [made for made in outcomes if isinstance(made, Spec)]
    assert 0 < len(accepted) < len(outcomes)  # both were reached
    assert all(outcomes)


@pytest.mark.parametrize("key", [None, 3, 0.5, True])
@pytest.mark.parametrize("section", ["", "axes", "training", "method", "problem", "network", "resources"])
def test_a_key_that_is_no_text_is_a_mistake(raw, tmp_path, key, section):
    spec = raw()
    (spec.setdefault(section, {}) if section else spec)[key] = 1
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    with pytest.raises(SpecError):
        load_spec(path)


# options that came later


RECORDED = {"quick": "8465fa58b0f6c187", "koopman": "a296c5ff999c536b"}
"""Hashes of presets as version 0.1 recorded them, before `accel.JumpOptions` had any field of a later version."""


@pytest.mark.parametrize("name", RECORDED)
def test_a_later_option_at_its_default_leaves_the_study_as_it_was(name):
    assert load_spec(name).hash() == RECORDED[name]
    assert load_spec(name, {"method.max_move": None, "method.sample": "all"}).hash() == RECORDED[name]
    assert load_spec(name, {"method.max_move": 0.1}).hash() != RECORDED[name]
    assert load_spec(name, {"method.sample": 0.25}).hash() != RECORDED[name]
