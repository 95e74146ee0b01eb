"""Sweeps: on Ray and in this process, begun, killed, resumed and extended, with code of the user's own."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from study import open_study
from study.replicates.metric_catalogue import TIMINGS

SPEC = {
    "name": "small",
    "problem": {"name": "quadratic"},
    "network": {"hidden": []},
    "training": {"optimizer": "sgd", "lr": 0.1, "epochs": 60, "dtype": "float64"},
    "axes": {"m": [4, 8], "s": [5, 10], "tolerance": [1e-10, 1e-3]},
    "seeds": 2,
}
REPLICATES, BASELINES = 16, 2


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write(tmp_path / "small.yaml", SPEC)


def write(path: Path, spec: dict[str, object]) -> Path:
    path.write_text(yaml.safe_dump(spec))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "study.cli", "run", "--no-timing", *map(str, arguments)]


def run(environment: dict[str, str], *arguments: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment, cwd=cwd, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def comparable(folder: Path) -> pd.DataFrame:
    return open_study(folder).table().drop(columns=list(TIMINGS))


def packs(folder: Path) -> dict[str, int]:
    """Every pack's file and when it was written, so that one which is trained again shows."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "packs").glob("*.parquet")}


def test_ray_and_inline_give_the_same_table_and_a_second_run_trains_nothing(
    tmp_path: Path, spec: Path, environment: dict[str, str]
) -> None:
    on_ray, inline = tmp_path / "ray", tmp_path / "inline"
    run(environment, spec, "--out", on_ray)
    run(environment, spec, "--out", inline, "--executor", "inline")
    pd.testing.assert_frame_equal(comparable(on_ray), comparable(inline), check_exact=True)
    assert len(comparable(on_ray)) == REPLICATES

    before = packs(on_ray)
    assert len(before) == REPLICATES + BASELINES
    again = run(environment, spec, "--out", on_ray)
    assert packs(on_ray) == before
    assert "16 finished" in again
    assert not (Path(environment["HOME"]) / ".ray" / "auth_token").exists()  # Ray's default would write one


def test_adding_a_seed_and_a_value_trains_only_what_is_new(
    tmp_path: Path, spec: Path, environment: dict[str, str]
) -> None:
    folder = tmp_path / "out"
    run(environment, spec, "--out", folder, "--executor", "inline")
    before = packs(folder)
    run(environment, spec, "--out", folder, "--executor", "inline", "--set", "seeds=3", "--set", "axes.s=[5,10,20]")
    after = packs(folder)
    assert {name: after[name] for name in before} == before
    # 2 m x 3 s x 2 tolerances x 3 seeds, and 3 baselines
    assert len(after) == 36 + 3
    assert len(comparable(folder)) == 36


@pytest.mark.slow
def test_two_fresh_runs_on_ray_are_bit_identical(tmp_path: Path, spec: Path, environment: dict[str, str]) -> None:
    for name in ("one", "two"):
        run(environment, spec, "--out", tmp_path / name)
    pd.testing.assert_frame_equal(comparable(tmp_path / "one"), comparable(tmp_path / "two"), check_exact=True)


def started(environment: dict[str, str], spec: Path, folder: Path, ended: int) -> subprocess.Popen[str]:
    """A run on Ray, of which so many replicates have ended."""
    process = subprocess.Popen(
        command(spec, "--out", folder), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    )
    deadline_s = time.monotonic() + 120
    while len(packs(folder)) < ended:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_s, "the sweep did not get going"
        time.sleep(0.05)
    return process


def long_spec(tmp_path: Path) -> Path:
    """Long enough that a signal lands in its middle."""
    return write(tmp_path / "long.yaml", SPEC | {"training": {**SPEC["training"], "epochs": 1500}})  # type: ignore[dict-item]


