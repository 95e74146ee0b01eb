"""The quick study, whole: the path from the equations to the best parameters, and the shape that the README shows."""

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from accel import DMD, Accelerator
from study import load_spec, open_study

pytestmark = pytest.mark.slow
SPEC = load_spec("quick")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The study, run by the command that the README gives."""
    out = tmp_path_factory.mktemp("quick")
    start_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "study.cli", "run", "quick", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(f"quick, data included: {time.monotonic() - start_s:.0f} s")
    return out


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return open_study(folder).table()


def test_the_grid_is_as_large_as_promised() -> None:
    assert len(SPEC.axes["m"]) >= 7
    assert len(SPEC.axes["s"]) >= 8
    assert len(SPEC.axes["tolerance"]) >= 2
    assert len(SPEC.seeds) >= 3
    assert SPEC.sections["training"]["lr"] == load_spec("figure3").sections["training"]["lr"]


def test_every_replicate_is_a_row_with_a_status(table: pd.DataFrame) -> None:
    assert len(table) == 7 * 8 * 2 * 3
    assert set(table["status"]) <= {"finished", "diverged"}
    assert (table["jumps"] == 400 // table["m"]).all()


def test_the_best_horizon_at_the_largest_window_lies_inside_and_beats_both_ends(table: pd.DataFrame) -> None:
    """By two pooled standard errors of the log metric, as Figure 3 says: it falls with s, then rises."""
    holds = []
    for tolerance in SPEC.axes["tolerance"]:
        row = table[(table["m"] == max(SPEC.axes["m"])) & (table["tolerance"] == tolerance)]
        logs = {s: np.log(cell["mean_relative_error_train"].to_numpy()) for s, cell in row.groupby("s")}
        logs = {s: values for s, values in logs.items() if np.isfinite(values).all()}
        best = min(logs, key=lambda s: logs[s].mean())
        ends = [logs.get(end) for end in (min(SPEC.axes["s"]), max(SPEC.axes["s"]))]
        holds.append(all(end is not None and _beats(logs[best], end) for end in ends))
    assert any(holds)


def _beats(best: np.ndarray, end: np.ndarray) -> bool:
    pooled = (best.var(ddof=1) + end.var(ddof=1)) / 2
    return bool(end.mean() - best.mean() > 2 * math.sqrt(pooled * 2 / len(best)))


def test_pictures_and_best_parameters_are_written_and_can_be_reused(folder: Path, table: pd.DataFrame) -> None:
    for kind in ("png", "svg", "pdf", "csv"):
        assert (folder / "figures" / f"heatmap.{kind}").stat().st_size > 1000
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=SPEC.sections["training"]["lr"])
    medians = table.groupby(["m", "s", "tolerance"])["final_loss_ratio_train"].median()
    answer = open_study(folder).answer()
    for choice in ({}, {"metric": "final_loss_ratio", "choice": "minimum"}):
        with pytest.warns(UserWarning, match="leave the accelerator off") as caught:
            accelerator = Accelerator.from_best(model, folder / "best.yaml", optimizer=optimizer, **choice)
        (warning,) = caught  # none about the optimiser, which is the study's
        assert f"the study recommends to leave the accelerator off. {answer.sentences[0]}" in str(warning.message)
        assert isinstance(accelerator.rule, DMD)
        cell = (accelerator.m, accelerator.s, accelerator.rule.tolerance)
        if choice:
            assert medians[cell] == medians.min()
        else:
            assert dict(zip(("m", "s", "tolerance"), cell, strict=True)) == open_study(folder).recommendation().cell


def test_the_answer_is_one_against_the_best_of_the_plain_trainings_by_fresh_seeds(folder: Path) -> None:
    result = open_study(folder).recommendation()
    assert result.tuned == {"training.lr": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]}
    assert result.plain["training.lr"] > SPEC.sections["training"]["lr"]
    assert result.equal_steps is not None
    assert (result.equal_steps.fresh, result.equal_steps.seeds, result.cells) == (True, 5, 7 * 8 * 2)
    # the jumps are worth less than a learning rate that suits
    assert result.verdict == result.equal_steps.verdict == "no"
    assert result.equal_steps.ratio > 1
    assert result.time is not None
    assert result.time.low <= result.time.ratio <= result.time.high


def test_a_second_run_trains_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "packs").iterdir()}
    subprocess.run(
        [sys.executable, "-m", "study.cli", "run", "quick", "--out", str(folder)], check=True, capture_output=True
    )
    assert {path: path.stat().st_mtime_ns for path in (folder / "packs").iterdir()} == before
