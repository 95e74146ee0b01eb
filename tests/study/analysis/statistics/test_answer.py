"""The answer says in one to three plain sentences what the replicates support, and no more."""

import pandas as pd
import pytest

from study.analysis.statistics.answer import answer, change_in_words, interval_in_words
from study.analysis.statistics.recommendation import Estimate
from study.analysis.statistics.study_data import StudyData
from tests.dashboards._made_up import MadeUp
from tests.study.analysis.statistics.test_recommendation import gain_at, noisy, study, timing


def asked(centre, sigma=0.0001, **options):
    return answer(study(noisy(centre, sigma), **options))


def test_a_gain_over_tuned_plain_training_is_a_yes():
    told = asked(gain_at(8, 10, 0.75), fresh=noisy(gain_at(8, 10, 0.75), 0.0001))
    assert told.verdict == "yes"
    assert told.sentences == (
        "Yes: with m = 8, s = 10, training ends 25 % lower than the best plain training (learning rate 0.1) after as "
        "many epochs (25 to 25 % lower, 5 fresh seeds).",
        "Time was not measured.",
        "Plain training is best at the highest learning rate tried, 0.1: try higher ones too.",
    )
    assert told.details[-1] == "1 of 4 cells end below the best plain training (learning rate 0.1)."


def test_plain_training_that_was_not_varied_is_said_first():
    told = asked(gain_at(8, 10, 0.75), plain={0.1: 1.0})
    assert told.verdict == "unsure"
    assert told.sentences[0].startswith(
        "Not known: plain training's learning rate was not varied; with m = 8, s = 10, training ends 25 % lower than "
        "plain training after as many epochs (25 to 25 % lower, 3 seeds, corrected for the choice)."
    )
    assert "run it again: it trains the missing baselines only" in told.sentences[-1]


def test_plain_training_wins():
    rates = {0.1: 1.0, 0.3: 0.1, 1.0: 0.5}
    told = asked(gain_at(8, 10, 0.75), plain=rates)
    assert told.verdict == "no"
    assert told.sentences[0] == (
        "No, plain training wins: the best of 4 cells, m = 8, s = 10, ends at 7.5 times the loss of the best plain "
        "training (learning rate 0.3) after as many epochs (7.49 to 7.5 times, 3 seeds, corrected for the choice)."
    )


def test_a_gain_over_its_own_recipe_is_told_beside_a_no():
    data = study(noisy(gain_at(8, 10, 0.75), 0.0001), plain={0.1: 1.0, 0.3: 0.1, 1.0: 0.5})
    data.table["final_loss_ratio_train"] = data.table["final_loss_train"]  # plain training at 0.1 ends at 1
    assert answer(data).sentences[-1] == (
        "It ends 25 % lower than plain training with its own learning rate 0.1 (median of 3 seeds), which is not the "
        "best."
    )


def test_steps_and_time_are_both_told_where_they_differ():
    centre, rates = gain_at(8, 10, 0.9), {0.1: 1.0, 0.05: 2.0, 0.2: 2.0}
    result = study(noisy(centre, 0.0001), plain=rates).recommendation
    told = asked(centre, plain=rates, timing=timing(result, 2.0))
    assert told.verdict == "unsure"
    assert told.sentences[0].startswith(
        "Not known: with m = 8, s = 10, training ends 10 % lower than the best plain training"
    )
    # the loss halves in 25 epochs: half of the time costs two halvings
    assert told.sentences[1].startswith(
        "An epoch with jumps takes 2 times as long as one without (2 to 2 times, 1 CPU thread); after as much time the "
        "loss is 3.6 times as high ("
    )
    assert told.sentences[1].endswith("this cell pays in steps, but not in time; others were not timed.")


def test_a_gain_that_is_too_small_is_told_as_such():
    told = asked(lambda cell: 0.995, plain={0.1: 1.0, 0.05: 2.0, 0.2: 2.0})
    assert told.verdict == "no"
    assert told.sentences[0].startswith("No, a gain of 2 % or more is excluded: with m = ")
    assert "ends 0.49 % lower than the best plain training (learning rate 0.1)" in told.sentences[0]


def test_rates_that_did_not_finish_are_no_tuning():
    data = study(noisy(gain_at(8, 10, 0.5), 0.0001))
    for row in data.details:
        if row["kind"] == "baseline" and row["cell"]:
            row["status"] = "diverged"
    told = answer(data)
    assert told.verdict == "unsure"
    assert told.sentences[0].startswith("Not known: no other plain training finished; with m = 8, s = 10")
    assert told.sentences[-1].endswith("tried: learning rate 0.01, 0.1.")


def test_one_seed_cannot_tell():
    told = asked(gain_at(8, 10, 0.5), seeds=(0,))
    assert told.verdict == "unsure"
    assert "1 seed" in told.sentences[0]
    rates = {0.1: 1.0, 0.05: 2.0, 0.2: 2.0}
    assert "cannot be told from luck" in asked(gain_at(8, 10, 0.5), seeds=(0,), plain=rates).sentences[-1]


def test_what_could_have_been_seen_is_told_where_nothing_is_known():
    rates = {0.1: 1.0, 0.05: 2.0, 0.2: 2.0}
    told = asked(lambda cell: 1.0, sigma=0.1, plain=rates)
    assert told.verdict == "unsure"
    assert told.sentences[-1].startswith("This study could show a gain of ")


def test_all_diverged_is_a_no():
    assert answer(MadeUp(status=lambda cell, seed: "diverged").data()).verdict == "no"
    told = answer(MadeUp(status=lambda cell, seed: "diverged" if seed == 2 else "finished").data())
    assert told.verdict == "unsure"
    assert "24 with a diverged seed" in told.sentences[0]


def test_a_study_in_progress_counts_what_has_run():
    def status(cell, seed):
        return "missing" if cell["m"] == 14 or (cell["m"] == 2 and seed == 2) else "finished"

    told = answer(MadeUp(status=status).data())
    assert "m = 8, s = 10" in told.sentences[0]
    assert told.details[-1].startswith("6 of 16 cells end below plain training, 8 have no value for some seed yet")


def test_a_probe_does_not_say_whether_to_switch_it_on():
    told = answer(MadeUp(mode="probe").data())
    assert told.verdict == "unsure"
    assert "took none" in told.sentences[0]
    assert "m = 8, s = 10" in told.sentences[1]


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="no replicates yet"):
        answer(StudyData("a", pd.DataFrame(), {"m": [2]}, [0], list))


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.75, "25 % lower"),
        (1.12, "12 % higher"),
        (13.0, "13 times as high"),
        (0.9999, "0 % lower"),
        (0.998, "0.2 % lower"),
        (1e9, "over 1000 times as high"),
        (1e-16, "over 99 % lower"),
    ],
)
def test_a_ratio_is_written_in_words(ratio, words):
    assert change_in_words(ratio) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.67, 0.85, "15 to 33 % lower, 5 fresh seeds"),
        (1e-9, 0.5, "50 to over 99 % lower, 5 fresh seeds"),
        (1.1, 1.3, "10 to 30 % higher, 5 fresh seeds"),
        (2.5, 13.0, "2.5 to 13 times, 5 fresh seeds"),
        (0.9, 1.1, "10 % lower to 10 % higher, 5 fresh seeds"),
        (1.2, 15.5, "20 % higher to 15.5 times as high, 5 fresh seeds"),
        (1e-9, 1e9, "over 99 % lower to over 1000 times as high, 5 fresh seeds"),
    ],
)
def test_an_interval_is_written_in_words(low, high, words):
    assert interval_in_words(Estimate(1.0, low, high, 5, True, "unsure")) == words
