"""How methods stand: ratios, what is best, what is said of them, and the picture."""

import math
from dataclasses import replace

import pytest

from study.method_comparison.draw_standings import draw_standings
from study.method_comparison.standings import (
    STEPS,
    TIME,
    Standing,
    best_cell_within_budget,
    short_number,
    standing_of_method,
    standing_of_plain,
    standings_frame,
    verdict,
)
from study.method_comparison.standings_text import standings_page

SEEDS = range(5)


def row(losses, seed=0, cell=None, kind="cell", jump_epoch=(), **changes):
    epochs = list(range(len(losses)))
    return {
        "kind": kind,
        "cell": cell or {"training.lr": 0.1, "m": 4},
        "seed": seed,
        "status": "finished" if math.isfinite(losses[-1]) else "diverged",
        "epoch": epochs[-1],
        "jump_epoch": list(jump_epoch),
        "jump_train_after": [1.0] * len(jump_epoch),
        "flops_training": 100.0 * epochs[-1],
        "flops_jumps": 10.0 * len(jump_epoch),
        "flops_judging": 1.0,
        "seconds_training": 1.0 * epochs[-1],
        "seconds_jumps": 1.0 * len(jump_epoch),
        "seconds_judging": 1.0,
        **{f"curve_{split}_epoch": epochs for split in ("train", "test")},
        **{f"curve_{split}": list(losses) for split in ("train", "test")},
        **changes,
    }


def plainly(last=1.0):
    return [
        row([5 * last, 4 * last, 3 * last, 2 * last, last], seed, {"training.lr": 0.1}, "baseline") for seed in SEEDS
    ]


def stands(final, plain=None, control=False, method="one", section=None):
    timed = [row([3, 2, 1], jump_epoch=[2])]
    return standing_of_method(
        "quadratic",
        method,
        control,
        8,
        {"training.lr": 0.1, "m": 4},
        section or {"name": "dmd", "accept": "always"},
        final=final,
        timed=timed,
        plain=plain or plainly(),
        budget=4,
    )


def test_a_method_that_does_nothing_and_costs_nothing_stands_at_one():
    same = [{**own, "kind": "cell"} for own in plainly()]
    found = stands(same)
    assert found.middle(STEPS, "train") == found.middle(TIME, "test") == (1, 1, 1)
    assert found.better(STEPS, "test") == 0
    assert found.overhead == {STEPS: 1, TIME: 1}


def test_what_jumps_cost_is_taken_off_the_epochs():
    found = stands([row([4, 2, 1, 0.5, 0.25], seed, jump_epoch=[1, 3]) for seed in SEEDS])
    # by operations 4 epochs and 2 jumps of 0.1 cost 4.2, so that 3 epochs are within; by time a jump costs an epoch
    assert found.middle(STEPS, "train")[0] == 0.5
    assert found.middle(TIME, "train")[0] == 1  # 2 epochs and one jump
    assert found.overhead == {STEPS: pytest.approx(4.2 / 4), TIME: pytest.approx(6 / 4)}
    assert found.all_better(STEPS, "test")
    assert not found.all_better(TIME, "test")


def test_evaluations_that_the_policy_needs_are_paid_for():
    judged = {"name": "dmd", "accept": "improve"}
    found = stands([row([4, 2, 1, 0.5, 0.25], seed, jump_epoch=[1, 3]) for seed in SEEDS], section=judged)
    assert found.overhead[STEPS] == pytest.approx((4 + 2 * (0.1 + 2 / 3)) / 4)


def test_each_seed_is_held_against_its_own_and_one_that_diverged_is_infinitely_worse():
    plain = [row([1, 10.0**seed], seed, {"training.lr": 0.1}, "baseline") for seed in SEEDS]
    final = [row([1, 10.0**seed / (seed + 1)], seed) for seed in SEEDS]
    found = stands(final, plain)
    assert found.ratios[STEPS, "train"] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert found.better(STEPS, "train") == 4
    found = stands([row([1, math.nan]), *final[1:]], plain)
    assert found.middle(STEPS, "train") == (pytest.approx(1 / 3), pytest.approx(1 / 5), math.inf)
    assert found.diverged == 1


def test_plain_training_that_diverges_is_worse_than_any_that_does_not():
    plain = [row([1, math.nan], seed, {"training.lr": 0.1}, "baseline") for seed in SEEDS]
    assert stands([row([1, 2], seed) for seed in SEEDS], plain).middle(STEPS, "test") == (0, 0, 0)
    assert stands([row([1, math.nan], seed) for seed in SEEDS], plain).middle(STEPS, "test")[0] == math.inf


def test_a_loss_of_zero_cannot_be_beaten_and_is_met_by_another():
    plain = [row([1, 0.0], seed, {"training.lr": 0.1}, "baseline") for seed in SEEDS]
    final = [row([1, 0.0 if seed else 0.5], seed) for seed in SEEDS]
    assert stands(final, plain).ratios[STEPS, "train"] == [math.inf, 1, 1, 1, 1]


