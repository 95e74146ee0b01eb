"""The answer claims a gain only where it is more than the luck of the best of many."""

import math

import numpy as np
import pandas as pd
import pytest

from study.analysis.statistics.answer import answer, luck_of_the_best
from tests.dashboards._made_up import AXES, SEEDS, MadeUp

FLAT = {"m": [2, 8, 14, 20], "s": [5, 10, 20, 40, 60]}


def asked(record, **options):
    return answer(record.table, record.spec["axes"], record.spec["seeds"], **options)


def noisy(sigma, gain=0.0, seeds=(0, 1, 2), draw=1):
    random = np.random.default_rng(draw)
    return MadeUp(FLAT, seeds, ratio=lambda cell, seed: math.exp(random.normal(-gain, sigma)))


def test_a_gain_well_above_the_noise_is_a_yes():
    said = asked(MadeUp())
    assert said.verdict == "yes"
    assert said.cell == 1 * 8 + 1 * 2
    assert said.sentences[0].startswith(
        "Yes, with the right parameters: the best of 24 cells, m = 8, s = 10, tolerance = 1e-06, ends at 0.6 times"
    )
    assert len(said.sentences) == 3
    assert said.sentences[1].startswith("The best cell costs 2 % more operations than plain training")
    # 0.6 exp(0.4 (|ln m/8| + |ln s/10|)) < 1 within a factor of 3.58: not at m = 2, nor at s = 40, which are 4 away
    assert said.sentences[2].startswith("12 of 24 cells end below plain training")


def test_the_best_of_many_without_effect_is_a_no():
    said = asked(noisy(0.1))
    assert said.luck.ratio < 0.95  # which one would take for a gain
    assert said.verdict == "no"
    assert said.sentences[0].startswith("No: no cell beats plain training by more than its noise")


def test_nothing_below_the_baseline_is_a_no():
    said = asked(noisy(0.01, gain=-0.5))
    assert said.verdict == "no"
    assert said.sentences[0].startswith("No: none of 20 cells beats plain training")
    assert said.sentences[2].startswith("0 of 20 cells")


def test_one_seed_cannot_tell():
    said = asked(noisy(0.01, gain=1.0, seeds=(0,)))
    assert said.verdict == "unsure"
    assert "with one seed a gain cannot be told from luck" in said.sentences[0]


def test_two_seeds_that_show_nothing_are_no_evidence_against_it():
    said = asked(noisy(0.1, seeds=(0, 1), draw=2))  # of 20 draws or more, one is taken for a gain
    assert said.luck.ratio > said.luck.bound
    assert said.verdict == "unsure"
    assert "2 seeds are too few to tell" in said.sentences[0]
    assert asked(noisy(0.001, gain=0.5, seeds=(0, 1))).verdict == "yes"


def test_noise_alone_is_taken_for_a_gain_in_one_study_of_twenty():
    random = np.random.default_rng(0)
    for cells, seeds, shared in ((100, 3, 0.0), (100, 3, 0.1), (20, 5, 0.3), (20, 2, 0.0)):
        gains = []
        for _ in range(1000):
            y = (
                random.normal(0, 0.1, (cells, seeds)) + random.normal(0, shared, seeds)
                if shared
                else random.normal(0, 0.1, (cells, seeds))
            )
            luck = luck_of_the_best(y, cells)
            gains.append(luck.ratio < luck.bound)
        # 5 % and three standard deviations of 1000 draws; Bonferroni's share is an upper bound
        assert np.mean(gains) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000), (cells, seeds, shared)


def test_a_gain_is_found_where_there_is_one():
    random = np.random.default_rng(0)
    y = random.normal(0, 0.1, (100, 5))
    y[7] -= 0.5
    luck = luck_of_the_best(y, 100)
    assert luck.ratio < luck.bound
    assert luck.ratio < luck.upper < 1


def test_a_cell_that_is_noisier_than_the_others_counts_with_its_own_noise():
    y = np.full((10, 3), -0.1) + np.array([0.0, 0.001, -0.001])
    y[0] = [-2.0, 0.5, -0.1]
    luck = luck_of_the_best(y, 10)
    assert luck.ratio > luck.bound


def test_all_diverged_is_a_no_and_some_is_not():
    assert asked(MadeUp(status=lambda cell, seed: "diverged")).verdict == "no"
    said = asked(MadeUp(status=lambda cell, seed: "diverged" if seed == 2 else "finished"))
    assert (said.verdict, said.cell) == ("unsure", None)
    assert "24 with a diverged seed" in said.sentences[0]
    said = asked(MadeUp(status=lambda cell, seed: "diverged" if cell["s"] == 10 and seed == 0 else "finished"))
    assert "6 have a seed that diverged" in said.sentences[2]


def test_a_study_in_progress_is_judged_by_what_has_run():
    def status(cell, seed):
        return "missing" if cell["m"] == 14 or (cell["m"] == 2 and seed == 2) else "finished"

    said = asked(MadeUp(status=status))
    assert "the best of 16 cells, m = 8, s = 10" in said.sentences[0]
    assert said.sentences[2].startswith("6 of 16 cells end below plain training, 8 have no value for some seed yet")


def test_the_training_to_beat_is_the_one_that_ends_lowest():
    record = MadeUp({"m": [2, 8], "training.lr": [1e-3, 1e-1]}, ratio=lambda cell, seed: 0.9 + 0.001 * seed)
    bad = record.table["training.lr"] == 0.1
    record.table.loc[bad, "final_loss_ratio_train"] = 0.3 + 0.001 * record.table["seed"][bad]
    record.table.loc[bad, "final_loss_train"] = 5.0  # of which the baseline is 17, not 1 as at lr 1e-3
    said = asked(record)
    assert said.at == {"training.lr": 1e-3}
    assert "ends at 0.901 times plain" in said.sentences[0]
    assert "training.lr = 0.001, where plain training ends lowest" in said.sentences[0]


def test_a_probe_does_not_say_whether_to_switch_it_on():
    said = asked(MadeUp(mode="probe"), probed=True)
    assert said.verdict == "unsure"
    assert "took none" in said.sentences[0]
    assert "m = 8, s = 10" in said.sentences[1]


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="no replicates yet"):
        answer(pd.DataFrame(), AXES, SEEDS)
