"""Products of oneDNN: those of torch but for roundings, in every form in which networks are evaluated."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from study.planning.cells import baselines, replicates
from study.planning.tasks import make_tasks
from study.replicates.replicate import Pack
from study.training import matrix_products
from study.training.matrix_products import OneDNNLinear, onednn_product
from study.training.networks import build_network
from study.training.packs import train_pack

PRODUCTS = {"without copies": matrix_products._without_copies, "public": matrix_products._public}
ROUNDINGS = {"rtol": 1e-5, "atol": 1e-6}
"""Sums of some 50 numbers of size 1, in another order: measured 4e-8."""


@pytest.fixture(params=PRODUCTS)
def product(request, monkeypatch):
    monkeypatch.setattr(matrix_products, "onednn_product", lambda: PRODUCTS[request.param])


@pytest.fixture
def _no_onednn(monkeypatch):
    monkeypatch.setattr(matrix_products, "onednn_product", lambda: None)


def networks():
    """The same network with either kind of layer."""
    torch.manual_seed(0)
    ours = nn.Sequential(OneDNNLinear(6, 50), nn.Tanh(), OneDNNLinear(50, 30, bias=False), OneDNNLinear(30, 4))
    torchs = nn.Sequential(nn.Linear(6, 50), nn.Tanh(), nn.Linear(50, 30, bias=False), nn.Linear(30, 4))
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def loss_of(network):
    return lambda weights, x, y: nn.functional.mse_loss(functional_call(network, weights, (x,)), y)


def stacked(network, count=3):
    return {
        name: torch.stack([(1 + 0.1 * k) * p.detach() for k in range(count)]) for name, p in network.named_parameters()
    }


def assert_close(ours, torchs):
    assert len(ours) == len(torchs)
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one, other, **ROUNDINGS)


@pytest.mark.usefixtures("product")
def test_losses_and_gradients_are_torchs():
    x, y = torch.randn(40, 6), torch.randn(40, 4)
    results = []
    for network in networks():
        loss = nn.functional.mse_loss(network(x), y)
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in network.parameters())])
    assert_close(*results)


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("shared", [True, False])
def test_so_are_those_of_a_stack(shared):
    x, y = (torch.randn(40, width) if shared else torch.randn(3, 40, width) for width in (6, 4))
    results = []
    for network in networks():
        weights = {name: rows.requires_grad_() for name, rows in stacked(network).items()}
        axis = None if shared else 0
        losses = vmap(loss_of(network), in_dims=(0, axis, axis))(weights, x, y)
        losses.sum().backward()
        results.append([losses.detach(), *(rows.grad for rows in weights.values())])
    assert_close(*results)


@pytest.mark.usefixtures("product")
def test_so_are_gradients_that_are_batched_by_torch_func():
    x, y = torch.randn(40, 6), torch.randn(40, 4)
    results = [
        list(vmap(grad(loss_of(network)), in_dims=(0, None, None))(stacked(network), x, y).values())
        for network in networks()
    ]
    assert_close(*results)


def test_a_replicate_has_the_same_products_alone_and_in_a_stack():
    network, _ = networks()
    x, rows = torch.randn(40, 6), stacked(network)
    together = vmap(lambda weights: functional_call(network, weights, (x,)))(rows)
    for place, values in enumerate(together):
        alone = functional_call(network, {name: part[place] for name, part in rows.items()}, (x,))
        assert torch.equal(alone, values)


def test_without_the_private_operator_the_public_one_is_taken(monkeypatch):
    onednn_product.cache_clear()
    try:
        assert onednn_product() is matrix_products._without_copies
        for broken in (AttributeError, RuntimeError, TypeError):

            def missing(*arguments, error=broken):
                raise error("no such operator")

            monkeypatch.setattr(matrix_products, "_without_copies", missing)
            onednn_product.cache_clear()
            assert onednn_product() is matrix_products._public
        # an operator that means something else now
        monkeypatch.setattr(matrix_products, "_without_copies", lambda x, weight, bias: x @ weight.t())
        onednn_product.cache_clear()
        assert onednn_product() is matrix_products._public
        monkeypatch.setattr(matrix_products, "_public", missing)
        monkeypatch.setattr(matrix_products, "_without_copies", missing)
        onednn_product.cache_clear()
        assert onednn_product() is None
        assert not matrix_products.has_onednn()
    finally:
        onednn_product.cache_clear()


@pytest.fixture
def trained(small):
    """Replicates of a float32 study with their task, and a function that trains them with some products."""
    spec = small({"network.hidden": [30, 20], "axes.m": [4], "training.lr": 0.01, "training.epochs": 8})
    chosen = [*baselines(spec), *replicates(spec)]
    tasks = make_tasks(spec, chosen)

    def train(products, among=slice(None)):
        settled = tuple(replace(each, recipe=replace(each.recipe, products=products)) for each in chosen[among])
        return train_pack(Pack("p", settled, 1, "cpu"), tasks, {})

    return train


def test_trainings_agree_over_the_first_window_and_jump(trained):
    ours, torchs = trained("onednn"), trained("torch")
    assert [outcome.status for outcome in ours] == ["finished"] * len(torchs)
    for one, other in zip(ours, torchs, strict=True):
        assert one.groups == other.groups
        assert one.losses.train[:5] == pytest.approx(other.losses.train[:5], rel=1e-5)


def test_a_network_is_drawn_alike_for_either(small):
    spec = small({"network.hidden": [5]})
    (task,) = make_tasks(spec, baselines(spec)).values()
    recipe = baselines(spec)[0].recipe
    ours, torchs = (build_network(task, replace(recipe, products=p), 3) for p in ("onednn", "torch"))
    assert [type(layer) for layer in ours] == [OneDNNLinear, nn.Softsign, OneDNNLinear]
    assert [type(layer) for layer in torchs] == [nn.Linear, nn.Softsign, nn.Linear]
    for one, other in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("_no_onednn")
def test_where_there_is_none_a_replicate_fails_and_says_why(trained):
    outcomes = trained("onednn", slice(1))
    assert [outcome.status for outcome in outcomes] == ["failed"]
    assert "training.products is onednn, but torch has no float32 products of oneDNN here" in outcomes[0].reason