def test_the_best_cell_is_lowest_at_equal_cost_and_never_one_that_diverged():
    dear = {f"flops_{part}": value for part, value in (("training", 200.0), ("jumps", 300.0))}
    rows = [
        *(row([9, 5, 1], seed, {"m": 4}) for seed in (7, 8)),
        *(row([9, 8, 0.1], seed, {"m": 5}, jump_epoch=[1], **dear) for seed in (7, 8)),  # 3 epochs for its jump
        *(row([9, 5, last], seed, {"m": 6}) for seed, last in ((7, 0.01), (8, math.nan))),
    ]
    assert best_cell_within_budget(rows, 2, {"name": "dmd"}) == ({"m": 4}, 3)
    assert best_cell_within_budget(rows[4:], 2, {"name": "dmd"}) == (None, 1)


@pytest.fixture(scope="module")
def standings():
    plain = standing_of_plain("quadratic", {"training.lr": 0.1}, 3, plainly())
    good = stands([row([1, 0.5], seed) for seed in SEEDS], method="good")
    odd = stands([row([1, 2 if seed else 0.1], seed) for seed in SEEDS], method="odd")
    control = stands([row([1, 0.4], seed) for seed in SEEDS], method="still", control=True)
    lost = Standing("quadratic", "lost", False, 8, None, {}, {})
    away = stands([row([1, math.nan], seed) for seed in SEEDS], method="away")
    return [plain, control, good, odd, lost, away]


def test_a_verdict_names_what_is_better_on_every_seed_the_best_and_what_luck_and_controls_reach(standings):
    said = verdict("quadratic", standings)
    better = "Methods with a lower {} loss than plain training on every seed: {}."
    assert said.startswith(
        "quadratic: 3 methods, 5 seeds. Methods with a lower training loss than plain training on every seed: 1 (good) "
    )
    assert better.format("test", "1 (good) at equal step equivalents, the same at equal wall time") in said
    assert "By luck alone, 0.09 methods would be in such a list." in said
    assert (
        "Lowest test loss: good, 0.50 (0.50 to 0.50) times plain training's. The control still does no worse: 0.40."
        in said
    )
    none = verdict("quadratic", standings[3:4])
    assert better.format("training", "none") in none
    assert better.format("test", "none") in none
    assert verdict("quadratic", standings[:1]) == "quadratic: no method could be tuned."


def test_the_page_holds_the_scale_a_table_for_all_and_one_for_each_problem(standings):
    moved = [replace(one, problem="digits") for one in (standings[0], standings[2])]
    page = standings_page(
        "methods", {"quadratic": "condition 7", "digits": "samples 9"}, "Tuned so.", standings + moved
    )
    lines = page.splitlines()
    assert "* quadratic: condition 7" in lines
    assert "| good | **0.50** / **0.50**; **0.50** / **0.50** | **0.50** / **0.50**; **0.50** / **0.50** |" in lines
    assert "| odd | 2.00 / 2.00; 2.00 / 2.00 |  |" in lines
    assert "| lost | none stayed finite |  |" in lines
    assert "| still (control) | **0.40** / **0.40**; **0.40** / **0.40** |  |" in lines
    assert "| plain training, tuned | 1 (lr 0.1) | 1 (lr 0.1) |" in lines
    assert [line.count("|") for line in lines if line.startswith("| odd")] == [4, 11]
    assert any(line.startswith("| away | lr 0.1, m 4 (8) | ∞ (∞ to ∞)") and line.endswith("| 5 |") for line in lines)


def test_the_numbers_behind_it_are_one_row_for_each_method(standings):
    frame = standings_frame(standings).set_index("method")
    assert frame.loc["good", "ratio_test_step_equivalents"] == 0.5
    assert frame.loc["odd", "ratio_train_wall_time_better"] == 1
    assert frame.loc["lost", "parameters"] == "none stayed finite"
    assert frame.loc["plain", "loss_test"] == 1.0


def test_the_picture_has_a_mark_for_each_ratio_and_says_what_has_none(standings):
    moved = [replace(one, problem="digits") for one in (standings[0], standings[2])]
    figure = draw_standings("methods", {"quadratic": "condition 7", "digits": "samples 9"}, standings + moved)
    first, second = figure.axes
    marks = sorted(line.get_xdata()[0] for line in first.lines if line.get_marker() in ("o", "D"))
    assert marks == [0.4] * 3 + [0.5] * 3 + [2.0] * 3
    names = [tick.get_text() for tick in first.get_yticklabels()]
    assert names == ["good", "odd", "lost", "away", "still (control)"]
    said = [text.get_text().strip() for text in first.texts]
    assert said.count("diverged in tuning") == 1
    assert said.count("∞") == 3
    assert "condition 7" in said  # the scale
    assert [text.get_text().strip() for text in second.texts].count("not compared") == 4
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_standings("methods", {"quadratic": ""}, standings[:1])


def test_numbers_are_short():
    shown = [short_number(value) for value in (0.5, 9.99, 12.3, 0.0942, 1e-7, 5e4, math.inf, math.nan)]
    assert shown == ["0.50", "9.99", "12", "0.094", "1.0e-7", "5.0e4", "∞", "-"]
