"""Replayed steps are the steps: the tape of `_tape.py`, which runs on the CPU, in the place of a CUDA graph."""

import dataclasses
import gc

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from study.planning.cells import baselines, replicates
from study.planning.tasks import make_tasks
from study.replicates.replicate import WITH_MOMENTUM, Pack, Recipe
from study.training.cuda_graphs import GRAPHS, WARM_UP, Replayed
from study.training.memory import predict_memory
from study.training.networks import Networks
from study.training.optimizers import StackOptimizer
from study.training.packs import train_pack
from study.training.stack import train_stack
from tests.study.training import _tape
from tests.study.training.graph_checks import CHECKS
from tests.study.training.test_stack import CPU, NETWORK, POLICIES


@pytest.fixture
def tapes(monkeypatch):
    """Steps are recorded on the CPU too; the list of the tapes."""
    _tape.Tapes.made = made = []
    monkeypatch.setattr("study.training.stack.GRAPHS", {"cpu": _tape.Tapes, **GRAPHS})
    return made


def both(spec, chosen, device=CPU, **options):
    """What is replayed, what is not, and what the first was warned of."""
    (task,) = make_tasks(spec, chosen).values()
    told = []
    replayed = train_stack(chosen, task, {}, device, warn=told.append, **options)
    return replayed, train_stack(chosen, task, {}, device, replays=False, **options), told


def assert_equal(found, expected):
    """Bit for bit, but for seconds."""
    for own, other in zip(found, expected, strict=True):
        for field in dataclasses.fields(own):
            one, two = getattr(own, field.name), getattr(other, field.name)
            if field.name in ("jumps", "losses"):
                for column in dataclasses.fields(one):
                    np.testing.assert_array_equal(getattr(one, column.name), getattr(two, column.name))
            elif not field.name.startswith(("seconds", "started", "ended")):
                np.testing.assert_array_equal(one, two, err_msg=field.name)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_jumps_between_replayed_steps(small, tapes, policy):
    spec = small({**NETWORK, **policy})
    chosen = [*baselines(spec), *replicates(spec)]
    found, expected, told = both(spec, chosen)
    assert_equal(found, expected)
    assert told == []
    steps = found[0].steps
    batches = 1 if "training.batch" not in policy else 2  # 64 samples: three batches of 20 and one of 4
    assert len(tapes) == batches
    assert sum(tape.replays for tape in tapes) == steps - batches * (WARM_UP + 1)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "adagrad", "adadelta"])
@pytest.mark.parametrize("batch", ["full", 20])
@pytest.mark.parametrize("alone", [False, True])
def test_every_optimiser(small, tapes, optimizer, batch, alone):
    changes = {**NETWORK, "training.batch": batch, "training.optimizer": optimizer, "training.lr": None}
    changes["axes"] = {
        "training.lr": [0.03, 0.01],
        "training.weight_decay": [0.02],
        "training.momentum": [0.5 if optimizer in WITH_MOMENTUM else 0.0],
        "m": [6],
        "s": [4],
        "tolerance": [1e-4],
    }
    spec = small(changes)
    chosen = replicates(spec)[:1] if alone else [*baselines(spec), *replicates(spec)]
    found, expected, told = both(spec, chosen, check_every=5)
    assert_equal(found, expected)
    assert (told, len(tapes)) == ([], 1 if batch == "full" else 2)


@pytest.mark.parametrize("batch", ["full", 20])
def test_steps_are_recorded_anew_once_a_replicate_has_left(small, tapes, batch):
    changes = {**NETWORK, "training.optimizer": "sgd", "training.lr": None, "training.batch": batch}
    changes |= {"training.epochs": 60, "network.hidden": []}
    changes["axes"] = {"training.lr": [0.05, 1e12, 0.1, 5.0], "m": [4], "s": [3], "tolerance": [1e-4]}
    spec = small(changes)
    found, expected, told = both(spec, baselines(spec), check_every=7)
    assert_equal(found, expected)
    assert {o.status for o in found} == {"finished", "diverged"}
    assert told == []
    assert len(tapes) > (1 if batch == "full" else 2)
    assert tapes[-1].replays > 0


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.usefixtures("tapes")
def test_a_graph_of_every_device_there_is(name, device):
    """Use its own graphs where there is a GPU."""
    CHECKS[name](torch.device(device))


@pytest.mark.parametrize("name", sorted(set(CHECKS) - {"a step that cannot be recorded"}))
def test_those_checks_fail_where_a_replay_does_nothing(name, tapes, monkeypatch):
    """The replay is then found out, and told of, which no check but the one that is about that accepts."""
    monkeypatch.setattr(_tape.Tape, "replay", lambda self: None)
    with pytest.raises(AssertionError):
        CHECKS[name](CPU)


