"""Samples of weights: who is drawn, and operators that are fitted to a sample."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from accel import DMD, Accelerator, JumpOptions, StackedAccelerator
from accel._window.sampling import LEAST, draw, sample_size, streams


def drawn_weights(sample, size, seed=0, window=0):
    drawn = draw(sample, size, streams([seed], window))
    return drawn.take(torch.arange(size)[None])[0]


@pytest.mark.parametrize(("sample", "size"), [(600, 1000), (1 / 16, 200_003), (0.5, 50_000), (20_000, 30_001)])
def test_weights_are_drawn_once_each_and_in_order(sample, size):
    weights = drawn_weights(sample, size)
    assert (weights.diff() > 0).all()
    assert 0 <= weights[0] <= weights[-1] < size
    wanted = sample_size(sample, size)
    assert wanted <= len(weights) < wanted + 64  # whole blocks


def test_every_weight_can_be_drawn_also_the_last_ones():
    taken = torch.cat([drawn_weights(20_000, 30_001, window=window) for window in range(100)]).unique()
    assert len(taken) == 30_001


@pytest.mark.parametrize(("sample", "size"), [("all", 10), (600, 600), (600, 599), (1 / 16, LEAST)])
def test_small_groups_are_taken_whole(sample, size):
    assert draw(sample, size, streams([0], 0)) is None
    assert sample_size(sample, size) == size


def test_each_window_and_each_replicate_has_draws_of_its_own():
    draws = [drawn_weights(100, 1000, seed, window) for seed in (0, 1) for window in (0, 1)]
    assert all(not torch.equal(first, second) for first, second in itertools.combinations(draws, 2))
    assert torch.equal(draws[0], drawn_weights(100, 1000))


@pytest.mark.parametrize(
    ("dtype", "snapshot_dtype"),
    [(torch.float32, None), (torch.float32, torch.bfloat16), (torch.bfloat16, None), (torch.float64, torch.float16)],
)
@pytest.mark.parametrize(("n", "sample"), [(3000, 600), (40_000, 1 / 8)])
def test_the_inner_products_of_a_sample_are_those_of_all_weights_on_average(n, sample, dtype, snapshot_dtype):
    generator = torch.Generator().manual_seed(0)
    weights = nn.Parameter(torch.randn(n, generator=generator).to(dtype))
    steps = torch.randn(3, n, generator=generator).to(dtype)
    accelerator = Accelerator(
        nn.ParameterList([weights]), DMD(), m=4, s=1, sample=sample, snapshot_dtype=snapshot_dtype
    )
    for step in (*steps, steps[0]):
        accelerator.record()
        weights.data += step
    windows = accelerator._stack.windows
    whole = windows._windows[0].snapshots[:, 0].double()
    expected = whole @ whole.T
    products = []
    for window in range(64):
        windows._batches = None
        (batch,) = windows.batches(streams([0], window))
        products.append(batch.factors[0].mT @ batch.factors[0])
    # Differences in bfloat16 are read with the same rounding in both. An entry's own deviation is about
    # size sqrt(2 / k) of the diagonal, with k >= 600: 6 %; its mean over 64 windows is within 4 standard errors.
    spread = expected.diagonal().max() * (2 / sample_size(sample, n)) ** 0.5
    mean = torch.stack(products).mean(0)
    torch.testing.assert_close(mean, expected, rtol=0, atol=float(4 * spread / 8))
    assert (products[0] - expected).abs().max() > 1e-3 * spread  # and one window's is another


@pytest.mark.filterwarnings("ignore:sample is ")
@pytest.mark.parametrize("group", ["layer", "node", "model"])
@pytest.mark.parametrize("sample", [40, 400])
def test_a_sample_tells_the_modes_of_a_linear_training(group, sample, descend):
    """Three modes and the minimum: any weights that show them apart give the operator, so predictions agree."""
    w, later = descend([0.05, 0.3, 0.8], 14, 55, n=8 * 300)
    # the layers have 1806, 500 and 40 weights, so that some are sampled, and some taken whole
    layers = nn.ModuleList([nn.Linear(300, 6), nn.Linear(100, 5, bias=False), nn.Linear(40, 1, bias=False)]).double()
    parameters = [*layers.parameters()]
    sizes = [parameter.numel() for parameter in parameters]
    w, later = w[: sum(sizes)], later[: sum(sizes)]
    accelerator = Accelerator(layers, DMD(1e-10), m=14, s=55, group=group, sample=sample)
    for column in w.T:
        for parameter, part in zip(parameters, torch.from_numpy(column.copy()).split(sizes), strict=True):
            parameter.data.copy_(part.view(parameter.shape))
        accelerator.record()
    predicted = accelerator.predict(accelerator.propose()).numpy()
    # With all weights the error is 1e-11 of the move; a sample of 40 weights shows the modes that much less clearly.
    assert np.linalg.norm(predicted - later) < 1e-6 * np.linalg.norm(later - w[:, -1])


def wander(parameters, step):
    with torch.no_grad():
        for parameter in parameters:
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step), dtype=parameter.dtype)
            parameter.mul_(0.99).add_(1e-3 * noise)


def test_a_resumed_training_draws_the_same_samples():
    def train(model, accelerator, first, last):
        for step in range(first, last):
            wander(model.parameters(), step)
            accelerator.step()

    options = {"m": 4, "s": 2, "sample": 50, "seed": 3}
    torch.manual_seed(0)
    whole = nn.Linear(40, 30)
    resumed = nn.Linear(40, 30)
    resumed.load_state_dict(whole.state_dict())
    train(whole, Accelerator(whole, DMD(1e-6), **options), 0, 16)
    before = Accelerator(resumed, DMD(1e-6), **options)
    train(resumed, before, 0, 6)
    after = Accelerator(resumed, DMD(1e-6), **options)
    after.load_state_dict(before.state_dict())
    train(resumed, after, 6, 16)
    assert torch.equal(whole.weight, resumed.weight)
    with pytest.raises(ValueError, match="sample is 50 there, 60 here"):
        Accelerator(resumed, DMD(1e-6), **(options | {"sample": 60})).load_state_dict(before.state_dict())


def test_a_stacked_replicate_has_the_sample_that_it_has_alone():
    networks = [nn.Linear(40, 30).double() for _ in range(3)]
    names = [name for name, _ in networks[0].named_parameters()]
    stacked = {name: torch.stack([getattr(each, name).detach() for each in networks]) for name in names}
    options = [JumpOptions(DMD(1e-3), m=4, s=2, sample=50, seed=seed) for seed in range(3)]
    together = StackedAccelerator(networks[0], options, stacked)
    alone = [Accelerator(each, DMD(1e-3), m=4, s=2, sample=50, seed=k) for k, each in enumerate(networks)]
    for step in range(8):
        for number, each in enumerate(networks):
            wander(each.parameters(), 100 * step + number)
            for name in names:
                stacked[name][number] = getattr(each, name).detach()
        for each in alone:
            each.record()
        if together.record():
            together.apply(together.propose([2, 2, 2]))
            together.clear()
            for number, (each, own) in enumerate(zip(alone, networks, strict=True)):
                each.apply(each.propose())
                each.clear()
                # the same numbers in the same order
                assert torch.equal(own.weight, stacked["weight"][number])


@pytest.mark.parametrize("sample", [0, 1, 0.0, 1.0, -0.5, "some", True])
def test_values_outside_are_named(sample):
    with pytest.raises(ValueError, match=r"sample must be one of all or a number in .* or an integer of at least 2"):
        Accelerator(nn.Linear(4, 4), DMD(), m=3, s=1, sample=sample)


def test_a_sample_is_at_least_as_large_as_the_window():
    with pytest.raises(ValueError, match=r"sample must be a number of weights of at least m = 8, .* got 7"):
        Accelerator(nn.Linear(4, 4), DMD(), m=8, s=1, sample=7)


def test_groups_with_no_more_weights_are_named_once():
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 40))
    with pytest.warns(UserWarning, match="sample is 30 weights; .* no more: 0$") as caught:
        Accelerator(model, DMD(), m=3, s=1, sample=30)
    assert len(caught) == 1
