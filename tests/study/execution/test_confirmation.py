"""At its end, a run trains its choice on fresh seeds; a later run trains only what is missing."""

import json

import pytest

from study import load_spec, open_study, run, search
from study.execution import timing
from study.execution.confirmation import missing_confirmations
from study.record import lock_folder
from tests.study.conftest import MEASURE, QUADRATIC

SPEC = {**QUADRATIC, "seeds": 3, "confirm": 3, "baseline": {"training.lr": [0.01, 0.05, 0.1]}}
FRESH = [1000, 1001, 1002]


def recorded(record, kind):
    """Seeds and parameters of the replicates of a kind, those on fresh seeds too, by rising seed."""
    names = [name.partition(" ") for name in record.done()]
    listed = [json.loads(text) for first, _, text in names if first == kind]
    return sorted(((each.pop("seed"), each) for each in listed), key=lambda pair: pair[0])


def seeds_of(record, kind):
    return sorted({seed for seed, _ in recorded(record, kind)})


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory):
    return run(SPEC, tmp_path_factory.mktemp("confirmed") / "out", executor="inline")


def test_the_choice_and_the_best_plain_training_have_fresh_seeds(confirmed):
    result = confirmed.recommendation()
    for kind, parameters in (("baseline", result.recorded_plain), ("cell", result.cell)):
        fresh = [pair for pair in recorded(confirmed, kind) if pair[0] >= 1000]
        assert fresh == [(seed, parameters) for seed in FRESH]
    assert result.recorded_plain == {"training.lr": 0.1}
    assert (result.equal_steps.fresh, result.equal_steps.seeds) == (True, 3)
    # they are no part of the table, by which the choice was made
    assert sorted(set(confirmed.table()["seed"])) == [0, 1, 2]
    assert len(confirmed.table()) == 4 * 3
    assert len(confirmed.done()) == 4 * 3 + 3 * 3 + 2 * 3


def test_jumps_without_effect_change_no_ratio(tmp_path):
    """Final losses are read before the end for some windows, and plain training at the same epoch."""
    spec = {
        **QUADRATIC,
        "method": {"name": "dmd", "relaxation": 1e-12},
        "axes": {"m": [4, 5, 7, 24], "s": [5], "tolerance": [1e-6]},
        "training": {"optimizer": "sgd", "lr": 0.05, "epochs": 24, "dtype": "float64"},
    }
    table = run(spec, tmp_path / "out", executor="inline", timing=False).table()
    assert set(table["final_epoch"]) == {24.0, 20.0, 21.0}
    # a move of 1e-12 of a jump, through as many steps
    assert table["final_loss_ratio_train"].to_numpy() == pytest.approx(1.0, rel=1e-9)


def test_a_second_run_trains_nothing(confirmed, contents):
    before = contents(confirmed.folder)
    run(SPEC, confirmed.folder, executor="inline")
    assert contents(confirmed.folder) == before


def test_a_run_that_was_stopped_before_its_confirmation_goes_on(tmp_path):
    record = run({**SPEC, "confirm": 0}, tmp_path / "out", executor="inline")
    assert seeds_of(record, "cell") == [0, 1, 2]
    record = run(SPEC, tmp_path / "out", executor="inline")
    assert seeds_of(record, "cell") == seeds_of(record, "baseline") == [0, 1, 2, *FRESH]
    assert record.recommendation().equal_steps.fresh


def test_a_part_of_a_study_confirms_nothing(tmp_path):
    for only in ("baselines", "cells", "cells"):  # after the second nothing is missing but fresh seeds
        record = run(SPEC, tmp_path / "out", executor="inline", only=only)
        assert not {*seeds_of(record, "cell"), *seeds_of(record, "baseline")} & {*FRESH}
    assert len(missing_confirmations(record, load_spec(SPEC))) == 6


def test_a_plain_training_that_the_spec_no_longer_names_is_confirmed_and_timed_if_it_is_the_best(tmp_path, calls):
    run({**SPEC, "confirm": 0}, tmp_path / "out", executor="inline", timing=False)
    for baseline in ({"training.lr": [0.01]}, {}):
        record = run({**SPEC, "baseline": baseline}, tmp_path / "out", executor="inline")
        result = record.recommendation()
        assert result.recorded_plain == {"training.lr": 0.1}
        fresh = [pair for pair in recorded(record, "baseline") if pair[0] >= 1000]
        assert fresh == [(seed, {"training.lr": 0.1}) for seed in FRESH]
        assert (result.equal_steps.fresh, result.equal_steps.seeds) == (True, 3)
        assert result.time.pairs == timing.MIN_PAIRS
    assert len(calls) == 1


def test_what_an_old_study_lacks_is_trained_alone(tmp_path):
    old = run({**QUADRATIC, "seeds": 3}, tmp_path / "out", executor="inline")
    before = {row["pack"] for row in old.details()}
    told = str(old.answer())
    assert told.startswith("Not known: plain training's learning rate was not varied")
    assert "it trains the missing baselines only" in told
    spec = {**QUADRATIC, "seeds": 3, "baseline": SPEC["baseline"]}
    record = run(spec, tmp_path / "out", executor="inline")
    new = [row for row in record.details() if row["pack"] not in before]
    assert sorted((row["kind"], row["cell"]["training.lr"], row["seed"]) for row in new) == [
        ("baseline", rate, seed) for rate in (0.01, 0.1) for seed in (0, 1, 2)
    ]
    assert "was not varied" not in str(record.answer())


