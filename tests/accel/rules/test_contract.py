"""The contract that every rule keeps on every kind of model; one row per rule, one column per training."""

import copy
import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from accel import DMD, Accelerator, Anderson, Average, JumpOutcome, Koopman, Line, Rule

RULES: dict[str, Rule] = {
    "dmd": DMD(1e-6),
    "dmd, fixed rank": DMD(rank=2),
    "dmd, displacement": DMD(1e-6, form="displacement"),
    "dmd, literal": DMD(1e-6, amplitudes="literal"),
    "dmd, exact modes": DMD(1e-6, modes="exact"),
    "dmd, clip": DMD(1e-6, growth="clip"),
    "dmd, drop": DMD(1e-6, form="displacement", growth="drop"),
    "koopman": Koopman(1e-6),
    "line": Line(),
    "anderson": Anderson(1e-6),
    "average": Average(decay=0.5),
}
EXACT = {"dmd", "dmd, displacement", "dmd, exact modes", "dmd, clip", "dmd, drop", "koopman"}
"""Rules that follow gradient descent on a quadratic exactly, all of its modes being kept."""


@dataclass
class Training:
    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[], Tensor]
    """Of the mini-batch at hand, or of everything."""

    def steps(self, count: int, accelerator: Accelerator | None = None):
        """Train; the jumps."""
        jumps = []
        for _ in range(count):
            self.optimizer.zero_grad()
            self.loss().backward()
            self.optimizer.step()
            if accelerator is not None and (jump := accelerator.step(self.loss)) is not None:
                jumps.append(jump)
        return jumps

    @property
    def weights(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.model.parameters()]).clone()


def quadratic(dtype=torch.float64, noise=0.0):
    """Linear least squares under gradient descent: six weights with three rates along orthogonal inputs."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(6, 1, bias=False).to(dtype)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 1.5, -0.7, 0.2]]))
    x = torch.diag(torch.tensor([1.0, 1.0, 0.7, 0.7, 0.4, 0.4])).to(dtype)
    y = torch.tensor([[0.3], [0.2], [-0.1], [0.4], [0.1], [-0.5]]).to(dtype)

    def loss():
        target = y + noise * torch.randn(y.shape, generator=generator).to(dtype) if noise else y
        return mse_loss(model(x), target, reduction="sum") / 2

    return Training(model, torch.optim.SGD(model.parameters(), 0.5), loss)


def noisy_quadratic(dtype=torch.float64):
    return quadratic(dtype, noise=0.05)


def small_mlp(dtype=torch.float32):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)
    x = torch.randn(40, 5).to(dtype)
    return Training(
        model, torch.optim.Adam(model.parameters(), 1e-3), lambda: mse_loss(model(x), torch.sin(x[:, :2] * 2))
    )


def conv_net(dtype=torch.float32):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 2)).to(
        dtype
    )
    x, y = torch.randn(12, 1, 6, 6).to(dtype), torch.randn(12, 2).to(dtype)
    return Training(model, torch.optim.SGD(model.parameters(), 0.01, momentum=0.9), lambda: mse_loss(model(x), y))


TRAININGS = {"quadratic": quadratic, "noisy quadratic": noisy_quadratic, "mlp": small_mlp, "conv net": conv_net}
M, S = 5, 4

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
every_training = pytest.mark.parametrize("make", TRAININGS.values(), ids=TRAININGS)


@pytest.fixture(autouse=True)
def _one_thread():
    """More would only wait for each other on models of this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@every_rule