def test_lower_precision_is_recorded_with_the_step(small, tapes):
    spec = small({**NETWORK, "training.dtype": "float32", "training.precision": "bf16"})
    found, expected, told = both(spec, replicates(spec))
    assert_equal(found, expected)
    assert (told, len(tapes)) == ([], 1)


def test_what_cannot_be_recorded_is_told_and_trained_as_it_is(small, tapes):
    spec = small({"seeds": 1})
    chosen = replicates(spec)
    tasks = make_tasks(spec, chosen)
    told = []

    def asks_the_device(network, inputs, targets):
        loss = (network(inputs) - targets).square().mean()
        return loss if inputs.sum().item() else 2 * loss

    tasks = {key: dataclasses.replace(task, loss=asks_the_device) for key, task in tasks.items()}
    found = train_pack(Pack("test", tuple(chosen[:1]), 1, "cpu"), tasks, {}, told.append)
    assert told == [
        "training steps are launched one kernel after another, not as a CUDA graph: "
        "operation not permitted when stream is capturing: aten::_local_scalar_dense"
    ]
    assert tapes == []
    assert_equal(found, train_pack(Pack("test", tuple(chosen[:1]), 1, "cpu"), make_tasks(spec, chosen), {}))


@pytest.mark.parametrize("grows", [lambda calls: calls, lambda calls: (-1) ** calls])
def test_a_replay_that_is_not_the_step_is_found_out_and_undone(small, tapes, grows):
    """A loss that depends on more than its arguments: what it was at the recording stays in the recording."""
    spec = small({"seeds": 1, "training.optimizer": "sgd", "training.lr": 1e-3})
    chosen = replicates(spec)[:1]
    (task,) = make_tasks(spec, chosen).values()

    def trained(**options):
        calls = []

        def loss(network, inputs, targets):
            calls.append(network)
            return grows(len(calls)) * (network(inputs) - targets).square().mean()

        return train_stack(chosen, dataclasses.replace(task, loss=loss), {}, CPU, **options)

    told = []
    trained(warn=told.append)
    assert told == [
        "training steps are launched one kernel after another, not as a CUDA graph: "
        "a replayed step differs from an eager one"
    ]
    assert [tape.replays for tape in tapes] == [1]


def test_the_step_that_is_compared_is_taken_once(tapes):
    """From where it began, with the state of the optimiser that it had: a count that each step raises by one."""
    state = [torch.zeros(3, dtype=torch.float64), torch.zeros((), dtype=torch.float64)]

    def step(x, y, shared):
        state[1].add_(1.0)
        state[0].add_(x * state[1])
        return (state[0] * y).sum()[None]

    told = []
    take = Replayed(step, lambda: state, _tape.Tapes, told.append)
    weights, expected = torch.zeros(3, dtype=torch.float64), []
    for count in range(1, 12):
        x, y = torch.full((3,), 1.0 + count, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64)
        weights += x * count
        expected.append(float((weights * 2).sum()))
        assert take(x, y, True).tolist() == [expected[-1]]  # small whole numbers
    assert (told, state[1].item()) == ([], 11)


class _OnGpu(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(2, 3, device="cuda"))


class _Scarce(_tape.Tapes):
    """Memory runs out once a step has been replayed."""

    def record(self, step):
        again, losses = super().record(step)

        def scarce():
            again()
            raise torch.OutOfMemoryError("CUDA out of memory")

        return scarce, losses


@pytest.mark.parametrize("fails", ["while it is recorded", "while it is compared", "while it is watched"])
def test_whatever_fails_leaves_the_state_that_the_steps_give(tapes, fails):
    """A step of two updates, of which the second cannot be recorded, or whose replay is not done with."""
    state = [torch.zeros(2), torch.zeros(2)]
    calls = []

    def step(x, y, shared):
        calls.append(x)
        state[0].add_(1.0)
        if len(calls) == {"while it is watched": WARM_UP, "while it is recorded": WARM_UP + 1}.get(fails):
            state[0].sum().item()
        state[1].add_(state[0])
        return state[1].sum()[None].clone()

    told = []
    take = Replayed(step, lambda: state, _Scarce if fails == "while it is compared" else _tape.Tapes, told.append)
    x = torch.ones(2)
    assert [take(x, x, True).item() for _ in range(8)] == [2.0 * sum(range(count + 1)) for count in range(1, 9)]
    assert (state[0].tolist(), len(told)) == ([8.0, 8.0], 1)