def test_a_probe_and_a_study_without_a_choice_confirm_nothing(tmp_path):
    probe = {**SPEC, "method": {"name": "dmd", "mode": "probe", "probes": 2}}
    record = run(probe, tmp_path / "probe", executor="inline")
    assert seeds_of(record, "cell") == seeds_of(record, "baseline") == [0, 1, 2]
    diverging = {**SPEC, "training": {"optimizer": "sgd", "lr": 1e6, "epochs": 24}}
    record = run(diverging, tmp_path / "diverging", executor="inline")
    assert record.recommendation().cell is None
    assert seeds_of(record, "cell") == seeds_of(record, "baseline") == [0, 1, 2]


@pytest.mark.parametrize("trials", [2, 9])  # 9: more than the 4 cells that there are
def test_a_search_confirms_its_choice_and_trains_the_values_of_baselines(tmp_path, trials, capsys):
    spec = {**SPEC, "design": "search"}
    record = search(spec, tmp_path / "out", trials=trials, executor="inline", sampler="random")
    cells = min(trials, 4)
    # 3 seeds of each cell and of 3 plain trainings; then 3 fresh seeds of the choice and of the best of these
    counts = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("replicates")]
    assert counts == [f"replicates {3 * (cells + 3)}/{3 * (trials + 3)}", "replicates 6/6"]
    assert len(record.grid.cells) == cells
    assert len(record.table()) == 3 * cells
    assert seeds_of(record, "cell") == seeds_of(record, "baseline") == [0, 1, 2, *FRESH]
    assert {parameters.get("training.lr") for _, parameters in recorded(record, "baseline")} == {None, 0.01, 0.1}
    assert record.recommendation().equal_steps.fresh
    before = record.done()
    assert search(spec, tmp_path / "out", trials=trials, executor="inline", sampler="random").done() == before


def test_a_search_of_rates_counts_the_plain_trainings_of_every_new_cell(tmp_path, capsys):
    axes = {**QUADRATIC["axes"], "training.lr": {"from": 1e-3, "to": 0.1, "log": True}}
    training = {"optimizer": "sgd", "epochs": 24}
    spec = {**QUADRATIC, "training": training, "axes": axes, "design": "search", "seeds": 1}
    spec["baseline"] = {"training.batch": ["full", 32, 16]}
    search(spec, tmp_path / "out", trials=3, executor="inline", sampler="random", metric="final_loss_ratio")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("replicates")]
    assert line.partition(":")[0] == "replicates 12/12"  # 3 cells, each with a rate of its own and 3 plain trainings


def test_missing_confirmations_are_those_of_the_present_choice(confirmed):
    assert missing_confirmations(confirmed, load_spec(SPEC)) == []
    more = missing_confirmations(confirmed, load_spec({**SPEC, "confirm": 4}))
    assert [(r.is_baseline, r.seed) for r in more] == [(True, 1003), (False, 1003)]


# its time


@pytest.fixture
def calls(monkeypatch):
    """The measurements of time that are made from now on, each as short as can be."""
    made = []

    def measure(*arguments):
        made.append(arguments)
        return MEASURE(*arguments)

    monkeypatch.setattr(timing, "measure", measure)
    monkeypatch.setattr(timing, "PATIENCE_S", 0.0)
    return made


def ran(folder, **options):
    return run(SPEC, folder, executor="inline", **options)


def searched(folder, **options):
    return search({**SPEC, "design": "search"}, folder, trials=3, executor="inline", sampler="random", **options)


@pytest.mark.parametrize("go", [ran, searched])
def test_the_time_of_the_choice_is_measured_once(tmp_path, calls, go):
    record = go(tmp_path / "out", timing=False)
    assert (calls, record.recommendation().time) == ([], None)
    assert go(tmp_path / "out").recommendation().time is not None
    go(tmp_path / "out")
    assert len(calls) == 1
    result = open_study(tmp_path / "out").recommendation()
    assert calls[0][1:] == (result.cell, result.recorded_plain)
    assert result.time.pairs == timing.MIN_PAIRS
    assert result.time.low <= result.time.ratio <= result.time.high
    assert result.equal_time is not None
    assert result.time.device == "1 CPU thread"


@pytest.mark.parametrize("go", [ran, searched])
def test_a_study_is_timed_at_its_end(tmp_path, calls, go):
    assert go(tmp_path / "out").recommendation().time.pairs == timing.MIN_PAIRS
    assert len(calls) == 1


def test_a_part_of_a_study_is_not_timed(tmp_path, calls):
    for only in ("baselines", "cells", "cells"):
        run({**SPEC, "confirm": 0}, tmp_path / "out", executor="inline", only=only)
    assert calls == []


def test_a_complete_study_in_a_folder_that_another_run_holds_is_read(tmp_path, calls, contents):
    record = ran(tmp_path / "out", timing=False)
    with lock_folder(record.folder):
        before = contents(record.folder)
        assert ran(record.folder).recommendation().time is None
        assert contents(record.folder) == before
    assert len(calls) == 1
    assert ran(record.folder).recommendation().time is not None


def test_another_choice_is_measured_anew(tmp_path, calls):
    spec = {**SPEC, "confirm": 0}
    few = {**spec, "axes": {**SPEC["axes"], "s": [2]}}
    first = run(few, tmp_path / "out", executor="inline").recommendation()
    second = run(spec, tmp_path / "out", executor="inline").recommendation()
    assert (first.cell["s"], second.cell["s"]) == (2, 5)
    assert [cell for _, cell, _ in calls] == [first.cell, second.cell]
    assert first.time is not None
    assert second.time is not None
