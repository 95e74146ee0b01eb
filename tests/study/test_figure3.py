"""One cell of the paper's own study at the paper's full size: its data, its network, fewer epochs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from study import run
from study.errors import UserError

EPOCHS = 43


@pytest.mark.slow
def test_the_papers_cell_at_full_size(tmp_path: Path) -> None:
    chosen = {"axes.m": [14], "axes.s": [55], "training.epochs": EPOCHS, "resources.gpu": 0, "resources.cpu": 2}
    record = run("figure3", tmp_path, executor="inline", overrides=chosen)
    (row,) = record.table().to_dict("records")
    assert row["status"] == "finished"
    assert (row["epoch"], row["steps"], row["jumps"]) == (EPOCHS, EPOCHS, EPOCHS // 14)
    # 13.8 GFLOP a step: 6 x 2,882,150 weights x 800 samples
    assert row["flops_training"] == 6 * 2_882_150 * 800 * EPOCHS
    baseline, cell = record.details()
    assert cell["groups"] == ["0", "2", "4", "6"]
    assert np.shape(cell["jump_rank"]) == (3, 4)
    assert all(1 <= rank <= 13 for ranks in cell["jump_rank"] for rank in ranks)
    # the same seed: the same weights and losses until the first jump, after epoch 14
    assert cell["curve_train"][:14] == baseline["curve_train"][:14]
    assert cell["curve_train"][14] != baseline["curve_train"][14]
    # what a jump reports is what training goes on with: the loss at the start of the next epoch (float32 rounding)
    assert cell["curve_train"][14] == pytest.approx(cell["jump_train_after"][0], rel=1e-5)
    assert baseline["curve_train"][-1] < 0.5 * baseline["curve_train"][0]
    assert math.isfinite(row["final_loss_ratio_train"])


def test_a_gpu_that_is_not_there_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"resources.gpu.*no CUDA device"):
        run("figure3", tmp_path / "out", executor="inline")
    assert not (tmp_path / "out").exists()
