"""Koopman operators against the authors' formula, F' pinv(F) to a power, from windows and from compressed pairs."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from accel import Accelerator, JumpOptions, Koopman, StackedAccelerator
from accel._window.group_windows import Windows
from accel._window.pair_windows import PairWindows

M, S = 400, 60


def authors(rows, s, tolerance=None):
    """NodeKoopmanTraining.m: a group's snapshots (n, m) as columns; MATLAB's pinv cuts at max(size) · eps · σ_0."""
    lagged, led = rows[:, :-1], rows[:, 1:]
    cut = max(lagged.shape) * np.finfo(float).eps if tolerance is None else tolerance
    operator = led @ np.linalg.pinv(lagged, rcond=cut)
    return np.linalg.matrix_power(operator, s) @ rows[:, -1]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def move(model, step):
    """Every weight moves along three decaying modes of its own mixture; a bounded, well-conditioned history."""
    with torch.no_grad():
        for number, p in enumerate(model.parameters()):
            index = torch.arange(p.numel(), dtype=torch.float64).view_as(p) + 1
            p.copy_(
                torch.cos(index * (number + 1))
                + sum(torch.sin(index * k + number) * torch.exp(torch.tensor(-0.01 * k * step)) for k in (1, 2, 3))
                + 0.3 * torch.sin(0.05 * index * step + number)
            )


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).double().numpy()


def groups_of(model, group):
    """Indices of each group's weights in the flattened model: rows of weight matrices with their biases."""
    found, start = [], 0
    for layer in (model[0], model[2]):
        rows, columns = layer.weight.shape
        bias = start + rows * columns
        nodes = [[*range(start + r * columns, start + (r + 1) * columns), bias + r] for r in range(rows)]
        found += nodes if group == "node" else [sorted(k for node in nodes for k in node)]
        start = bias + rows
    if group == "model":
        return [list(range(start))]
    if group == 2:  # rows of three weights in single ones, of four in halves
        return [[k] for k in range(16)] + [[k, k + 1] for k in range(16, 24, 2)] + [[24], [25]]
    return [[k] for k in range(start)] if group == "weight" else found


def jumped(group, dtype=torch.float64, m=M, rule=None, **options):
    """The history (n, m) up to the jump, the weights after it, and the accelerator."""
    model = network().to(dtype)
    accelerator = Accelerator(model, rule or Koopman(), m=m, s=S, group=group, **options)
    seen = []
    for step in range(m):
        move(model, step)
        seen.append(weights(model))
        jump = accelerator.step()
    return np.stack(seen, axis=1), weights(model), accelerator, jump


@pytest.mark.parametrize("shape", [(40, 6), (5, 30), (1, 9), (8, 8)])
def test_of_a_window_it_is_the_authors_prediction(shape, factor):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((shape[0], 1)) + 0.1 * rng.standard_normal(shape).cumsum(axis=1)
    window = factor(rows) if shape[0] > shape[1] else torch.from_numpy(rows)[None]
    combination = Koopman()(window, 7)
    # a condition number of some 1e3, powers of an operator of norm some 10
    np.testing.assert_allclose(rows @ combination.coefficients[0].numpy(), authors(rows, 7), rtol=0, atol=1e-9)
    assert combination.rank.tolist() == [min(shape[0], shape[1] - 1)]


@pytest.mark.parametrize("group", ["model", "layer", "node", 2, "weight"])
def test_of_pairs_it_is_the_authors_prediction_group_by_group(group):
    history, found, accelerator, jump = jumped(group)
    assert isinstance(accelerator._stack.windows, PairWindows)
    for own, report in zip(groups_of(network(), group), jump.groups, strict=True):
        # rounding of 1e-16 over singular values down to 1e-8 of the largest: of the reference as well
        np.testing.assert_allclose(found[own], authors(history[own], S), rtol=0, atol=2e-7)
        assert np.abs(found[own] - history[own, -1]).max() > 1e-4
        assert report.rank <= len(own)
        assert 0 <= report.inconsistency <= 1
        assert not report.deficient


def test_pairs_tell_of_themselves_what_windows_tell():
    """The same snapshots kept whole, by asking for a dtype that is the weights' own."""
    _, found, accelerator, jump = jumped("node", torch.float32)
    _, whole, other, expected = jumped("node", torch.float32, snapshot_dtype=torch.float32)
    assert isinstance(accelerator._stack.windows, PairWindows)
    assert isinstance(other._stack.windows, Windows)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-6)  # float32
    for own, other_report in zip(jump.groups, expected.groups, strict=True):
        assert (own.rank, own.size, own.name, own.noise_modes) == (
            other_report.rank,
            other_report.size,
            other_report.name,
            other_report.noise_modes,
        )
        for column in ("spectral_radius", "relative_move", "residual", "inconsistency"):
            # float32 snapshots: the smallest modes are their rounding, alike in both but for float64's
            assert getattr(own, column) == pytest.approx(getattr(other_report, column), rel=1e-4, abs=1e-8), column


@pytest.mark.parametrize("tolerance", [0.09, 0.2])
def test_truncation_keeps_the_leading_modes(tolerance):
    history, found, _, jump = jumped("layer", rule=Koopman(tolerance))
    for own, report in zip(groups_of(network(), "layer"), jump.groups, strict=True):
        np.testing.assert_allclose(found[own], authors(history[own], S, tolerance), rtol=0, atol=1e-8)
        sigma = np.linalg.svd(history[own, :-1], compute_uv=False)
        assert report.rank == (sigma > tolerance * sigma[0]).sum() < len(own)