@every_training
@pytest.mark.parametrize("group", ["model", "layer", "node", "weight"])
def test_weights_are_finite_or_the_outcome_says_why_not(rule, make, group):
    training = make()
    accelerator = Accelerator(training.model, rule, m=M, s=S, group=group)
    jumps = []
    for _ in range(4):
        training.steps(M - 1, accelerator)
        newest = []
        hook = training.optimizer.register_step_post_hook(lambda *_, seen=newest: seen.append(training.weights))
        jumps += training.steps(1, accelerator)
        hook.remove()
        if newest[0].isfinite().all():  # taking every prediction may drive training itself apart
            assert training.weights.isfinite().all()
        else:
            assert jumps[-1].outcome is JumpOutcome.NOT_FINITE
    assert len(jumps) == 4
    for jump in jumps[:1]:
        assert jump.outcome in (JumpOutcome.ACCEPTED, JumpOutcome.NOT_FINITE)
        assert (jump.outcome is JumpOutcome.NOT_FINITE) == (jump.ratio == math.inf)
        for report in jump.groups:
            assert math.isfinite(report.spectral_radius)
            assert 0 <= report.rank <= min(M - 1, report.size)
            assert report.residual >= 0
            assert 0 <= report.inconsistency <= 1


@every_rule
@every_training
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_device_and_identity_are_kept(rule, make, dtype):
    training = make(dtype)
    before = [(id(p), p.dtype, p.device, p.shape, p.data_ptr()) for p in training.model.parameters()]
    training.steps(2 * M, Accelerator(training.model, rule, m=M, s=S))
    assert [(id(p), p.dtype, p.device, p.shape, p.data_ptr()) for p in training.model.parameters()] == before
    assert {p.dtype for p in training.model.parameters()} == {dtype}


@every_rule
@every_training
@pytest.mark.parametrize("off", [{"start": 10**6}, {"m": 10**3}, {"accept": "improve", "margin": 0.999999}])
def test_off_is_training_without_it_bit_for_bit(rule, make, off):
    watched, plain = make(), make()
    if make is conv_net:  # judging in training mode would count in the batch norm's statistics
        plain.model.eval(), watched.model.eval()
    accelerator = Accelerator(watched.model, rule, **{"m": M, "s": 1, **off})
    losses = watched.loss
    # one is judged without drawing from the noise of the training; no margin refuses the minimum of the other
    if make in (quadratic, noisy_quadratic):
        watched.loss = lambda: losses() if torch.is_grad_enabled() else torch.ones(())
    jumps = watched.steps(3 * M, accelerator)
    plain.steps(3 * M)
    assert not any(jump.accepted for jump in jumps)
    assert torch.equal(watched.weights, plain.weights)
    for one, two in zip(watched.model.buffers(), plain.model.buffers(), strict=True):
        assert torch.equal(one, two)


