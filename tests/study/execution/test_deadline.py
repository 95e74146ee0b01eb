"""Time limits: what may still be begun, what is stopped, and what is said about the rest."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from study import load_spec, open_study, run
from study.cli.run import parse_duration_s
from study.errors import UserError
from study.execution.deadline import Deadline, OutOfTime
from study.execution.inline import inline
from study.execution.terminal_progress import SweepProgress
from study.planning.cells import baselines, replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.replicates.replicate import Pack


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


def test_the_limit_is_told_from_ctrl_c_where_compiled_code_makes_one_of_it() -> None:
    def compiled() -> None:
        try:
            time.sleep(20)
        except OutOfTime:
            raise KeyboardInterrupt from None

    with pytest.raises(OutOfTime), Deadline(0.1).enforced():
        compiled()
    with pytest.raises(KeyboardInterrupt) as raised, Deadline(100).enforced():
        raise KeyboardInterrupt
    assert not isinstance(raised.value, OutOfTime)


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


SPEC = """\
name: small
problem: {name: quadratic}
network: {hidden: []}
training: {optimizer: sgd, lr: 0.05, epochs: 24}
axes: {m: [4, 6], s: [2, 5], tolerance: [1e-6, 1e-3]}
seeds: 1
"""


@pytest.fixture
def slow_packs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the packs of this process take so many seconds each, one after another; it holds what is left of them."""
    import study.training.packs

    left, real = [], study.training.packs.train_pack

    def slow(*arguments: Any) -> Any:
        time.sleep(left.pop(0) if left else 0)
        return real(*arguments)

    monkeypatch.setattr(study.training.packs, "train_pack", slow)
    return left


def test_inline_begins_no_pack_that_would_not_end_in_time() -> None:
    spec, deadline, ended = load_spec(yaml.safe_load(SPEC)), Deadline(1000.0), []
    todo = [*baselines(spec), *replicates(spec)]

    def finish(pack: Pack, *given: Any) -> None:
        ended.append(pack)
        if len(ended) == 3:
            deadline.took(2000.0)

    with inline(spec, deadline) as execute, SweepProgress(len(todo)) as progress:
        execute.train(plan(spec, todo), make_tasks(spec, todo), finish, progress)
    assert ended == plan(spec, todo)[:3]


def test_inline_stops_a_pack_when_the_limit_comes_and_the_next_run_trains_it(
    tmp_path: Path, slow_packs: list[float]
) -> None:
    slow_packs += [0.0, 0.0, 90.0]
    start_s = time.monotonic()
    record = run(yaml.safe_load(SPEC), tmp_path / "out", executor="inline", time_limit_s=15)
    assert time.monotonic() - start_s < 60  # the pack would have taken half as long again
    assert len(record.done()) == 2
    assert len(run(yaml.safe_load(SPEC), tmp_path / "out", executor="inline").done()) == 9


SLOW = """\
import time
from dataclasses import dataclass
import numpy as np
import torch
from problems import Data, Sizes

@dataclass(frozen=True)
class Slow:
    samples: int = 8

    def sizes(self):
        return Sizes(1, 1, 8, 8)

    def data(self, progress=None):
        x = np.linspace(-1, 1, 16)[:, None]
        return Data(x[8:], x[8:], x[:8], x[:8])

    def loss(self, network, inputs, targets):
        time.sleep(0.05)
        return (network(inputs) - targets).square().mean()
"""
SLOW_SPEC = """\
name: slow
problem: {name: "slow_parts:Slow"}
network: {hidden: []}
training: {epochs: 12}
method: {name: dmd, tolerance: 1e-6}
axes: {m: {from: 2, to: 11}, s: {from: 1, to: 10}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("executor", "limit_s"), [("inline", 10), ("ray", 45)])
def test_a_limit_ends_with_status_124_and_says_what_is_left_and_how_to_go_on(
    tmp_path: Path, environment: dict[str, str], executor: str, limit_s: int
) -> None:
    """In a process of its own: some three minutes of sleep, on two cores half of it."""
    (tmp_path / "slow_parts.py").write_text(SLOW)
    (tmp_path / "slow.yaml").write_text(SLOW_SPEC)
    start_s = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "study.cli", "run", "slow.yaml", "--executor", executor),
            *("--time-limit", str(limit_s)),
        ],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    # starting and ending Ray takes some ten seconds on a busy machine, training to the end a minute
    assert time.monotonic() - start_s < limit_s + 20
    assert done.returncode == 124, done.stderr
    recorded = len(open_study(tmp_path / "results" / "slow").done())
    assert 0 < recorded < 101
    assert f"The time limit of {limit_s} has come: {101 - recorded} of 101 replicates" in done.stderr
    assert f"dmd-study run slow.yaml --executor {executor} --time-limit {limit_s}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "missing" in done.stdout
    assert not (tmp_path / "results" / "slow" / "figures").exists()


CUT_SHORT = """
import ray
from study import run

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=40, configure_logging=False)
cut = run("slow.yaml", "out", time_limit_s=4)  # while workers are being started
print("cut", len(cut.done()))
print("whole", len(run("slow.yaml", "whole", overrides=["axes.m=[2]", "axes.s=[1]"], timing=False).done()))
ray.shutdown()
"""


@pytest.mark.slow
def test_a_sweep_cut_short_on_ray_that_goes_on_leaves_it_to_the_next(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "slow_parts.py").write_text(SLOW)
    (tmp_path / "slow.yaml").write_text(SLOW_SPEC)
    done = subprocess.run(
        [sys.executable, "-c", CUT_SHORT],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cut, whole = done.stdout.split("\n")[:2]
    assert int(cut.removeprefix("cut ")) < 101
    assert whole == "whole 2"
