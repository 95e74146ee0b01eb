import contextlib
import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from rich.console import Console

from study.execution import terminal_progress as module
from study.execution.terminal_progress import SweepProgress, counting
from study.planning.cells import baselines, replicates
from study.replicates.outcome import JumpHistory, failed


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told to move on."""

    class Stopwatch:
        now_s = 100.0

        def monotonic(self):
            return self.now_s

    made = Stopwatch()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def log():
    """A console that is no terminal, as a log file or a pipe."""
    return Console(file=io.StringIO(), width=200)


def lines(console):
    return console.file.getvalue().splitlines()


def ended(replicate, ratio=0.5, status="finished"):
    one = np.ones(2)
    jumps = JumpHistory(
        epoch=np.array([1, 2]),
        train_before=one,
        train_after=one * ratio,
        test_before=one,
        test_after=one,
        outcome=np.array(["accepted", "accepted"]),
    )
    return replace(failed(replicate, ""), status=status, epoch=2, jumps=jumps)


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(small, log, clock):
    cells = replicates(small())
    with SweepProgress(8, console=log) as progress:
        progress.started(2)
        assert lines(log) == []
        clock.now_s += 9
        progress.ended([ended(cells[0])])
        assert lines(log) == []
        clock.now_s += 2
        progress.ended([ended(cells[2], 0.25)])
        notes = "2 running, 4 jumps, lowest error per jump 0.25 (m 4, s 5, tolerance 1e-06)"
        assert lines(log) == [f"replicates 2/8: {notes}; 11 s, about 33 s left"]
        clock.now_s += 5
        progress.ended([ended(cells[1], 0.3)])
        assert len(lines(log)) == 1
    assert len(lines(log)) == 2
    assert lines(log)[1].startswith("replicates 3/8: 6 jumps, lowest error per jump 0.25 (m 4, s 5")


def test_what_went_wrong_is_counted_and_never_best(small, log, clock):
    cells = replicates(small())
    progress = SweepProgress(8, console=log)
    progress.ended([ended(cells[0], 0.1, "diverged"), ended(cells[1], 0.2, "diverged"), failed(cells[2], "")])
    assert progress.notes() == "2 diverged, 1 failed, 4 jumps"
    progress.ended([ended(baselines(small())[0], 0.01)])
    assert progress.best is None
    assert progress.done == 4


def test_a_replicate_without_jumps_does_not_hide_the_best(small, log, clock):
    cells = replicates(small())
    progress = SweepProgress(8, console=log)
    progress.ended([replace(ended(cells[0]), jumps=JumpHistory())])
    assert progress.best is None
    progress.ended([ended(cells[1], 0.7), ended(cells[2], np.inf)])
    assert progress.best == (0.7, "m 4, s 2, tolerance 1e-06")


def test_axes_of_every_kind_are_named(small, log, clock):
    spec = small({"axes.form": ["displacement"], "axes.network.hidden": [[8, 4]], "network": None, "axes.s": [10**6]})
    progress = SweepProgress(1, console=log)
    progress.ended([ended(replicates(spec)[0])])
    assert progress.best == (0.5, "m 4, s 1e+06, tolerance 1e-06, form displacement, network.hidden (8, 4)")


def test_a_terminal_gets_a_bar(small):
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with SweepProgress(8, console=console) as progress:
        progress.started(1)
        progress.ended([ended(replicates(small())[0])])
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert "1/8" in shown
    assert "1 running, 2 jumps, lowest error per jump 0.5 (m 4, s 2, tolerance 1e-06)" in shown


def test_an_interrupted_sweep_says_how_far_it_came(small, log, clock):
    def interrupted():
        with SweepProgress(8, console=log) as progress:
            progress.ended([ended(replicates(small())[0])])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert lines(log)[-1].startswith("replicates 1/8: ")


def test_counting(log, clock):
    with counting("samples", log) as show:
        for done in (8, 16, 24):
            show(done, 32)
            clock.now_s += 6
        assert lines(log) == ["samples 24/32; 12 s, about 4 s left"]
        show(32, 32)
        assert lines(log)[1:] == ["samples 32/32; 18 s, about 0 s left"]
        show(5, 5)  # another dataset, too quick to speak of
        assert lines(log)[2:] == []


def test_counting_that_is_interrupted_ends_its_bar(log, clock):
    with contextlib.suppress(KeyboardInterrupt), counting("samples", log) as show:
        show(8, 32)
        raise KeyboardInterrupt
    assert lines(log) == ["samples 8/32; 0 s, about 0 s left"]


def test_a_log_of_a_day_is_read_in_a_minute(small, log, clock):
    with SweepProgress(10**6, console=log) as progress:
        for _ in range(24 * 3600):
            clock.now_s += 1
            progress.started(1)
    said = [int(re.search(r"; (\d+) s", line)[1]) for line in lines(log)]
    assert len(said) < 600
    assert said[:3] == [11, 22, 33]
    assert max(after - before for before, after in pairwise(said)) <= 0.011 * 24 * 3600


def test_a_log_has_no_control_characters(small, tmp_path):
    with (tmp_path / "log").open("w") as file, SweepProgress(2, console=Console(file=file)) as progress:
        progress.started(1)
        progress.warn("[red]careful[/red]")
        progress.ended([ended(replicates(small())[0])])
    said = (tmp_path / "log").read_text()
    assert "Warning: [red]careful[/red]" in said
    assert "replicates 1/2" in said
    assert all(character.isprintable() or character == "\n" for character in said)


def test_a_notebook_gets_lines_that_need_no_widgets(small, capsys, monkeypatch):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)  # as where IPython's kernel runs
    with SweepProgress(2) as progress:
        progress.ended([ended(replicates(small())[0])])
    assert capsys.readouterr().err.startswith("replicates 1/2: 2 jumps, lowest error per jump 0.5")
