"""Time limits: what may still be begun, what is stopped, and what is said about the rest."""

import re
import threading
import time

import pytest

from study.cli.running import parse_duration_s
from study.deadline import Deadline, OutOfTime
from study.errors import UserError


def test_without_a_limit_anything_may_be_begun_at_any_time() -> None:
    deadline = Deadline()
    deadline.took(1e9)
    deadline.check()
    assert deadline.allows_another
    with deadline.enforced():
        pass


def test_nothing_is_begun_that_would_take_longer_than_is_left() -> None:
    deadline = Deadline(100.0)
    assert deadline.allows_another
    deadline.took(101.0)
    deadline.took(1.0)  # the longest rules, not the last
    assert not deadline.allows_another
    deadline.check()


def test_the_limit_stops_whatever_is_being_done() -> None:
    start_s = time.monotonic()
    with pytest.raises(OutOfTime), Deadline(0.2).enforced():
        time.sleep(20)
    assert time.monotonic() - start_s < 10  # half of the sleep, on a machine that is busy with other things
    time.sleep(0.3)  # and no alarm is left behind


def test_in_another_thread_the_limit_is_only_checked() -> None:
    raised = []

    def work() -> None:
        deadline = Deadline(0.01)
        with deadline.enforced():
            time.sleep(0.1)
        try:
            deadline.check()
        except OutOfTime:
            raised.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert raised == [True]


@pytest.mark.parametrize(
    ("text", "seconds"), [("5400", 5400), ("90m", 5400), ("1.5h", 5400), ("2d", 172800), ("30s", 30), (".5", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-1", "1h30m", "soon", "1e3", "nan", "inf", "5 5"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"got {text!r}")):
        parse_duration_s(text)