def test_late_training_keeps_its_digits():
    """Weights of size 1 that move by 1e-5 of it along two modes: running sums would see them at 1e-10 squared."""
    rng = np.random.default_rng(1)
    rates, basis = np.array([0.99, 0.97]), 1e-5 * rng.standard_normal((3, 2))
    rest = rng.standard_normal(3)
    model = nn.ParameterList([nn.Parameter(torch.zeros(3, dtype=torch.float64))])
    accelerator = Accelerator(model, Koopman(), m=M, s=S, group="model")
    for step in range(M):
        with torch.no_grad():
            model[0].copy_(torch.from_numpy(rest + basis @ rates**step))
        if step == M - 1:
            newest = model[0].detach().numpy().copy()
        accelerator.step()
    expected = rest + basis @ rates ** (M - 1 + S)
    growth = np.abs(expected - newest).max()
    # a unit in the last place of the weights is 1e-16, the least mode 1e-6 of the largest, powers add some 1e2
    assert np.abs(model[0].detach().numpy() - expected).max() < 1e-2 * growth


def test_ten_thousand_snapshots_take_no_more_memory_than_five_hundred():
    def numbers(m):
        model = network()
        accelerator = Accelerator(model, Koopman(), m=m, s=S, group="node")
        for step in range(500 - 1):
            move(model, step)
            accelerator.record()
        return sum(tensor.numel() for tensor in accelerator.state_dict()["windows"])

    assert numbers(500) == numbers(10_000) < 100 * weights(network()).size


@pytest.mark.parametrize("stop", [1, 64, 65, 66, 129, 300, M - 1])
def test_resumed_equals_uninterrupted(stop):
    def go(model, accelerator, first, last):
        for step in range(first, last):
            move(model, step)
            accelerator.step()

    whole, resumed = network(), network()
    accelerator, other = (Accelerator(model, Koopman(), m=M, s=S, group="node") for model in (whole, resumed))
    go(whole, accelerator, 0, stop)
    file = io.BytesIO()
    torch.save(accelerator.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    go(resumed, other, stop, M)
    go(whole, accelerator, stop, M)
    np.testing.assert_array_equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("group", ["layer", "weight"])
@pytest.mark.parametrize("shape", ["none", "masked", "random", "last_step"])
def test_replicates_side_by_side_jump_as_each_alone(group, shape):
    options = [
        JumpOptions(Koopman(tolerance), m=200, s=s, group=group, shape=shape, seed=3, relaxation=0.7)
        for tolerance, s in ((1e-3, 5), (1e-2, 40), (1e-4, 20))
    ]
    networks = [network(seed) for seed in range(3)]
    stacked = {
        name: torch.stack([dict(n.named_parameters())[name].detach() for n in networks])
        for name, _ in networks[0].named_parameters()
    }
    together = StackedAccelerator(networks[0], options, stacked)
    alone = [
        Accelerator(own, **{k: v for k, v in vars(each).items() if k != "rule"}, rule=each.rule)
        for own, each in zip(networks, options, strict=True)
    ]
    kept = [0, 1, 2]
    for step in range(200):
        if step == 150:  # the middle one leaves
            kept = [0, 2]
            stacked = {name: values[kept].clone() for name, values in stacked.items()}
            together.keep(kept, stacked)
        for number, own in enumerate(networks):
            move(own, step * (1 + 0.1 * number))
        for place, number in enumerate(kept):
            for name, p in networks[number].named_parameters():
                stacked[name][place] = p.detach()
        full = together.record()
        assert all(each.record() == full for each in alone)
    proposals = together.propose([options[k].s for k in kept])
    assert together.apply(proposals).all()
    for place, number in enumerate(kept):
        alone[number].apply(alone[number].propose())
        for name, p in networks[number].named_parameters():
            torch.testing.assert_close(stacked[name][place], p.detach(), rtol=0, atol=1e-9)
    together.restore()
    for place, number in enumerate(kept):
        alone[number].restore()
        for name, p in networks[number].named_parameters():
            assert torch.equal(stacked[name][place], p.detach())


def test_filled_at_once_is_filled_one_by_one():
    _, found, _, _ = jumped("node")
    model = network()
    stacked = StackedAccelerator(model, [JumpOptions(Koopman(), m=M, s=S, group="node")])
    snapshots = []
    for step in range(M):
        move(model, step)
        snapshots.append({name: p.detach().clone()[None] for name, p in model.named_parameters()})
    stacked.fill(snapshots)
    stacked.apply(stacked.propose([S]))
    np.testing.assert_allclose(weights(model), found, rtol=0, atol=1e-9)


def test_weights_that_stand_still_stay_and_say_so():
    model = network()
    accelerator = Accelerator(model, Koopman(), m=200, s=S, group="node")
    before = weights(model)
    for step in range(200):
        with torch.no_grad():
            model[0].weight[0].fill_(1 + 0.1 * np.sin(step))
            model[0].bias[0] = np.cos(step)
        newest, jump = weights(model), accelerator.step()
    assert [report.deficient for report in jump.groups] == [False] + [True] * 5
    np.testing.assert_array_equal(weights(model)[3:12], before[3:12])
    assert jump.accepted
    assert not np.array_equal(weights(model), newest)


def test_what_is_not_finite_is_refused():
    model = network()
    accelerator = Accelerator(model, Koopman(), m=200, s=S, group="weight")
    for step in range(200):
        move(model, step)
        with torch.no_grad():
            model[0].weight[0, 0] = torch.inf if step == 70 else 1.0
        jump = accelerator.step()
    assert jump.outcome.value == "not_finite"


def test_a_tolerance_that_cannot_be():
    with pytest.raises(ValueError, match=r"Koopman: tolerance must be a number in \[0, 1\), got -1"):
        Koopman(-1)