def test_one_replicate_that_stands_still_is_seen_beside_one_that_moves_far(tapes):
    state = [torch.zeros(2, 3, dtype=torch.float64)]
    steps = torch.tensor([[1.0], [1e-6]], dtype=torch.float64)

    class Forgetful(_tape.Tapes):
        def record(self, step):
            again, losses = super().record(step)

            def all_but_the_last():
                kept = state[0][1].clone()
                again()
                state[0][1] = kept

            return all_but_the_last, losses

    def step(x, y, shared):
        state[0].add_(steps)
        return x.new_ones(2)

    told = []
    take = Replayed(step, lambda: state, Forgetful, told.append)
    for _ in range(8):
        take(steps, steps, True)
    assert len(told) == 1
    assert told[0].endswith("a replayed step differs from an eager one")
    torch.testing.assert_close(state[0], 8 * steps.expand(2, 3))


def test_steps_are_recorded_later_each_time_that_the_state_moves(tapes):
    state = [torch.zeros(1)]

    def step(x, y, shared):
        state[0].add_(1.0)
        return state[0].clone()

    take, x, recorded_at = Replayed(step, lambda: state, _tape.Tapes, print), torch.ones(1), []
    for _ in range(6):
        known, count = len(tapes), 0
        while len(tapes) == known:
            take(x, x, True)
            count += 1
        recorded_at.append(count)
        take.forget()
    assert recorded_at == [4, 7, 13, 25, 49, 51]


def test_a_run_leaves_nothing_behind(small, tapes):
    """Not even until the next collection of garbage: its memory is the next run's, and so is a graph's."""
    spec = small({**NETWORK, "training.epochs": 12})
    chosen = replicates(spec)
    gc.collect()
    gc.disable()
    try:
        both(spec, chosen)
        assert [thing for thing in gc.get_objects() if type(thing).__name__ in ("_Run", "Networks", "Replayed")] == []
    finally:
        gc.enable()


@pytest.mark.parametrize(("version", "fused"), [("2.9.1+cu130", False), ("2.12.0", False), ("2.13.0+cu130", True)])
def test_adagrad_is_fused_on_a_gpu_where_torch_can(monkeypatch, version, fused):
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion(version))
    recipe = Recipe((), "tanh", "adagrad", 0.1, 0.0, 0.0, 10, None, "float32")
    with FakeTensorMode():
        own = StackOptimizer(Networks([_OnGpu() for _ in range(3)], None, own=False), [recipe] * 3, [False] * 3)
    assert [bool(group["fused"]) for group in own._optimizer.param_groups] == [fused]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "adadelta"])
def test_all_that_a_step_counts_is_on_the_device(monkeypatch, optimizer):
    """Tensors that claim to be on a GPU: a count on the host would stand still in replays, and torch would refuse."""
    recipe = Recipe((), "tanh", optimizer, 0.1, 0.0, 0.0, 10, None, "float32")
    with FakeTensorMode():
        modules = [_OnGpu() for _ in range(3)]
        networks = Networks(modules, torch.nn.functional.mse_loss, own=False)
        own = StackOptimizer(networks, [recipe] * 3, [False] * 3)

        def backward(losses):
            for parameter in networks.trainable:
                parameter.grad = torch.empty_like(parameter)

        monkeypatch.setattr(torch.Tensor, "backward", backward)
        own.step(torch.empty(3, device="cuda"))
        assert {values.device.type for values in own.state} == {"cuda"}
        assert all(group["capturable"] for group in own._optimizer.param_groups)


@pytest.mark.parametrize("batch", ["full", 20])
def test_nothing_waits_for_the_device_between_two_looks(small, monkeypatch, batch):
    """However many epochs are trained: with the only jump after the last step, they all wait as often."""
    waits = {}
    monkeypatch.setattr(torch.Tensor, "tolist", lambda values: values.numpy().tolist())  # of what has been fetched
    for epochs in (8, 20):
        steps = epochs if batch == "full" else 4 * epochs  # of 64 samples
        axes = {"m": [steps], "s": [2], "tolerance": [1e-3]}
        spec = small({**NETWORK, "training.batch": batch, "training.epochs": epochs, "seeds": 2, "axes": axes})
        chosen = [*baselines(spec), *replicates(spec)]
        (task,) = make_tasks(spec, chosen).values()
        with _Waits() as waiting:
            train_stack(chosen, task, {}, CPU, check_every=1000)
        waits[epochs] = waiting.count
    assert waits[8] == waits[20] > 0


class _Waits(TorchDispatchMode):
    """Counts what a device must have come to for the host to go on."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += function.name().partition(".")[0] in _tape.SYNCHRONISES
        return function(*arguments, **(options or {}))


def test_a_device_that_records_needs_more_memory(small):
    replicate = replicates(small({"network.hidden": [6, 5], "training.optimizer": "adam", "axes.m": [7]}))[0]
    plain = predict_memory(replicate, 8, 4, 64, 16)
    recorded = predict_memory(replicate, 8, 4, 64, 16, recorded=True)
    own = plain.gradients + 2 * (plain.weights + plain.moments)  # beside the activations of a step
    assert recorded.total - plain.total - own == plain.activations
