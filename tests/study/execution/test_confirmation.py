"""At its end, a run trains its choice on fresh seeds; a later run trains only what is missing."""

import pytest

from study import open_study, run, search
from study.execution import timing
from study.execution.confirmation import missing_confirmations
from tests.study.conftest import MEASURE, QUADRATIC

SPEC = {**QUADRATIC, "seeds": 3, "confirm": 3, "baseline": {"training.lr": [0.01, 0.05, 0.1]}}


def seeds_of(record, kind):
    return sorted({row["seed"] for row in record.details() if row["kind"] == kind})


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory):
    return run(SPEC, tmp_path_factory.mktemp("confirmed") / "out", executor="inline")


def test_the_choice_and_the_best_plain_training_have_fresh_seeds(confirmed):
    result = confirmed.recommendation()
    fresh = [row for row in confirmed.details() if row["seed"] >= 1000]
    assert [(row["kind"], dict(row["cell"])) for row in fresh if row["seed"] == 1000] == [
        ("baseline", result.recorded_plain),
        ("cell", result.cell),
    ]
    assert sorted(row["seed"] for row in fresh) == [1000, 1000, 1001, 1001, 1002, 1002]
    assert (result.equal_steps.fresh, result.equal_steps.seeds) == (True, 3)
    # they are no part of the table, by which the choice was made
    assert sorted(set(confirmed.table()["seed"])) == [0, 1, 2]
    assert len(confirmed.table()) == 4 * 3


def test_a_second_run_trains_nothing(confirmed, contents):
    before = contents(confirmed.folder)
    run(SPEC, confirmed.folder, executor="inline")
    assert contents(confirmed.folder) == before


def test_a_run_that_was_stopped_before_its_confirmation_goes_on(tmp_path):
    record = run({**SPEC, "confirm": 0}, tmp_path / "out", executor="inline")
    assert seeds_of(record, "cell") == [0, 1, 2]
    record = run(SPEC, tmp_path / "out", executor="inline")
    assert seeds_of(record, "cell") == [0, 1, 2, 1000, 1001, 1002]
    assert record.recommendation().equal_steps.fresh


def test_what_an_old_study_lacks_is_trained_alone(tmp_path):
    old = run(QUADRATIC, tmp_path / "out", executor="inline")
    before = {row["pack"] for row in old.details()}
    told = str(old.answer())
    assert told.startswith("Not known: plain training's learning rate was not varied")
    assert "it trains the missing baselines only" in told
    record = run({**QUADRATIC, "baseline": SPEC["baseline"]}, tmp_path / "out", executor="inline")
    new = [row for row in record.details() if row["pack"] not in before]
    assert sorted((row["kind"], row["cell"]["training.lr"], row["seed"]) for row in new) == [
        ("baseline", rate, seed) for rate in (0.01, 0.1) for seed in (0, 1)
    ]
    assert "was not varied" not in str(record.answer())


def test_a_probe_and_a_study_without_a_choice_confirm_nothing(tmp_path):
    probe = {**SPEC, "method": {"name": "dmd", "mode": "probe", "probes": 2}}
    record = run(probe, tmp_path / "probe", executor="inline")
    assert seeds_of(record, "cell") == [0, 1, 2]
    diverging = {**SPEC, "training": {"optimizer": "sgd", "lr": 1e6, "epochs": 24}}
    record = run(diverging, tmp_path / "diverging", executor="inline")
    assert record.recommendation().cell is None
    assert seeds_of(record, "cell") == [0, 1, 2]


def test_a_search_confirms_its_choice_and_trains_the_values_of_baselines(tmp_path):
    record = search({**SPEC, "design": "search"}, tmp_path / "out", trials=2, executor="inline", sampler="random")
    assert seeds_of(record, "cell") == [0, 1, 2, 1000, 1001, 1002]
    rates = {row["cell"].get("training.lr") for row in record.details() if row["kind"] == "baseline"}
    assert rates == {None, 0.01, 0.1}


def test_missing_confirmations_are_those_of_the_present_choice(confirmed, small):
    from study import load_spec

    assert missing_confirmations(confirmed, load_spec(SPEC)) == []
    more = missing_confirmations(confirmed, load_spec({**SPEC, "confirm": 4}))
    assert [(r.is_baseline, r.seed) for r in more] == [(True, 1003), (False, 1003)]


def test_the_time_of_the_choice_is_measured_once(tmp_path, monkeypatch):
    calls = []

    def measure(*arguments):
        calls.append(arguments)
        return MEASURE(*arguments)

    monkeypatch.setattr(timing, "measure", measure)
    monkeypatch.setattr(timing, "PATIENCE_S", 0.0)
    record = run(SPEC, tmp_path / "out", executor="inline", timing=False)
    assert (calls, record.recommendation().time) == ([], None)
    run(SPEC, tmp_path / "out", executor="inline")
    run(SPEC, tmp_path / "out", executor="inline")
    assert len(calls) == 1
    result = open_study(tmp_path / "out").recommendation()
    assert result.time.pairs == timing.MIN_PAIRS
    assert result.time.low <= result.time.ratio <= result.time.high
    assert result.equal_time is not None
    assert result.time.device == "1 CPU thread"
