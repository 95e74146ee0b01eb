"""The callbacks for other people's trainers, against the real libraries: the same weights as in a plain loop."""

import importlib
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


def sgd(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def adam(parameters) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01)


def plain_loop(steps: int, make_optimizer=sgd, **options) -> tuple[nn.Module, int]:
    model = network()
    optimizer = make_optimizer(model.parameters())
    if options.get("moments") == "reset":
        options["optimizer"] = optimizer
    accelerator = Accelerator(model, DMD(tolerance=1e-6), **(OPTIONS | options))
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


def lightning_callback(**options):
    from accel.lightning import AcceleratorCallback

    return AcceleratorCallback(DMD(tolerance=1e-6), **(OPTIONS | options))


def lightning_module(make_optimizer=sgd):
    from lightning.pytorch import LightningModule

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch, index):
            return nn.functional.mse_loss(self.net(batch[0]), batch[1])

        def test_step(self, batch, index):
            self.training_step(batch, index)

        def configure_optimizers(self):
            return make_optimizer(self.parameters())

    return Module()


def lightning_trainer(folder: Path, callbacks: list, steps: int = STEPS, accumulate: int = 1):
    from lightning.pytorch import Trainer

    return Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
    )


def loader(accumulate: int = 1) -> torch.utils.data.DataLoader:
    x, y = data()
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=len(x) // accumulate)


