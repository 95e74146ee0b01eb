"""A study that trains in milliseconds: gradient descent on a quadratic."""

import copy
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study import Spec, cli, load_spec
from study.execution import timing
from study.planning.cells import baselines, replicates
from study.planning.tasks import make_tasks
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Pack, Replicate

MEASURE = timing.measure
"""Measures the time of a study's choice, see `study.execution.timing`."""
QUADRATIC: dict[str, Any] = {
    "name": "small",
    "problem": {"name": "quadratic"},
    "network": {"hidden": []},
    "training": {"optimizer": "sgd", "lr": 0.05, "epochs": 24},
    "method": {"name": "dmd"},
    "axes": {"m": [4, 6], "s": [2, 5], "tolerance": [1e-6]},
    "seeds": 2,
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets are neither read from the user's cache nor left in it."""
    monkeypatch.setenv("DMD_STUDY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def raw() -> Callable[..., dict[str, Any]]:
    """The small study as plain data, with dotted keys replaced (``{"training.lr": 0.1}``); None removes a key."""

    def make(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        made = copy.deepcopy(QUADRATIC)
        for path, value in (changes or {}).items():
            top, dot, key = path.partition(".")
            place, name = (made.setdefault(top, {}), key) if dot else (made, top)
            if value is None:
                place.pop(name, None)
            else:
                place[name] = copy.deepcopy(value)
        return made

    return make


@pytest.fixture
def small(raw: Callable[..., dict[str, Any]]) -> Callable[..., Spec]:
    """The small study, validated; changes as of `raw`."""
    return lambda changes=None: load_spec(raw(changes))


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with its bytes, and every folder: what a refused command must leave as it was."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
            for path in sorted(folder.rglob("*"))
        }

    return read


@pytest.fixture
def fresh_environment() -> dict[str, str]:
    """Environment of a fresh process with another hash seed, in which nothing may depend on the order of a set."""
    return {**os.environ, "PYTHONHASHSEED": "12345"}


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Ray and a home of our own: neither token nor temporary folder of the user's. Sockets need short paths."""
    place = tempfile.mkdtemp(prefix="dmd", dir="/tmp")
    yield {
        **os.environ,
        "HOME": place,
        "RAY_TMPDIR": place,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a" * 64,
    }
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def train() -> Callable[..., list[ReplicateOutcome]]:
    """Train replicates of a spec (all its cells and baselines by default) in this process, each in its own pack."""

    def run(
        spec: Spec, chosen: Sequence[Replicate] | None = None, rules: Mapping[str, Any] | None = None
    ) -> list[ReplicateOutcome]:
        from study.training.packs import train_pack

        chosen = [*baselines(spec), *replicates(spec)] if chosen is None else chosen
        tasks = make_tasks(spec, chosen)
        return [train_pack(Pack("test", (own,), 1, "cpu"), tasks, rules or {})[0] for own in chosen]

    return run


@pytest.fixture(scope="session", autouse=True)
def _no_timing() -> Iterator[None]:
    """Leave the last seconds of every run out, which measure times. The tests of them call `MEASURE`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "measure", lambda *arguments: None)
        yield


@dataclass
class Result:
    """Exit status and what was printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def dmd_study(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Result]]:
    """Run a command in this process as the console script does."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["dmd-study", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as ended:
            return Result(int(ended.code or 0), *capsys.readouterr())
        return Result(0, *capsys.readouterr())

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


Value = float | str | None
Table = tuple[pd.DataFrame, dict[str, list[Any]], list[int]]


def _table(
    axes: Mapping[str, Sequence[Any]],
    values: Callable[..., Sequence[Value]],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    overhead: Callable[..., float] = lambda **_: 1.05,
    final_loss_ratio: Callable[..., float] = lambda **_: 0.9,
) -> Table:
    rows = []
    for cell in product(*axes.values()):
        parameters = dict(zip(axes, cell, strict=True))
        for seed, value in zip(seeds, values(**parameters), strict=True):
            if value is None:
                continue
            finished = not isinstance(value, str)
            number = value if finished else math.nan
            ratio = final_loss_ratio(**parameters) if finished else math.nan
            rows.append(
                {
                    **parameters,
                    "seed": seed,
                    "status": "finished" if finished else value,
                    "epoch": 100,
                    "mean_relative_error_train": number,
                    "mean_relative_error_test": number + 0.01 if finished else math.nan,
                    "final_epoch": 100.0,
                    "final_loss_train": ratio,
                    "final_loss_test": ratio,
                    "final_loss_ratio_train": ratio,
                    "final_loss_ratio_test": ratio,
                    "log_gain_per_epoch_train": 1 - number if finished else math.nan,
                    "log_gain_per_epoch_test": 1 - number if finished else math.nan,
                    "overhead": overhead(**parameters),
                    "seconds": 1.0,
                }
            )
    return pd.DataFrame(rows), {key: list(values) for key, values in axes.items()}, list(seeds)


@pytest.fixture
def make_table() -> Callable[..., Table]:
    return _table
