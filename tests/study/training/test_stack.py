"""Replicates side by side are trained as each alone; see design, section 8: first window and jump, 1e-9 in float64."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from problems.quadratic import Quadratic
from study.planning.cells import baselines, replicates
from study.planning.tasks import make_tasks
from study.replicates.replicate import WITH_MOMENTUM, Pack, Replicate, Task
from study.training import stack
from study.training.evaluator import Evaluator
from study.training.memory import free_memory, predict_memory
from study.training.networks import Networks, why_not_stacked
from study.training.packs import train_pack
from study.training.stack import train_stack
from tests.study.training._alike import assert_alike

CPU = torch.device("cpu")
NETWORK = {
    "network.hidden": [6, 5],
    "training.optimizer": "adam",
    "training.lr": 0.01,
    "training.epochs": 16,
    "training.dtype": "float64",
    "axes": {"m": [4, 6], "s": [3, 9], "tolerance": [1e-3]},
}
POLICIES = {
    "plain": {},
    "one operator": {"method.group": "model"},
    "nodes": {"method.group": "node"},
    "weights": {"method.group": "weight"},
    "displacement": {"method.form": "displacement", "method.growth": "clip"},
    "literal": {"method.amplitudes": "literal", "method.modes": "exact"},
    "judged": {"method.accept": "improve", "method.margin": 0.01, "method.moments": "reset"},
    "candidates": {"method.candidates": [0.3, 1, 4], "method.moments": "reset"},
    "scheduled": {"method.horizon": "loss", "method.start": 1, "method.stop": 15},
    "relaxed and noisy": {"method.relaxation": 0.5, "method.noise": 0.3},
    "short moves": {"method.max_move": 1e-3},
    "a sample of the weights": {"method.sample": 20},
    "masked": {"method.shape": "masked"},
    "random direction": {"method.shape": "random"},
    "last step": {"method.shape": "last_step"},
    "limited": {"method.max_residual": 1e-3},
    "per epoch": {"method.snapshots": "epoch", "training.batch": 20, "training.optimizer": "sgd"},
    "mini-batches": {"training.batch": 20},
}


def together(spec, chosen, check_every=1, rules=None):
    (task,) = make_tasks(spec, chosen).values()
    return train_stack(chosen, task, rules or {}, CPU, check_every)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_first_window_and_jump_are_those_of_each_alone(small, policy):
    spec = small({**NETWORK, **policy})
    chosen = [*baselines(spec), *replicates(spec)]
    for outcome, replicate in zip(together(spec, chosen), chosen, strict=True):
        (alone,) = together(spec, [replicate])
        assert (outcome.stacked, alone.stacked) == (len(chosen), 1)
        assert_alike(outcome, alone, jumps=1)
        assert len(alone.jumps.epoch) > 1 or replicate.extrapolation is None


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "adagrad", "adadelta"])
@pytest.mark.parametrize("batch", ["full", 20])
def test_every_optimiser_and_hyperparameters_of_each_ones_own(small, optimizer, batch):
    changes = {**NETWORK, "training.batch": batch, "training.optimizer": optimizer, "training.lr": None, "seeds": 2}
    changes["axes"] = {
        "training.lr": [0.03, 0.01],
        "training.weight_decay": [0.0, 0.02],
        "training.momentum": [0.5 if optimizer in WITH_MOMENTUM else 0.0],
        "m": [6],
        "s": [4],
        "tolerance": [1e-4],
    }
    spec = small(changes)
    chosen = [*baselines(spec), *replicates(spec)]
    found = together(spec, chosen)
    for outcome, replicate in zip(found, chosen, strict=True):
        assert_alike(outcome, together(spec, [replicate])[0], jumps=1)
    assert len({o.losses.final_train for o in found}) == len(chosen)


def test_whole_runs_in_the_stable_setting(small):
    spec = small(
        {
            **NETWORK,
            "training.dtype": "float32",
            "training.lr": 1e-4,
            "training.epochs": 200,
            "axes": {"m": [4, 6, 9], "s": [5, 20], "tolerance": [1e-4]},
        }
    )
    for outcome, replicate in zip(together(spec, replicates(spec)), replicates(spec), strict=True):
        (alone,) = together(spec, [replicate])
        # float32, whose rounding this setting does not enlarge
        np.testing.assert_allclose(outcome.losses.train, alone.losses.train, rtol=1e-5)
        np.testing.assert_allclose(outcome.jumps.train_after, alone.jumps.train_after, rtol=1e-5)
        assert (outcome.status, outcome.steps, outcome.epoch) == ("finished", 200, 200)


@pytest.mark.parametrize("batch", ["full", 20])
@pytest.mark.parametrize("check_every", [1, 7, 1000])
def test_one_that_diverges_ends_at_its_step_and_touches_no_other(small, batch, check_every):
    # a linear network: beyond the stable learning rate its loss grows by the same factor at every step, without chaos
    changes = {**NETWORK, "training.optimizer": "sgd", "training.lr": None, "training.batch": batch}
    changes |= {"training.epochs": 30, "network.hidden": []}
    changes["axes"] = {"training.lr": [0.05, 1e12, 0.1, 1e16], "m": [4, 6], "s": [3], "tolerance": [1e-4]}
    spec = small(changes)
    chosen = [*baselines(spec), *replicates(spec)]
    found = together(spec, chosen, check_every)
    assert {o.status for o in found} == {"finished", "diverged"}
    for outcome, replicate in zip(found, chosen, strict=True):
        (alone,) = together(spec, [replicate])
        assert (outcome.status, outcome.epoch, outcome.steps) == (alone.status, alone.epoch, alone.steps)
        assert outcome.flops.judging == alone.flops.judging
        assert outcome.jumps.epoch.tolist() == alone.jumps.epoch.tolist()
        np.testing.assert_array_equal(np.isfinite(outcome.losses.train), np.isfinite(alone.losses.train))
        until = outcome.jumps.epoch[1] if len(outcome.jumps.epoch) > 1 else 30
        near = outcome.losses.train_epoch < until
        np.testing.assert_allclose(outcome.losses.train[near], alone.losses.train[near], rtol=1e-7)
        if outcome.status == "diverged":
            assert outcome.epoch < 30
            assert outcome.losses.final_train != outcome.losses.final_train


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 1e12), ("adam", 1e200), ("rmsprop", 1e200)])
@pytest.mark.parametrize("moments", ["keep", "reset"])
def test_those_that_are_left_go_on_whenever_the_diverged_one_is_taken_out(small, optimizer, lr, moments):
    changes = {**NETWORK, "training.optimizer": optimizer, "training.lr": None, "network.hidden": []}
    changes |= {"method.moments": moments, "training.momentum": 0.5 if optimizer in WITH_MOMENTUM else 0.0}
    changes["axes"] = {"training.lr": [0.05, lr, 0.1], "m": [4, 6], "s": [3], "tolerance": [1e-4]}
    spec = small(changes)
    expected = {}
    for replicate in replicates(spec):
        (alone,) = together(spec, [replicate])
        if alone.status == "finished":
            expected[id(replicate.parameters)] = alone
    for check_every in (1, 3, 1000):
        left = [o for o in together(spec, replicates(spec), check_every) if o.status == "finished"]
        assert len(left) == len(expected) == len(replicates(spec)) * 2 // 3
        for own, alone in zip(left, expected.values(), strict=True):
            np.testing.assert_allclose(own.losses.train, alone.losses.train, rtol=1e-6)
            assert own.jumps.epoch.tolist() == alone.jumps.epoch.tolist()


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adadelta"])
def test_moments_are_reset_for_the_one_that_jumped_alone(small, optimizer):
    """Different windows in one stack: the state of those that do not jump at that step stays."""
    changes = {**NETWORK, "method.moments": "reset", "training.optimizer": optimizer}
    changes |= {"training.momentum": 0.5 if optimizer in WITH_MOMENTUM else 0.0}
    changes |= {"axes": {"m": [4, 5, 7], "s": [2], "tolerance": [1e-3]}, "training.epochs": 8}
    spec, keeping = small(changes), small({**changes, "method.moments": "keep"})
    chosen = replicates(spec)
    for outcome, replicate, kept in zip(together(spec, chosen), chosen, replicates(keeping), strict=True):
        (alone,) = together(spec, [replicate])
        np.testing.assert_allclose(outcome.losses.train, alone.losses.train, rtol=1e-7)
        (other,) = together(keeping, [kept])
        assert not np.allclose(outcome.losses.train, other.losses.train, rtol=1e-6)


def test_a_network_and_a_loss_of_ones_own(small):
    spec = small({"seeds": 3, "training.epochs": 12, "training.dtype": "float64"})
    data = Quadratic().data()

    def loss(network, inputs, targets):
        return (network(inputs) - targets).abs().mean() + network(inputs[:1]).square().sum()

    task = Task(
        data.train_inputs,
        data.train_targets,
        data.test_inputs,
        data.test_targets,
        network=lambda: torch.nn.Sequential(torch.nn.Linear(8, 4, bias=False), torch.nn.LayerNorm(4)),
        loss=loss,
    )
    recipe = replicates(spec)[0].recipe
    assert why_not_stacked(task, recipe, CPU) is None
    found = train_stack(replicates(spec), task, {}, CPU)
    for outcome, replicate in zip(found, replicates(spec), strict=True):
        assert_alike(outcome, train_stack([replicate], task, {}, CPU)[0], jumps=1)
        assert outcome.groups == ("Linear 8→4", "LayerNorm 4")


def shaky(x):
    return x * 2 if x.sum().item() > 0 else x


class Shaky(torch.nn.Linear):
    def forward(self, x):
        return shaky(super().forward(x))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (lambda: torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4)), "Sequential has buffers"),
        (lambda: torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(8, 4)), "Sequential draws random numbers"),
        (lambda: Shaky(8, 4), "Shaky cannot be batched by torch.func.vmap"),
    ],
)
def test_what_cannot_be_batched_is_named_and_trained_one_by_one(small, network, reason):
    spec = small({"seeds": 2, "training.epochs": 8})
    data = Quadratic().data()
    task = Task(data.train_inputs, data.train_targets, data.test_inputs, data.test_targets, network=network)
    chosen = replicates(spec)
    told = []
    found = train_pack(Pack("test", tuple(chosen), 1, "cpu"), {chosen[0].task: task}, {}, told.append)
    assert len(told) == 1
    assert told[0].startswith(f"replicates are trained one by one, not side by side: {reason}")
    assert {(o.status, o.stacked) for o in found} == {("finished", 1)}


def test_what_runs_out_of_memory_goes_on_in_halves(small, monkeypatch):
    spec = small({"seeds": 3})
    chosen, sizes, told = replicates(spec), [], []
    expected = train_pack(Pack("test", tuple(chosen[:3]), 1, "cpu"), make_tasks(spec, chosen), {})

    def scarce(replicates, *rest, **options):
        sizes.append(len(replicates))
        if len(replicates) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return stack.train_stack(replicates, *rest, **options)

    monkeypatch.setattr("study.training.packs.train_stack", scarce)
    found = train_pack(Pack("test", tuple(chosen), 1, "cpu"), make_tasks(spec, chosen), {}, told.append)
    assert sizes == [12, 6, 3, 3, 6, 3, 3]
    assert [o.replicate for o in found] == chosen
    assert {(o.status, o.stacked) for o in found} == {("finished", 3)}
    assert found[0].losses.train.tolist() == expected[0].losses.train.tolist()
    assert "12 replicates side by side need more memory than cpu has: going on with 6" in told


def test_no_more_than_fit_are_trained_side_by_side(small, monkeypatch):
    spec = small({"seeds": 3})
    chosen = replicates(spec)
    one = predict_memory(chosen[-1], 8, 4, 64, 16).total
    monkeypatch.setattr("study.training.memory.free_memory", lambda device, gpu: int(5.5 * one / 0.8))
    found = train_pack(Pack("test", tuple(chosen), 1, "cpu"), make_tasks(spec, chosen), {})
    assert [o.stacked for o in found] == [4] * 12  # 5 would fit: three stacks, so all of 4


def test_what_does_not_fit_at_all_is_told_with_both_numbers(small, monkeypatch):
    spec = small()
    chosen = replicates(spec)
    monkeypatch.setattr("study.training.memory.free_memory", lambda device, gpu: 3 << 10)
    found = train_pack(Pack("test", tuple(chosen), 1, "cpu"), make_tasks(spec, chosen), {})
    assert {o.status for o in found} == {"failed"}
    assert found[0].reason.startswith("one replicate needs about 0.0")
    assert "MiB, but the CPU has 0.00293 MiB free. Give more" in found[0].reason


def test_predicted_memory_counts_every_array(small):
    spec = small({"network.hidden": [6, 5], "training.optimizer": "adam", "axes.m": [7], "training.batch": 16})
    replicate = replicates(spec)[0]
    weights = 9 * 6 + 7 * 5 + 6 * 4
    memory = predict_memory(replicate, 8, 4, 64, 16)
    assert (memory.weights, memory.gradients, memory.moments, memory.window) == tuple(
        4 * weights * times for times in (1, 1, 2, 7)
    )
    assert memory.total == sum(dataclasses.astuple(memory))
    assert predict_memory(baselines(spec)[0], 8, 4, 64, 16).window == 0
    doubled = replace(replicate, recipe=replace(replicate.recipe, dtype="float64"))
    assert predict_memory(doubled, 8, 4, 64, 16).total == 2 * memory.total
    assert free_memory(CPU) > 1 << 20


def test_packs_of_several_tasks_and_recipes_come_apart_into_stacks(small):
    spec = small(
        {
            "problem": {"name": "quadratic", "inputs": 4},
            "axes": {
                "problem.condition": [5.0, 10.0],
                "network.hidden": [[], [3]],
                "m": [4],
                "s": [2, 3],
                "tolerance": [0.1],
            },
            "seeds": 1,
            "network": {},
        }
    )
    chosen = replicates(spec)
    found = train_pack(Pack("test", tuple(chosen), 1, "cpu"), make_tasks(spec, chosen), {})
    assert [o.replicate for o in found] == chosen
    assert {(o.status, o.stacked) for o in found} == {("finished", 2)}


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precision_is_the_recipes_choice_alone(small, precision):
    spec = small({**NETWORK, "training.dtype": "float32"})
    low = [replace(r, recipe=replace(r.recipe, precision=precision)) for r in replicates(spec)]
    before = torch.get_float32_matmul_precision()
    plain, coarse = together(spec, replicates(spec)), together(spec, low)
    assert torch.get_float32_matmul_precision() == before
    for own, other in zip(plain, coarse, strict=True):
        assert other.status == "finished"
        # 8 bits of a product
        np.testing.assert_allclose(other.losses.train[:4], own.losses.train[:4], rtol=2e-2)
        if precision == "bf16":
            assert other.losses.train[1:4].tolist() != own.losses.train[1:4].tolist()


def test_seconds_are_shared_equally_and_add_up(small, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr("study.training.stopwatch.time.perf_counter", lambda: float(next(ticks)))
    spec = small({"seeds": 2})
    found = together(spec, replicates(spec))
    assert len({o.seconds.training for o in found}) == 1
    assert sum(o.seconds.training for o in found) == pytest.approx(24)  # one tick within each step
    assert all(o.seconds.jumps > 0 and o.seconds.judging > 0 for o in found)
    # one tick within each of 24 snapshots, of two groups that jump together: those of m = 4 and those of m = 6
    assert sum(o.seconds.recording for o in found) == pytest.approx(48)


def test_a_replicate_that_raises_fails_alone(small):
    spec = small({"seeds": 1})
    chosen = list(replicates(spec))
    broken: Replicate = replace(chosen[1], method=replace(chosen[1].method, rule="nobody's"))
    found = train_pack(Pack("test", (chosen[0], broken, chosen[2]), 1, "cpu"), make_tasks(spec, chosen), {})
    assert [o.status for o in found] == ["finished", "failed", "finished"]


def test_with_full_batches_an_accepted_jump_shares_its_last_forward_pass_with_the_next_step(small, monkeypatch):
    passes = []
    whole = Networks.losses

    def counted(self, *arguments, **keywords):
        losses = whole(self, *arguments, **keywords)
        passes.append(losses.requires_grad)
        return losses

    def train(**changes):
        spec = small({"training.epochs": 12, "axes": {"m": [4], "s": [2], "tolerance": [1e-4]}, "seeds": 1, **changes})
        (replicate,) = replicates(spec)
        passes.clear()
        (outcome,) = together(spec, [replicate])
        return outcome, sum(passes)

    with monkeypatch.context() as patched:
        patched.setattr(Networks, "losses", counted)
        outcome, forward = train()
        accepted = sum(outcome.jumps.outcome == "accepted")
        assert accepted == 3
        # a pass with gradients of each step and of each proposal; two of the three jumps are followed by a step
        assert forward == 12 + 3 - 2
        refused, forward = train(**{"method.accept": "improve", "method.margin": 0.999999})
        assert "accepted" not in refused.jumps.outcome
        assert forward == 12
    # the same numbers as with a pass of its own for each step
    with monkeypatch.context() as patched:
        patched.setattr(Evaluator, "take_forward", lambda self: None)
        expected, _ = train()
    np.testing.assert_array_equal(outcome.losses.train, expected.losses.train)
    assert outcome.flops == expected.flops
