"""A comparison of methods: what is tuned and trained for it, what a second run trains, what it says of bad files."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study import open_study
from study.errors import SpecError, UserError
from study.method_comparison import load_methods, methods_files, run_methods
from study.method_comparison.standings import STEPS, TIME
from study.planning.cells import cells

SMALL = {
    "name": "small",
    "training": {"epochs": 60, "batch": "full"},
    "problems": {
        "quadratic": {
            "problem": {"name": "quadratic", "noise": 0, "condition": 1000},
            "network": {"hidden": []},
            "training": {"optimizer": "sgd", "dtype": "float64"},
            "rates": [1, 3, 1e9],
        }
    },
    "methods": {
        "anderson": {"method": {"name": "anderson"}, "axes": {"m": [4, 8]}},
        "wild": {"method": {"name": "line", "m": 4}, "axes": {"s": [10**15]}},
    },
    "tuning_seeds": 2,
    "seeds": 3,
    "timed_epochs": 20,
    "timed_seeds": 1,
    "resources": {"pack": "auto"},
}

STAGES = ("tuning", "final", "timed")


def changed(**changes):
    made = copy.deepcopy(SMALL)
    for path, value in changes.items():
        *places, last = path.split("__")
        place = made
        for name in places:
            place = place[name]
        place[last] = value
    return made


def trained(folder):
    """What is recorded: every pack with the time of its last change."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The small comparison, run once: its folder and its standings."""
    folder = tmp_path_factory.mktemp("methods") / "out"
    return folder, list(run_methods(load_methods(SMALL), folder, executor="inline"))


def rows_of(folder):
    return {(row["kind"], row["cell"]["training.lr"], row["seed"]): row for row in open_study(folder).details()}


def test_plain_training_is_tuned_first_and_methods_begin_from_its_rate(home):
    folder, (plain, *_) = home
    assert plain.parameters == {"training.lr": 3.0}  # 1e9 diverges, 1 is slower
    recorded = rows_of(folder / "quadratic" / "plain" / "tuning")
    assert sorted(recorded) == [("baseline", rate, seed) for rate in (1.0, 3.0, 1e9) for seed in (1000, 1001)]
    spec = open_study(folder / "quadratic" / "anderson" / "tuning").spec
    assert spec["axes"] == {"training.lr": [1.0, 3.0], "m": [4, 8]}


def test_plain_training_at_the_next_lower_rate_is_a_control_that_costs_as_much(home):
    folder, (_, lower, *_) = home
    assert (lower.method, lower.control, lower.parameters) == ("plain-lower-lr", True, {"training.lr": 1.0})
    assert lower.overhead == {STEPS: 1, TIME: 1}
    final = rows_of(folder / "quadratic" / "plain" / "final")
    assert len(final) == 6
    expected = [
        final["baseline", 1.0, s]["final_loss_test"] / final["baseline", 3.0, s]["final_loss_test"] for s in range(3)
    ]
    assert lower.ratios[TIME, "test"] == lower.ratios[STEPS, "test"] == pytest.approx(expected, rel=1e-12)


def test_final_seeds_are_others_than_those_that_chose(home):
    folder, _ = home
    seeds = {stage: open_study(folder / "quadratic" / "anderson" / stage).spec["seeds"] for stage in STAGES}
    assert seeds == {"tuning": [1000, 1001], "final": [0, 1, 2], "timed": [0]}


def test_the_best_cell_of_the_tuning_is_the_one_that_is_trained_on(home):
    folder, standings = home
    anderson = standings[2]
    table = open_study(folder / "quadratic" / "anderson" / "tuning").table()
    # jumps of 8 snapshots cost less than half an epoch in all, so that the order at equal cost is that of the end
    medians = table.groupby(["training.lr", "m"])["final_loss_train"].median()
    assert (anderson.parameters["training.lr"], anderson.parameters["m"]) == medians.idxmin()
    assert anderson.tried == len(medians) == 4


