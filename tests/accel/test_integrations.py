"""The callbacks for other people's trainers, against the real libraries: the same weights as in a plain loop."""

from pathlib import Path

import pytest
import torch
from torch import nn

from accel import DMD, Accelerator

pytestmark = [
    pytest.mark.slow,
    # what these libraries warn about themselves is not ours to mend
    pytest.mark.filterwarnings("ignore"),
]
OPTIONS = {"m": 4, "s": 3}
STEPS = 18
ACCUMULATE = 2


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here needs a hub, so none is asked."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def data() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(32, 3, generator=draw)
    return x, x.sum(dim=1, keepdim=True).sin()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def plain_loop(steps: int) -> tuple[nn.Module, int]:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    accelerator = Accelerator(model, DMD(tolerance=1e-6), **OPTIONS)
    x, y = data()
    jumps = 0
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        jumps += accelerator.step() is not None
    return model, jumps


def assert_same_weights(one: nn.Module, two: nn.Module) -> None:
    # the same full batch through the same operations; averaging accumulated gradients rounds differently
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def lightning_fit(
    folder: Path, steps: int, accumulate: int, checkpoint: Path | None = None
) -> tuple[nn.Module, list, object]:
    from lightning.pytorch import LightningModule, Trainer

    from accel.lightning import AcceleratorCallback

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch, index):
            return nn.functional.mse_loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = AcceleratorCallback(DMD(tolerance=1e-6), **OPTIONS)
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
    )
    x, y = data()
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=len(x) // accumulate)
    module = Module()
    trainer.fit(module, batches, ckpt_path=checkpoint)
    return module.net, callback.jumps, trainer


def test_lightning_jumps_as_a_plain_loop_does(tmp_path: Path) -> None:
    expected, jumps = plain_loop(STEPS)
    model, found, _ = lightning_fit(tmp_path, STEPS, ACCUMULATE)
    assert len(found) == jumps == STEPS // OPTIONS["m"]
    assert_same_weights(model, expected)


def test_lightning_resumes_in_the_middle_of_a_window(tmp_path: Path) -> None:
    _, _, trainer = lightning_fit(tmp_path, 6, 1)
    trainer.save_checkpoint(tmp_path / "at6.ckpt")
    model, found, _ = lightning_fit(tmp_path, STEPS, 1, checkpoint=tmp_path / "at6.ckpt")
    expected, _ = plain_loop(STEPS)
    assert len(found) == STEPS // OPTIONS["m"] - 6 // OPTIONS["m"]
    assert_same_weights(model, expected)


def test_hugging_face_jumps_as_a_plain_loop_does(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    from accel.huggingface import AcceleratorCallback

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x, labels):
            return {"loss": nn.functional.mse_loss(self.net(x), labels)}

    x, y = data()
    rows = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    model = Model()
    callback = AcceleratorCallback(DMD(tolerance=1e-6), **OPTIONS)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=STEPS,
        per_device_train_batch_size=len(x) // ACCUMULATE,
        report_to=[],
        gradient_accumulation_steps=ACCUMULATE,
        max_grad_norm=0,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        lr_scheduler_type="constant",
        learning_rate=0.1,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(
        model=model, args=arguments, train_dataset=rows, callbacks=[callback], optimizers=(optimizer, None)
    )
    trainer.train()
    expected, jumps = plain_loop(STEPS)
    assert len(callback.jumps) == jumps == STEPS // OPTIONS["m"]
    assert_same_weights(model.net, expected)