@every_rule
@every_training
@pytest.mark.parametrize("stop", [2, M, 2 * M + 3])
def test_resumed_equals_uninterrupted(rule, make, stop):
    whole = make()
    accelerator = Accelerator(whole.model, rule, m=M, s=S)
    whole.steps(stop, accelerator)
    file = io.BytesIO()
    torch.save([whole.model.state_dict(), whole.optimizer.state_dict(), accelerator.state_dict()], file)
    resumed = make()
    resumed.steps(1)  # the noise's stream is the training's own; here it is copied
    file.seek(0)
    other = Accelerator(resumed.model, rule, m=M, s=S)
    for part, state in zip((resumed.model, resumed.optimizer, other), torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    if make is noisy_quadratic:
        index = next(i for i, c in enumerate(whole.loss.__closure__) if isinstance(c.cell_contents, torch.Generator))
        resumed.loss.__closure__[index].cell_contents.set_state(whole.loss.__closure__[index].cell_contents.get_state())
    jumps = whole.steps(3 * M - stop, accelerator)
    assert resumed.steps(3 * M - stop, other) == jumps
    assert torch.equal(resumed.weights, whole.weights)


@pytest.mark.parametrize("name", sorted(EXACT))
def test_gradient_descent_on_a_quadratic_is_followed_exactly(name):
    training, later = quadratic(), quadratic()
    (jump,) = training.steps(6, Accelerator(training.model, RULES[name], m=6, s=10))
    later.steps(16)
    assert jump.accepted
    assert jump.groups[0].rank == 4  # three rates, and the minimum itself, which stays
    # s counts from the newest snapshot; float64 over a least mode of some 1e-2
    torch.testing.assert_close(training.weights, later.weights, rtol=0, atol=1e-10)
    assert jump.loss_after < 0.5 * jump.loss_before


@every_rule
@every_training
def test_predictions_turn_with_the_weights(rule, make):
    """An orthogonal change of basis within a group turns its prediction and changes nothing else."""
    training = make(torch.float64)
    n = training.weights.numel()
    turn = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q
    straight, turned = (nn.ParameterList([nn.Parameter(torch.zeros(n).double())]) for _ in range(2))
    one, two = Accelerator(straight, rule, m=M, s=S), Accelerator(turned, rule, m=M, s=S)
    for _ in range(M):
        training.steps(1)
        with torch.no_grad():
            straight[0].copy_(training.weights)
            turned[0].copy_(turn @ training.weights)
        jumps = one.step(), two.step()
    assert jumps[0].groups[0].rank == jumps[1].groups[0].rank
    # modes are kept down to 1e-6 of the largest: rounding of 1e-16 over that, times what s powers amplify
    torch.testing.assert_close(turn.mT @ turned[0].detach(), straight[0].detach(), rtol=0, atol=1e-7)
    assert not torch.equal(straight[0].detach(), training.weights)


@every_rule
@pytest.mark.parametrize("group", ["model", "node", "weight"])
@pytest.mark.parametrize("bad", ["still", "nan", "rank one"])
def test_windows_that_show_nothing_never_raise(rule, group, bad):
    training = small_mlp(torch.float64)
    accelerator = Accelerator(training.model, rule, m=M, s=S, group=group)
    for k in range(M):
        with torch.no_grad():
            for p in training.model.parameters():
                if bad == "nan":
                    p.fill_(math.nan)
                elif bad == "rank one":
                    p.mul_(1.0 if k == 0 else 0.5)
        before, jump = training.weights, accelerator.step()
    if bad == "rank one" and group == "weight":  # a single weight is never more; it moves
        assert jump.accepted
        return
    assert jump.outcome is (JumpOutcome.NOT_FINITE if bad == "nan" else JumpOutcome.RANK_DEFICIENT)
    assert torch.equal(training.weights.nan_to_num(7.0), before.nan_to_num(7.0))


@every_rule
def test_bad_input(rule):
    model = small_mlp().model
    for options, message in (
        ({"m": 1, "s": 1}, "m must be an integer of at least 2, got 1"),
        ({"m": 3, "s": 0}, "s must be an integer of at least 1 or a Horizon, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Accelerator(model, rule, **options)
    for unsuitable, message in (
        (nn.Flatten(), "must have trainable floating-point parameters"),
        (copy.deepcopy(model).requires_grad_(False), "must have trainable floating-point parameters"),
        (nn.Linear(2, 2, dtype=torch.complex64), "real floating point, got weight of torch.complex64"),
    ):
        with pytest.raises(ValueError, match=message):
            Accelerator(unsuitable, rule, m=3, s=1)
    whole = nn.Module()
    whole.counts = nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False)
    with pytest.raises(ValueError, match="must have trainable floating-point parameters"):
        Accelerator(whole, rule, m=3, s=1)  # torch itself has no trainable integers
    state = Accelerator(model, rule, m=3, s=1).state_dict()
    with pytest.raises(ValueError, match="must come from the same model and options; groups is"):
        Accelerator(conv_net().model, rule, m=3, s=1).load_state_dict(state)
    with pytest.raises(ValueError, match="must come from the same model and options; s is 1 there, 2 here"):
        Accelerator(model, rule, m=3, s=2).load_state_dict(state)
    for value, message in ((torch.ones(2), "scalar loss"), (math.nan, "got NaN"), (None, "scalar loss, got None")):
        training = small_mlp()
        accelerator = Accelerator(training.model, rule, m=3, s=1)
        loss = training.loss
        training.loss = lambda loss=loss, value=value: loss() if torch.is_grad_enabled() else value
        with pytest.raises(ValueError, match=message):
            training.steps(3, accelerator)
    training = small_mlp()
    accelerator = Accelerator(training.model, rule, m=3, s=1)
    training.steps(1, accelerator)
    training.model[0].weight.data = torch.zeros(3, 3)
    with pytest.raises(ValueError, match=r"must keep shape, dtype and device .* got \(3, 3\) torch.float32 on cpu"):
        accelerator.step()