def test_ratios_are_those_of_the_recorded_losses_at_the_same_operations(home):
    folder, standings = home
    anderson = standings[2]
    plain = rows_of(folder / "quadratic" / "plain" / "final")
    final = rows_of(folder / "quadratic" / "anderson" / "final")
    m = anderson.parameters["m"]
    jump_steps = (m * (m + 1) + 2 * m) / (6 * 64)  # of study.replicates.flops, on 64 samples
    for place, seed in enumerate((0, 1, 2)):
        row, against = final["cell", anderson.parameters["training.lr"], seed], plain["baseline", 3.0, seed]
        spent = [epoch + (epoch // m) * jump_steps for epoch in row["curve_train_epoch"]]
        last = max(k for k, cost in enumerate(spent) if cost <= 60 + 1e-9)
        assert last < 60  # jumps cost something
        expected = row["curve_train"][last] / against["final_loss_train"]
        assert anderson.ratios[STEPS, "train"][place] == pytest.approx(expected, rel=1e-12)


def test_extrapolation_to_the_limit_wins_on_the_linear_iteration(home):
    _, standings = home
    anderson = standings[2]
    # nine unknown modes, windows of at most eight: each jump takes out all but one, and steps go on from there
    assert anderson.middle(STEPS, "train")[2] < 0.1
    assert anderson.all_better(STEPS, "test")
    assert anderson.overhead[STEPS] > 1
    assert anderson.overhead[TIME] > anderson.overhead[STEPS]  # on so small a network a jump is all interpreter


def test_a_method_that_diverges_wherever_it_is_tried_has_no_standing_and_trains_nothing_more(dmd_study, tmp_path):
    fragile = {"name": "tests.study.method_comparison._fragile:Fragile", "noise": 0}
    changes = changed(problems__quadratic__problem=fragile, methods={"wild": SMALL["methods"]["wild"]})
    *_, wild = run_methods(load_methods(changes), tmp_path / "out", executor="inline")
    assert (wild.method, wild.parameters, wild.ratios) == ("wild", None, {})
    assert sorted(path.name for path in (tmp_path / "out" / "quadratic" / "wild").iterdir()) == ["tuning"]
    assert set(open_study(tmp_path / "out" / "quadratic" / "wild" / "tuning").table()["status"]) == {"diverged"}
    (tmp_path / "fragile.yaml").write_text(json.dumps(changes))  # which is YAML
    done = dmd_study("compare-methods", tmp_path / "fragile.yaml", "--out", tmp_path / "out", "--executor", "inline")
    assert done.status == 0, done.err
    assert "| wild | none stayed finite |" in (tmp_path / "out" / "standings.md").read_text()


def test_what_is_missing_or_new_is_trained_and_nothing_else(home, tmp_path):
    folder, standings = home
    before = trained(folder)
    lost = folder / "quadratic" / "anderson" / "final"
    kept = lost.rename(tmp_path / "kept")
    file = load_methods(changed(methods__line={"method": {"name": "line"}, "axes": {"m": [4], "s": [2]}}))
    found = list(run_methods(file, folder, executor="inline"))
    after = trained(folder)
    new = {path for path in after if path not in before or after[path] != before[path]}
    places = {"/".join(Path(path).parts[:3]) for path in new}
    own = {f"quadratic/line/{stage}" for stage in STAGES}
    assert places == {"quadratic/anderson/final"} | own
    assert found[:4] == standings  # of the same packs, the same bits again
    assert kept.exists()


def test_the_command_trains_nothing_that_is_there_and_writes_a_page_a_picture_and_its_numbers(
    home, dmd_study, tmp_path
):
    folder, standings = home
    written = tmp_path / "small.yaml"
    written.write_text(json.dumps(SMALL))  # which is YAML
    before = trained(folder)
    done = dmd_study("compare-methods", written, "--out", folder, "--executor", "inline")
    assert done.status == 0, done.err
    assert trained(folder) == before
    assert "quadratic: 2 methods, 3 seeds. Methods with a lower training loss" in done.out
    assert "on every seed: 1 (anderson)" in done.out
    page = (folder / "standings.md").read_text()
    assert "* quadratic: 64 + 16 samples, 8 inputs, 4 outputs; noise 0, condition 1000; hidden []; epochs 60" in page
    assert re.search(r"\| wild \| \d\.\de\d+ / ", page)  # far from good, but finite
    numbers = pd.read_csv(folder / "figures" / "standings.csv")
    assert list(numbers["method"]) == ["plain", "plain-lower-lr", "anderson", "wild"]
    assert np.allclose(numbers["ratio_test_step_equivalents"][2], standings[2].middle(STEPS, "test")[0])
    assert (folder / "figures" / "standings.png").stat().st_size > 10_000
    for unknown in ([], ["--dry-run"]):
        refused = dmd_study("compare-methods", written, "--problem", "cubic", *unknown)
        assert (refused.status, refused.err) == (2, "dmd-study: problem must be one of quadratic; got 'cubic'\n")
    plan = dmd_study("compare-methods", written, "--dry-run", "--out", tmp_path / "none", "--set", "seeds=5")
    assert [word for word in plan.out.split("anderson", 1)[1].split("\n")[0].split() if word.isdigit()] == [
        "4", "14", "800",  # 4 cells x 2 seeds, 5 seeds, and one seed timed: 13 x 60 + 20 epochs
    ]  # fmt: skip
    assert not (tmp_path / "none").exists()


def test_a_rule_of_ones_own_takes_part(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "own-rule.md").read_text()
    rule = page.split("```python file=my_rule.py\n")[1].split("```")[0]
    (tmp_path / "compared_rule.py").write_text(rule)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {"method": {"name": "compared_rule:Line", "m": 4, "s": 2}, "axes": {"damping": [0.5, 1.0]}}
    file = load_methods(changed(methods={"own": own}))
    spec = file.tuning("quadratic", "own", file.rates("quadratic", 3.0))
    assert list(spec.rules) == ["compared_rule:Line"]
    assert [cell["damping"] for cell in cells(spec)] == [0.5, 1.0, 0.5, 1.0]
    chosen = file.chosen("quadratic", "own", cells(spec)[1], "final")
    assert chosen.axes == {"training.lr": (1.0,), "damping": (1.0,)}


def test_fewer_values_can_be_tried_on_a_problem_and_where_none_is_left_all_are():
    file = load_methods(changed(problems__quadratic__only={"m": [8, 3], "s": [7]}))
    assert file.tuning("quadratic", "anderson", [1]).axes == {"training.lr": (1.0,), "m": (8,)}
    assert file.tuning("quadratic", "wild", [1]).axes["s"] == (10**15,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods__plain": {"method": {"name": "line"}}}, "methods.plain: is the name of plain training"),
        ({"methods__a b": {"method": {"name": "line", "m": 3, "s": 1}}}, "methods.a b: must be 1 to 20 letters"),
        ({"methods__grid": {"method": {"name": "mgrit"}}}, "methods.grid: mgrit ends where serial training ends"),
        ({"methods__wild__problems": ["cubic"]}, "methods.wild.problems: must be among quadratic, got cubic"),
        ({"methods__wild__axes": {"training.lr": [1]}}, "methods.wild.axes: must leave training.lr to the comparison"),
        ({"methods__wild__method__mode": "probe"}, "methods.wild.method.mode: must be train, so that jumps are taken"),
        ({"methods__wild__metod": 1}, "methods.wild.metod: unknown key; did you mean method?"),
        ({"problems__quadratic__rates": []}, "problems.quadratic.rates: "),
        ({"problems__quadratic__rates": [1, 1]}, "plain on quadratic: axes.training.lr: must not repeat a value"),
        ({"problems__quadratic": 3}, "problems.quadratic: must be a mapping, got 3"),
        ({"training": {}}, "training.epochs: must be given"),
        ({"training__epochs": "many"}, "plain on quadratic: training.epochs: must be a valid integer"),
        ({"training__epochs": 9.5}, "plain on quadratic: training.epochs: must be a valid integer"),
        ({"training__epochs": 0}, "plain on quadratic: training.epochs: must be greater than or equal to 1, got 0"),
        ({"tuning_seeds": [2, 7]}, "tuning_seeds: must not be among seeds, or luck in tuning counts as merit"),
        ({"seeds": [0, 0]}, "seeds: must be a number from 1, or a list of seeds that differ, got [0, 0]"),
        ({"timed_epochs": 7}, "anderson on quadratic: training.epochs: 7 epochs give 7 snapshots, fewer than the "),
        ({"methods__anderson__method": {"name": "x"}}, "anderson on quadratic: method.name: unknown method 'x'"),
        ({"name": "../up"}, "name: must be 1 to 20 letters"),
        ({"colour": "red"}, "colour: unknown key"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_the_place(changes, said):
    with pytest.raises(SpecError) as refused:
        load_methods(changed(**changes))
    assert any(mistake.startswith(said) for mistake in refused.value.mistakes), refused.value.mistakes


def test_a_mistake_of_all_that_is_trained_on_a_problem_is_said_once():
    with pytest.raises(SpecError) as refused:
        load_methods(changed(training__lrr=3, methods__wild__method__colour="red"))
    known, own = refused.value.mistakes
    assert known.startswith("plain on quadratic: training.lrr: unknown key")
    assert own.startswith("wild on quadratic: method.colour: unknown key")


def test_all_mistakes_come_at_once_and_a_name_that_is_none_lists_those_there_are(tmp_path):
    with pytest.raises(SpecError) as refused:
        load_methods(
            changed(seeds=[0, 0], methods__plain={"method": {"name": "line"}}, methods__wild__problems=["cubic"])
        )
    assert len(refused.value.mistakes) == 3
    with pytest.raises(SpecError, match="no such file, and no comparison of that name; the package has methods"):
        load_methods("metods")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(SpecError, match="not valid YAML"):
        load_methods(broken)


def test_plain_training_that_diverges_at_every_rate_is_said(tmp_path):
    file = load_methods(changed(problems__quadratic__rates=[1e9], methods={"wild": SMALL["methods"]["wild"]}))
    with pytest.raises(UserError, match=r"problems.quadratic: plain training diverges at every one of its rates"):
        list(run_methods(file, tmp_path, executor="inline"))


def test_the_comparison_that_comes_with_the_package_keeps_its_promises():
    assert methods_files() == ["methods"]
    file = load_methods("methods")
    assert list(file.problems) == ["quadratic", "digits", "hamiltonian", "pollutant"]
    assert (file.epochs, len(file.seeds), file.timed_seeds) == (1000, 5, 3)
    pollutant = file.plain("pollutant", [1e-3], "final")
    sizes = pollutant.problem({}).sizes()
    widths = (sizes.inputs, *pollutant.sections["network"]["hidden"], sizes.outputs)
    assert widths == (6, 40, 100, 200, 445)
    assert sizes.train_samples + sizes.test_samples == 200
    for problem in file.problems:
        for method in file.entrants(problem):
            spec = file.tuning(problem, method, file.rates(problem, max(file.problems[problem].rates)))
            assert len(cells(spec)) <= 20
    rules = {one.method["name"] for one in file.methods.values()}
    assert rules == {"dmd", "koopman", "line", "anderson", "average", "ema", "lookahead", "class_pca"}
    assert {one.method.get("shape") for one in file.methods.values()} >= {"masked", "random", "last_step"}