def fit(folder: Path, callback, steps: int = STEPS, checkpoint: Path | None = None, accumulate: int = 1, make=sgd):
    """The network of a fresh module after a fit with this callback, and the trainer."""
    trainer, module = lightning_trainer(folder, [callback], steps, accumulate), lightning_module(make)
    trainer.fit(module, loader(accumulate), ckpt_path=checkpoint)
    return module.net, trainer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint in the middle of a window."""
    _, trainer = fit(tmp_path, lightning_callback(), 6)
    trainer.save_checkpoint(tmp_path / "at6.ckpt")
    return tmp_path / "at6.ckpt"


def test_lightning_jumps_as_a_plain_loop_does(tmp_path: Path) -> None:
    expected, jumps = plain_loop(STEPS)
    callback = lightning_callback()
    model, _ = fit(tmp_path, callback, accumulate=ACCUMULATE)
    assert len(callback.jumps) == jumps == STEPS // OPTIONS["m"]
    assert_same_weights(model, expected)


def test_lightning_resumes_in_the_middle_of_a_window(tmp_path: Path, checkpoint: Path) -> None:
    callback = lightning_callback()
    model, _ = fit(tmp_path, callback, checkpoint=checkpoint)
    expected, _ = plain_loop(STEPS)
    assert len(callback.jumps) == STEPS // OPTIONS["m"] - 6 // OPTIONS["m"]
    assert_same_weights(model, expected)


def test_lightning_takes_a_loaded_window_up_once(tmp_path: Path, checkpoint: Path) -> None:
    callback = lightning_callback()
    fit(tmp_path, callback, 11, checkpoint=checkpoint)  # ends in the middle of a window, too
    model, _ = fit(tmp_path, callback)
    expected, jumps = plain_loop(STEPS)
    assert len(callback.jumps) == jumps
    assert_same_weights(model, expected)


def test_lightning_forgets_a_window_that_was_loaded_for_a_test(tmp_path: Path, checkpoint: Path) -> None:
    callback = lightning_callback()
    trainer = lightning_trainer(tmp_path, [callback])
    trainer.test(lightning_module(), loader(), ckpt_path=checkpoint)
    model, _ = fit(tmp_path, callback)
    assert_same_weights(model, plain_loop(STEPS)[0])


def test_lightning_forgets_the_window_of_a_fit_that_did_not_begin(tmp_path: Path, checkpoint: Path) -> None:
    class Stop(Exception):
        pass

    def refuse(parameters):
        raise Stop

    callback = lightning_callback()
    with pytest.raises(Stop):
        fit(tmp_path, callback, checkpoint=checkpoint, make=refuse)
    model, _ = fit(tmp_path, callback)
    assert_same_weights(model, plain_loop(STEPS)[0])


def test_lightning_keeps_the_states_of_two_callbacks_apart(tmp_path: Path) -> None:
    def pair() -> list:
        return [lightning_callback(stop=8), lightning_callback(start=8, m=5, moments="reset")]

    def run(callbacks: list, steps: int, checkpoint: Path | None = None):
        trainer, module = lightning_trainer(tmp_path, callbacks, steps), lightning_module(adam)
        trainer.fit(module, loader(), ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / f"at{steps}.ckpt")
        return module.net

    whole = pair()
    expected = run(whole, 20)
    assert [len(callback.jumps) for callback in whole] == [2, 2]
    run(pair(), 11)
    states = torch.load(tmp_path / "at11.ckpt", weights_only=True)["callbacks"]
    assert set(states) == {callback.state_key for callback in pair()}
    resumed = pair()
    assert_same_weights(run(resumed, 20, tmp_path / "at11.ckpt"), expected)
    assert [len(callback.jumps) for callback in resumed] == [0, 2]


def test_lightning_refuses_two_callbacks_that_it_cannot_tell_apart(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"AcceleratorCallback[\s\S]*state_key. must be unique"):
        lightning_trainer(tmp_path, [lightning_callback(start=0), lightning_callback()])
    lightning_trainer(tmp_path, [lightning_callback(start=1), lightning_callback()])


def test_lightning_resets_the_moments_of_the_trainers_optimiser(tmp_path: Path) -> None:
    model, _ = fit(tmp_path, lightning_callback(moments="reset"), make=adam)
    expected, _ = plain_loop(STEPS, adam, moments="reset")
    kept, _ = plain_loop(STEPS, adam)
    assert_same_weights(model, expected)
    with pytest.raises(AssertionError):
        assert_same_weights(kept, expected)


def test_lightning_refuses_to_reset_several_optimisers(tmp_path: Path) -> None:
    module = lightning_module()
    module.automatic_optimization = False
    module.configure_optimizers = lambda: [sgd(module.net[0].parameters()), sgd(module.net[2].parameters())]
    with pytest.raises(ValueError, match=r'moments="reset" needs a training with one optimiser, got 2; use moments="k'):
        lightning_trainer(tmp_path, [lightning_callback(moments="reset")]).fit(module, loader())


@pytest.mark.parametrize("library", ["lightning", "huggingface"])
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"accept": "improve"},
            r'accept="improve" needs the loss .* Accelerator.step\(closure\) in a loop of your own',
        ),
        ({"m": 1}, "m must be an integer of at least 2, got 1"),
    ],
)
def test_options_that_a_callback_cannot_serve_are_refused_when_it_is_made(library, options, reason) -> None:
    callback = importlib.import_module(f"accel.{library}").AcceleratorCallback
    with pytest.raises(ValueError, match=reason):
        callback(DMD(tolerance=1e-6), **(OPTIONS | options))


def hugging_face_train(folder: Path, callback, make_optimizer=sgd) -> nn.Module:
    from transformers import Trainer, TrainingArguments

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x, labels):
            return {"loss": nn.functional.mse_loss(self.net(x), labels)}

    x, y = data()
    rows = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    model = Model()
    arguments = TrainingArguments(
        output_dir=str(folder),
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
    optimizers = (make_optimizer(model.parameters()), None)
    Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[callback], optimizers=optimizers).train()
    return model.net


@pytest.mark.parametrize(("make", "options"), [(sgd, {}), (adam, {"moments": "reset"})], ids=["sgd", "adam, reset"])
def test_hugging_face_jumps_as_a_plain_loop_does(tmp_path: Path, make, options) -> None:
    from accel.huggingface import AcceleratorCallback

    expected, jumps = plain_loop(STEPS, make, **options)
    callback = AcceleratorCallback(DMD(tolerance=1e-6), **OPTIONS, **options)
    for _ in range(2):  # a second training of a fresh model is like the first
        assert_same_weights(hugging_face_train(tmp_path, callback, make), expected)
        assert len(callback.jumps) == jumps == STEPS // OPTIONS["m"]
