"""The accelerator among torch's own machinery: compiled models, autocast, parameter groups, several processes."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from accel import DMD, Accelerator


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator)
    return x, torch.sin(x[:, :2])


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 2))


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_a_compiled_model_is_accelerated_as_the_model_itself():
    found = []
    x, y = data()
    for wrap in (lambda model: model, lambda model: torch.compile(model, backend="eager")):
        model = mlp()
        forward = wrap(model)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        accelerator = Accelerator(forward, DMD(1e-6), m=3, s=4)
        jumps = []
        for _ in range(7):  # one more step than jumps: the graph must see the weights that were written
            optimizer.zero_grad()
            loss = mse_loss(forward(x), y)
            loss.backward()
            optimizer.step()
            jumps.append(accelerator.step(lambda forward=forward: mse_loss(forward(x), y)))
        found.append((weights(model), [jump for jump in jumps if jump is not None]))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert [jump.accepted for jump in found[1][1]] == [True, True]


def test_under_autocast_weights_keep_their_precision():
    model, exact = mlp(), mlp()
    x, y = data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    accelerator, outside = (Accelerator(each, DMD(1e-4), m=4, s=5) for each in (model, exact))
    for _ in range(4):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        torch.nn.utils.vector_to_parameters(weights(model), exact.parameters())
        with torch.autocast("cpu", dtype=torch.bfloat16):  # a step within its scope must not lose digits
            jump = accelerator.step(lambda: mse_loss(model(x), y))
        outside.step()
    assert jump.accepted
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(weights(model), weights(exact))


@pytest.mark.parametrize(
    "make",
    [
        lambda groups: torch.optim.SGD(groups, momentum=0.9),
        lambda groups: torch.optim.AdamW(groups),
        lambda groups: torch.optim.RMSprop(groups),
        lambda groups: torch.optim.Adadelta(groups),
    ],
)
def test_parameter_groups_of_any_optimiser(make):
    model = mlp()
    x, y = data()
    optimizer = make([{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters(), "lr": 0.001}])
    accelerator = Accelerator(model, DMD(1e-5), m=3, s=3, moments="reset", optimizer=optimizer)
    jumps = []
    for _ in range(9):
        optimizer.zero_grad()
        mse_loss(model(x), y).backward()
        optimizer.step()
        assert len(optimizer.state) == 4
        jumps.append(accelerator.step())
        assert len(optimizer.state) == (0 if jumps[-1] is not None else 4)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.001]
    assert sum(jump is not None and jump.accepted for jump in jumps) == 3


DISTRIBUTED = """
import sys
import torch
from torch import distributed, nn
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel
from accel import DMD, Accelerator

rank, file = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method="file://" + file, rank=rank, world_size=2)
torch.manual_seed(0)
model = DistributedDataParallel(nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 2)))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
accelerator = Accelerator(model, DMD(1e-6), m=3, s=4, accept="improve", candidates=(1, 2), noise=0.1)
x = torch.randn(64, 5, generator=torch.Generator().manual_seed(1 + rank))
y = torch.sin(x[:, :2])
calls = []

def closure():
    # each process alone would decide otherwise: of every second jump one sees a gain, the other a greater loss
    calls.append(mse_loss(model(x), y))
    jump, candidate = divmod(len(calls) - 1, 3)
    return [4.0, [1.0, 9.0][rank], [[8.0, 5.0], [8.0, 1.0]][jump % 2][rank]][candidate]

for _ in range(12):
    optimizer.zero_grad()
    mse_loss(model(x), y).backward()
    optimizer.step()
    jump = accelerator.step(closure)
    if jump is not None:
        print(jump.s, jump.loss_before, jump.loss_after, jump.outcome.value)
print(accelerator.group_names, torch.cat([p.detach().flatten() for p in model.parameters()]).numpy().tobytes().hex())
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_every_process_takes_the_same_decision(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DISTRIBUTED, str(rank), str(tmp_path / "meeting")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        outputs = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], outputs
    one, two = (out.splitlines() for out, _ in outputs)
    assert one == two
    # means over the two processes: 5.0 at s = 4; 6.5 and 4.5 in turn at s = 8; alone, process 0 would take the first
    assert one[:4] == ["4 4.0 5.0 rejected_loss", "8 4.0 4.5 rejected_loss"] * 2
    assert one[4].startswith("('0', '2') ")


def test_one_process_alone_needs_no_torch_distributed(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    model = mlp()
    accelerator = Accelerator(model, DMD(), m=2, s=1)
    for k in range(2):
        with torch.no_grad():
            model[0].bias.fill_(float(k))
        jump = accelerator.step(lambda: 2.0)
    assert (jump.loss_before, jump.loss_after) == (2.0, 2.0)
