"""Cells of the paper's own study at the paper's full size: its data, its network, fewer epochs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from study import run
from study.errors import UserError

EPOCHS = 43


HERE = {"training.epochs": EPOCHS, "baseline": {}, "confirm": 0, "resources.gpu": 0, "resources.cpu": 2}
"""One cell and one baseline: the preset's other learning rates of plain training and its fresh seeds are left out."""


@pytest.mark.slow
def test_a_stable_cell_at_the_papers_full_size(tmp_path: Path) -> None:
    # the paper's own learning rate and tolerance are chaotic: rounding decides whether a jump overflows
    stable = {"training.lr": 1e-4, "axes.tolerance": [1e-4], "axes.m": [14], "axes.s": [20]}
    record = run("figure3", tmp_path, executor="inline", overrides=stable | HERE)
    (row,) = record.table().to_dict("records")
    assert row["status"] == "finished"
    assert (row["epoch"], row["steps"], row["jumps"]) == (EPOCHS, EPOCHS, EPOCHS // 14)
    # 13.8 GFLOP a step: 6 x 2,882,150 weights x 800 samples
    assert row["flops_training"] == 6 * 2_882_150 * 800 * EPOCHS
    baseline, cell = record.details()
    assert cell["groups"] == ["Linear 6→40", "Linear 40→200", "Linear 200→1000", "Linear 1000→2670"]
    assert np.shape(cell["jump_rank"]) == (3, 4)
    assert all(1 <= rank <= 13 for ranks in cell["jump_rank"] for rank in ranks)
    # the same seed: the same weights and losses until the first jump, after epoch 14
    assert cell["curve_train"][:14].tolist() == baseline["curve_train"][:14].tolist()
    assert cell["curve_train"][14] != baseline["curve_train"][14]
    # a step and no window follows the last jump, so the final loss is read before it
    assert row["final_epoch"] == 42
    assert row["final_loss_train"] == cell["jump_train_before"][-1]
    # what a jump reports is what training goes on with: the loss at the start of the next epoch (float32 rounding)
    assert cell["curve_train"][14] == pytest.approx(cell["jump_train_after"][0], rel=1e-5)
    # small steps, full batch: training falls at every step, and each jump of 20 falls further
    assert np.all(np.diff(baseline["curve_train"]) < 0)
    assert row["worst_relative_error_train"] < 1
    assert row["final_loss_ratio_train"] < 1


@pytest.mark.slow
def test_the_papers_own_cell_ends_as_a_row_whatever_its_jumps_do(tmp_path: Path) -> None:
    record = run("figure3", tmp_path, executor="inline", overrides={"axes.m": [14], "axes.s": [55]} | HERE)
    (row,) = record.table().to_dict("records")
    baseline, cell = record.details()
    assert cell["curve_train"][:14].tolist() == baseline["curve_train"][:14].tolist()
    assert np.isfinite(cell["jump_train_before"][0])
    if row["status"] == "diverged":
        assert row["epoch"] < EPOCHS
        assert row["mean_relative_error_train"] == row["final_loss_train"] == math.inf
    else:
        assert (row["status"], row["epoch"], row["jumps"]) == ("finished", EPOCHS, EPOCHS // 14)


def test_a_gpu_that_is_not_there_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"resources.gpu.*no CUDA device"):
        run("figure3", tmp_path / "out", executor="inline")
    assert not (tmp_path / "out").exists()
