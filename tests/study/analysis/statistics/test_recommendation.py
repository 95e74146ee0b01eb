"""One cell is recommended, by fresh seeds where there are any, against the best plain training, in steps and time."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from study.analysis.statistics.paired_losses import settled_loss_after
from study.analysis.statistics.plain_training import PlainTraining, best_plain, plain_trainings, tuned_keys
from study.analysis.statistics.recommendation import _excluded_by_fresh_plain
from study.analysis.statistics.study_data import StudyData

AXES = {"m": [2, 8], "s": [5, 10]}
FRESH = (1000, 1001, 1002, 1003, 1004)
EPOCHS = 100


def row(kind, cell, seed, loss, *, status="finished", epochs=EPOCHS, half_life=25.0):
    """A replicate whose loss halves every ``half_life`` epochs, down to ``loss``, with a jump every 10 epochs."""
    at = np.arange(0, epochs + 1)
    curve = loss * 2.0 ** ((epochs - at) / half_life)
    jumps = np.arange(10, epochs - 9, 10) if kind == "cell" else np.zeros(0, int)
    return {
        "kind": kind,
        "cell": cell,
        "seed": seed,
        "status": status,
        "epoch": epochs,
        "final_epoch": float(epochs),
        "final_loss_train": loss,
        "final_loss_test": 2 * loss,
        "jump_epoch": jumps,
        "jump_train_before": curve[jumps],
        **{f"curve_{split}_epoch": at for split in ("train", "test")},
        "curve_train": curve,
        "curve_test": 2 * curve,
    }


def study(ratio, *, seeds=(0, 1, 2), fresh=None, plain=None, axes=AXES, fresh_status="finished", **options):
    """A study whose cells end at ``ratio(cell, seed)`` of plain training at rate 0.1; ``plain``: rate -> its loss."""
    plain = {0.1: 1.0, 0.01: 2.0} if plain is None else plain
    rows = [
        row("baseline", {} if rate == 0.1 else {"training.lr": rate}, seed, loss)
        for rate, loss in plain.items()
        for seed in (*seeds, *(FRESH if fresh else ()))
    ]
    cells = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    rows += [row("cell", cell, seed, ratio(cell, seed)) for cell in cells for seed in seeds]
    if fresh:
        for cell in cells:
            rows += [row("cell", cell, seed, fresh(cell, seed), status=fresh_status) for seed in FRESH]
    columns = ["seed", "status", "final_epoch", "final_loss_train", "final_loss_test"]
    table = pd.DataFrame([{**r["cell"], **{c: r[c] for c in columns}} for r in rows if r["kind"] == "cell"])
    table = table[table["seed"].isin(seeds)].reset_index(drop=True)
    if fresh:
        options["fresh_seeds"] = FRESH
    return StudyData("made up", table, axes, list(seeds), lambda: rows, training={"lr": 0.1}, **options)


def noisy(centre, sigma):
    """Ratios about ``centre(cell)``; the same for a cell and a seed whenever it is asked for."""

    def ratio(cell, seed):
        random = np.random.default_rng([cell["m"], cell["s"], seed])
        return centre(cell) * math.exp(random.normal(0, sigma))

    return ratio


def gain_at(m, s, ratio):
    return lambda cell: ratio if (cell["m"], cell["s"]) == (m, s) else 1.5


def timing(result, ratio):
    return {
        "cell": result.cell,
        "plain": result.recorded_plain,
        "ratio": ratio,
        "low": ratio,
        "high": ratio,
        "pairs": 5,
        "device": "1 CPU thread",
    }


def test_the_best_plain_training_is_the_one_to_beat():
    data = study(noisy(gain_at(8, 10, 0.9), 0.001), plain={0.1: 1.0, 0.01: 0.5})
    result = data.recommendation
    assert result.cell == {"m": 8, "s": 10}
    assert (result.plain, result.recorded_plain) == ({"training.lr": 0.01}, {"training.lr": 0.01})
    # 0.9 / 0.5, with the noise of three seeds
    assert result.equal_steps.ratio == pytest.approx(1.8, rel=0.01)
    assert (result.verdict, result.tuned) == ("no", {"training.lr": [0.01, 0.1]})
    assert study(noisy(gain_at(8, 10, 0.9), 0.001)).recommendation.plain == {"training.lr": 0.1}


def test_plain_training_that_did_not_finish_on_every_seed_is_not_the_best():
    rows = [row("baseline", {"training.lr": rate}, seed, rate) for rate in (0.1, 0.5) for seed in (0, 1)]
    rows[0]["status"] = "diverged"
    trainings = plain_trainings(rows)
    assert best_plain(trainings, [0, 1])[()].parameters == {"training.lr": 0.5}
    assert best_plain(trainings, [1])[()].parameters == {"training.lr": 0.1}
    assert best_plain(trainings, [0, 1, 2]) == {}


def test_problems_networks_and_lengths_are_compared_only_with_themselves():
    rows = [
        row("baseline", {"training.epochs": epochs, "problem.seed": seed_of_problem}, 0, loss)
        for (epochs, seed_of_problem), loss in {(10, 0): 3.0, (20, 0): 1.0, (10, 1): 9.0}.items()
    ]
    best = best_plain(plain_trainings(rows), [0])
    assert len(best) == 3
    assert tuned_keys([each["cell"] for each in rows], {}) == {}  # none of these is a way to tune


def test_fresh_seeds_tell_the_value_and_the_studys_seeds_choose():
    data = study(noisy(gain_at(8, 10, 0.7), 0.01), fresh=noisy(gain_at(8, 10, 0.9), 0.01))
    result = data.recommendation
    assert result.cell == {"m": 8, "s": 10}
    assert (result.equal_steps.fresh, result.equal_steps.seeds) == (True, 5)
    # the mean of five draws of 1 %: 0.9 within 2 %
    assert result.equal_steps.ratio == pytest.approx(0.9, rel=0.02)
    assert result.equal_steps.low < 0.9 < result.equal_steps.high
    assert result.verdict == "yes"


def test_a_gain_that_fresh_seeds_do_not_show_is_not_a_yes():
    data = study(noisy(gain_at(8, 10, 0.7), 0.01), fresh=noisy(lambda cell: 1.0, 0.001))
    assert data.recommendation.equal_steps.verdict == "no"
    # the study's own seeds say that there may be a gain, and fresh seeds tell of one cell only
    assert data.recommendation.verdict == "unsure"


def test_a_cell_that_diverges_on_a_fresh_seed_is_not_a_yes():
    data = study(noisy(gain_at(8, 10, 0.7), 0.01), fresh=noisy(gain_at(8, 10, 0.7), 0.01), fresh_status="diverged")
    assert (data.recommendation.verdict, data.recommendation.fresh_diverged) == ("unsure", 5)


def test_a_cell_that_diverges_on_a_fresh_seed_is_no_yes_in_time_either():
    data = study(noisy(gain_at(8, 10, 0.7), 0.01), fresh=noisy(gain_at(8, 10, 0.7), 0.01))
    for each in data.details:
        if each["kind"] == "cell" and each["seed"] == FRESH[0]:
            each["status"] = "diverged"
    result = replace(data, timing=timing(data.recommendation, 0.5)).recommendation
    assert (result.equal_time.verdict, result.verdict, result.fresh_diverged) == ("yes", "unsure", 1)


def test_a_loss_of_zero_has_no_ratio():
    result = study(noisy(lambda cell: 1.0, 0.01), plain={0.1: 1.0, 0.01: 0.0}).recommendation
    assert (result.cell, result.verdict) == (None, "unsure")
    assert result.why_none.startswith("a plain training ends at a loss of 0 or below")
    result = study(lambda cell, seed: 0.0).recommendation
    assert result.why_none.startswith("none of 4 cells ends above 0 on every seed")


def test_a_plain_training_without_a_seed_is_not_tuned():
    data = study(noisy(gain_at(8, 10, 0.5), 0.001))
    rows = [each for each in data.details if not (each["cell"] == {"training.lr": 0.01} and each["seed"] == 2)]
    result = replace(data, rows=lambda: rows).recommendation
    assert (result.tuned, result.tried, result.verdict) == ({}, {"training.lr": [0.01, 0.1]}, "unsure")


def test_the_interval_at_equal_time_includes_that_of_the_time():
    ratio = noisy(gain_at(8, 10, 0.9), 0.0001)
    measured = timing(study(ratio).recommendation, 1.25)
    sure, unsure = (
        study(ratio, fresh=ratio, timing=measured | ends).recommendation.equal_time
        for ends in ({}, {"low": 1.0, "high": 1.6})
    )
    assert unsure.ratio == sure.ratio
    # at a time ratio of 1 it is that at equal steps; at 1.6, training stops 37.5 epochs before the end
    assert unsure.low == pytest.approx(0.9, rel=1e-3)
    assert unsure.high == pytest.approx(0.9 * 2 ** (37.5 / 25), rel=1e-3)


def test_a_plain_training_that_nobody_varied_never_gives_a_yes():
    centre = gain_at(8, 10, 0.5)
    tuned, given = (study(noisy(centre, 0.001), plain=p).recommendation for p in (None, {0.1: 1.0}))
    assert (tuned.verdict, tuned.equal_steps.verdict) == ("yes", "yes")
    assert (given.verdict, given.equal_steps.verdict, given.tuned) == ("unsure", "yes", {})


def test_time_decides_where_it_is_measured():
    ratio = noisy(gain_at(8, 10, 0.9), 0.0001)
    result = study(ratio, fresh=ratio).recommendation
    assert (result.verdict, result.equal_time) == ("yes", None)
    # the loss halves in 25 epochs: 1.25 times the time is 20 epochs less, a factor of 2**(20/25)
    slow = study(ratio, fresh=ratio, timing=timing(result, 1.25)).recommendation
    assert slow.equal_steps == result.equal_steps
    assert slow.equal_time.ratio == pytest.approx(0.9 * 2 ** (20 / 25), rel=1e-3)
    assert (slow.equal_time.verdict, slow.verdict) == ("no", "unsure")  # other cells were not timed
    fast = study(ratio, fresh=ratio, timing=timing(result, 0.5)).recommendation
    # plain training gets half of its epochs, 50, in the same time
    assert fast.equal_time.ratio == pytest.approx(0.9 / 2 ** (50 / 25), rel=1e-3)
    assert fast.verdict == "yes"


def test_the_time_of_another_choice_is_not_used():
    ratio = noisy(gain_at(8, 10, 0.9), 0.001)
    result = study(ratio).recommendation
    for changed in ({"cell": {"m": 2, "s": 10}}, {"plain": {"training.lr": 0.01}}):
        data = study(ratio, timing=timing(result, 2.0) | changed)
        assert (data.recommendation.time, data.recommendation.equal_time) == (None, None)


def test_a_cell_that_ends_lower_but_much_slower_is_not_known():
    ratio = noisy(gain_at(8, 10, 0.9), 0.0001)
    result = study(ratio).recommendation
    both = study(ratio, timing=timing(result, 2.0)).recommendation
    assert (both.equal_steps.verdict, both.equal_time.verdict, both.verdict) == ("yes", "no", "unsure")


def test_without_a_complete_cell_or_a_plain_training_there_is_a_reason():
    def told(data):
        result = data.recommendation
        return result.cell, result.verdict, result.why_none

    data = study(noisy(lambda cell: 1.0, 0.01))
    data.table["status"] = "diverged"
    assert told(data) == (None, "no", "every one of 4 cells diverged")
    data = study(noisy(lambda cell: 1.0, 0.01))
    data.table.loc[data.table["seed"] == 2, "status"] = "diverged"
    assert told(data) == (None, "unsure", "none of 4 cells has a finite loss on every seed (4 with a diverged seed)")
    data = study(noisy(lambda cell: 1.0, 0.01), plain={})
    assert told(data) == (None, "unsure", "no plain training has finished on every seed yet")


def test_with_one_seed_the_lowest_cell_is_chosen_and_nothing_is_known():
    result = study(noisy(gain_at(8, 10, 0.5), 0.001), seeds=(0,)).recommendation
    assert (result.cell, result.verdict) == ({"m": 8, "s": 10}, "unsure")
    assert (result.equal_steps.low, result.equal_steps.high, result.visible) == (None, None, None)
    fresh = study(noisy(gain_at(8, 10, 0.5), 0.001), seeds=(0,), fresh=noisy(gain_at(8, 10, 0.5), 0.001))
    assert fresh.recommendation.verdict == "yes"


def test_final_losses_before_the_end_are_compared_with_plain_training_at_that_epoch():
    data = study(lambda cell, seed: 1.0)
    data.table["final_epoch"] = 75.0  # where plain training is at 2, a half-life before its end
    assert data.recommendation.equal_steps is not None
    cells = [r for r in data.details if r["kind"] == "cell"]
    for each in cells:
        each["final_epoch"] = 75.0
    again = StudyData("b", data.table, AXES, data.seeds, lambda: data.details, training={"lr": 0.1})
    assert again.recommendation.equal_steps.ratio == pytest.approx(0.5, rel=1e-12)


def test_fresh_plain_seeds_exclude_a_gain_in_one_study_of_twenty_at_most():
    """One of five cells gains 2 %, the others lose; plain training is noisier than they are."""
    random = np.random.default_rng(3)
    wrong, draws = 0, 600
    for _ in range(draws):
        log_losses = np.array([math.log(0.98), 1, 1, 1, 1])[:, None] + random.normal(0, 0.1, (5, 3))
        rows = {seed: row("baseline", {}, seed, math.exp(random.normal(0, 0.3))) for seed in FRESH}
        cells = [(tuple(np.exp(values)), (float(EPOCHS),) * 3) for values in log_losses]
        wrong += _excluded_by_fresh_plain(cells, PlainTraining({}, rows), FRESH, 5, 0.02) == "no"
    # two bounds of 97.5 % err in 5 % at most, by far less where they add; without the plain training's bound, in 40 %
    assert wrong / draws < 0.05


def test_fresh_plain_seeds_exclude_gains_where_the_studys_own_seeds_cannot():
    rates = {0.1: 1.0, 0.3: 0.1, 0.2: 0.12, 0.4: 0.11, 0.5: 0.13}

    def plain_noise(seed):
        return math.exp(np.random.default_rng(seed).normal(0, 0.7))

    data = study(noisy(lambda cell: 1.5, 0.02), plain=rates, fresh=noisy(lambda cell: 1.5, 0.02))
    for each in data.details:
        if each["kind"] == "baseline":
            for name in ("final_loss_train", "curve_train"):
                each[name] = each[name] * plain_noise([each["seed"], int(100 * each["cell"].get("training.lr", 0.1))])
    assert data.recommendation.verdict == "no"
    alone = replace(data, fresh_seeds=())
    assert alone.recommendation.verdict == "unsure"


def test_losses_along_a_training_with_jumps_are_read_before_its_jumps():
    each = row("cell", {}, 0, 1.0)
    each["curve_train"] = each["curve_train"].copy()
    each["curve_train"][each["jump_epoch"]] *= 50  # right after a jump
    # between two points before jumps, the loss lies on a line of its logarithm, which this curve is
    for epoch in (10, 15, 37.5, 100):
        assert settled_loss_after(each, epoch) == pytest.approx(2.0 ** ((EPOCHS - epoch) / 25), rel=1e-12)
