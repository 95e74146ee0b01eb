"""Outcomes of jumps: every one has words and a look, and they are counted as recorded."""

from accel import JumpOutcome
from study.analysis.figures.jumps import _LOOKS
from study.analysis.statistics.jump_outcomes import LABELS, count_outcomes, outcomes_of
from study.replicates.outcome import NOT_RECORDED, PROBED
from tests.dashboards._made_up import MadeUp


def row(outcomes, accepted=None, kind="cell"):
    accepted = [word == "accepted" for word in outcomes] if accepted is None else accepted
    return {"kind": kind, "jump_outcome": outcomes, "jump_accepted": accepted}


def test_every_outcome_of_a_jump_has_words_and_a_look_of_its_own():
    calls = {JumpOutcome.WARMING_UP, JumpOutcome.RECORDING, JumpOutcome.FINISHED}  # of calls that do not jump
    assert set(LABELS) == {each.value for each in set(JumpOutcome) - calls} | {PROBED, NOT_RECORDED}
    assert len(set(LABELS.values())) == len(LABELS)
    assert _LOOKS.keys() == LABELS.keys()
    reasons = [look["marker"] for outcome, look in _LOOKS.items() if outcome not in ("accepted", PROBED, NOT_RECORDED)]
    assert len(set(reasons)) == len(reasons)  # told apart without colours


def test_outcomes_are_counted_over_the_cells():
    rows = [row(["accepted", "not_finite"]), row(["not_finite"]), row([]), row([], kind="baseline")]
    assert count_outcomes(rows) == {"accepted": 1, "not_finite": 2}


def test_older_rows_tell_accepted_jumps_alone():
    old = row(None, [True, False, False])
    assert outcomes_of(old) == ["accepted", NOT_RECORDED, NOT_RECORDED]
    assert count_outcomes([old]) == {}
    assert count_outcomes([old, row(["rejected_loss"])]) == {"accepted": 1, "rejected_loss": 1, NOT_RECORDED: 2}


def test_the_report_has_them_as_a_table_where_they_are_recorded():
    made_up = MadeUp()
    for number, each in enumerate(made_up.details):
        if number % 2 and each["kind"] == "cell":
            each["jump_outcome"] = ["rejected_loss"] * len(each["jump_outcome"])
    table = made_up.report().jumps
    assert table.head == ("outcome", "jumps", "share")
    assert [name for name, _, _ in table.rows] == ["accepted", "rejected: loss not low enough"]
    counted = [int(count) for _, count, _ in table.rows]
    assert sum(counted) == sum(each["jumps"] for each in made_up.details)
    assert [share for *_, share in table.rows] == [f"{count / sum(counted):.1%}" for count in counted]
    for each in made_up.details:
        each["jump_outcome"] = None
    assert made_up.report().jumps.rows == []