@pytest.mark.slow
def test_kill_9_loses_no_recorded_replicate_and_trains_none_again(tmp_path: Path, environment: dict[str, str]) -> None:
    spec, folder, undisturbed = long_spec(tmp_path), tmp_path / "out", tmp_path / "undisturbed"
    process = started(environment, spec, folder, ended=6)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    recorded = comparable(folder)
    before = packs(folder)
    assert 0 < len(recorded) < REPLICATES
    run(environment, spec, "--out", folder)
    after = packs(folder)
    kept = list(recorded["pack"])
    assert {f"{name}.parquet": after[f"{name}.parquet"] for name in kept} == {
        f"{name}.parquet": before[f"{name}.parquet"] for name in kept
    }
    run(environment, spec, "--out", undisturbed, "--executor", "inline")
    pd.testing.assert_frame_equal(comparable(folder), comparable(undisturbed), check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_cleanly_keeps_the_record_and_says_how_to_resume(
    tmp_path: Path, environment: dict[str, str], number: signal.Signals, status: int
) -> None:
    spec, folder = long_spec(tmp_path), tmp_path / "out"
    process = started(environment, spec, folder, ended=4)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in said
    assert "run the same command again" in said
    assert str(folder) in said
    assert 0 < len(comparable(folder)) < REPLICATES


@pytest.mark.slow
def test_the_driver_keeps_nothing_of_what_is_recorded(tmp_path: Path, spec: Path, environment: dict[str, str]) -> None:
    """Tune holds its trials to the end of the sweep; what they gave must not hang on them."""
    code = """if True:
        import gc, sys
        from study import cli
        from study.replicates.outcome import ReplicateOutcome
        from study.execution.ray_trial import Recorder
        end = Recorder.on_experiment_end
        def counted(self, trials, **info):
            end(self, trials, **info)
            gc.collect()
            print(len(trials), "trials", sum(type(thing) is ReplicateOutcome for thing in gc.get_objects()), "kept")
        Recorder.on_experiment_end = counted
        sys.argv[1:] = ["run", "--no-timing", *sys.argv[1:]]
        cli.main()
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(spec), "--out", str(tmp_path / "out"), "--set", "resources.pack=3"],
        capture_output=True, text=True, env=environment, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "6 trials 0 kept" in done.stdout.splitlines()


@pytest.mark.slow
def test_a_record_that_cannot_be_written_ends_the_sweep_and_calls_no_replicate_failed(
    tmp_path: Path, spec: Path, environment: dict[str, str]
) -> None:
    """Tune takes what a callback raises about a trial for the trial's fault, and trains it again."""
    code = """if True:
        import sys
        from study import cli
        from study.record import Record
        add, calls = Record.add, []
        def locked(self, *arguments):
            calls.append(1)
            if len(calls) > 3:
                raise OSError("database is locked")
            return add(self, *arguments)
        Record.add = locked
        sys.argv[1:] = ["run", "--no-timing", *sys.argv[1:]]
        cli.main()
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(spec), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, env=environment, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "database is locked" in done.stderr
    assert "Traceback" not in done.stderr
    assert set(open_study(tmp_path / "out").statuses().index) <= {"finished"}
    run(environment, spec, "--out", tmp_path / "out", "--executor", "inline")
    assert len(comparable(tmp_path / "out")) == REPLICATES


OWN = textwrap.dedent(
    """
    from dataclasses import dataclass
    import numpy as np
    import torch
    from accel import Combination
    from problems import Data, Sizes

    @dataclass(frozen=True)
    class Sine:
        samples: int = 32

        def sizes(self):
            return Sizes(1, 1, self.samples, 8)

        def data(self, progress=None):
            x = np.linspace(-1, 1, self.samples + 8)[:, None]
            return Data(x[8:], np.sin(3 * x[8:]), x[:8], np.sin(3 * x[:8]))

        def network(self):
            return torch.nn.Sequential(torch.nn.Linear(1, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))

        def loss(self, network, inputs, targets):
            return (network(inputs) - targets).abs().mean()

    @dataclass(frozen=True)
    class Stay:
        reach: float = 0.0

        def __call__(self, window, s):
            batch, _, m = window.shape
            coefficients = torch.zeros(batch, m, dtype=torch.float64)
            coefficients[:, -1] = 1 + self.reach
            coefficients[:, -2] = -self.reach
            ones = torch.ones(batch, dtype=torch.float64)
            return Combination(coefficients, ones.long(), ones)
    """
)
OWN_SPEC = {
    "name": "own",
    "problem": {"name": "own_parts:Sine"},
    "training": {"epochs": 20},
    "method": {"name": "own_parts:Stay"},
    "axes": {"m": [4, 5], "s": [3], "reach": [0.0, 1.0]},
}


@pytest.mark.slow
def test_code_of_the_users_own_reaches_the_workers_and_a_change_of_it_warns(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "own_parts.py").write_text(OWN)
    spec, folder = write(place / "own.yaml", OWN_SPEC), tmp_path / "out"
    run(environment, spec, "--out", folder, cwd=tmp_path)
    table = comparable(folder)
    assert list(table["status"]) == ["finished"] * 4
    # a rule that stays where it is leaves the loss as it was, bit for bit; one that moves does not
    still = table[table["reach"] == 0.0]["mean_relative_error_train"]
    moving = table[table["reach"] == 1.0]["mean_relative_error_train"]
    assert (still == 1).all()
    assert (moving != 1).all()

    (place / "own_parts.py").write_text(OWN + "# changed\n")
    said = run(environment, spec, "--out", folder, "--executor", "inline", cwd=tmp_path)
    assert "code of the problem or rule has changed" in said


def test_a_pack_that_asks_for_more_than_there_is_does_not_wait_for_ever(
    tmp_path: Path, spec: Path, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        command(spec, "--out", tmp_path / "out", "--set", "resources.cpu=1000"),
        capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "resources.cpu" in done.stderr
    assert "1000" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
