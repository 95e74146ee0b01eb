"""Class-based PCA: the components are the classes' own, and what is computed is scaled as it says."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from accel import ClassPCA


@pytest.fixture
def clouds():
    """Three classes in six dimensions, each spread along two directions of its own, the first one more."""
    draw = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=draw)).Q.T
    labels = torch.arange(300) % 3
    spread = torch.randn(300, 2, dtype=torch.float64, generator=draw) * torch.tensor([3.0, 1.0])
    first, second = axes[2 * labels], axes[2 * labels + 1]
    return axes, (5 + spread[:, :1]) * first + spread[:, 1:] * second, labels


def dense(*sizes):
    torch.manual_seed(0)
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


def test_each_class_has_its_own_directions_the_strongest_first(clouds):
    axes, x, labels = clouds
    parts = ClassPCA().compute(dense(6, 6, 3), x, labels)
    filters = nn.functional.normalize(parts.lower[0].weight)
    # of 100 samples: the two directions of a class mix by their sample correlation, about 1 part in 10 / sqrt(100)
    agreement = (filters @ axes.T).abs()
    assert (agreement.diagonal() > 0.99).all()
    assert ((filters @ x.mean(dim=0)) >= 0).sum() >= 3
    for own in range(3):
        strength = ((x[labels == own] @ filters[2 * own : 2 * own + 2].T) ** 2).mean(dim=0)
        assert strength[0] > 10 * strength[1]


@pytest.mark.parametrize("centred", [True, False])
def test_components_are_those_of_a_singular_value_decomposition(clouds, centred):
    _, x, labels = clouds
    parts = ClassPCA(basis="all", centred=centred).compute(dense(6, 4, 3), x, labels)
    vectors = np.linalg.svd((x - x.mean(dim=0) if centred else x).numpy())[2][:4]
    found = nn.functional.normalize(parts.lower[0].weight).detach().numpy()
    # orthonormal up to signs; the gaps between singular values are of their size
    np.testing.assert_allclose(np.abs(found @ vectors.T), np.eye(4), atol=1e-9)
    assert (found @ x.mean(dim=0).numpy() >= 0).all()


@pytest.mark.parametrize("basis", ["class", "all", "random"])
def test_what_a_computed_layer_gives_has_mean_square_1_and_no_bias(clouds, basis):
    _, x, labels = clouds
    parts = ClassPCA(layers=2, basis=basis).compute(dense(6, 9, 7, 3), x, labels)
    assert [type(m) for m in parts.lower] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]
    assert [type(m) for m in parts.upper] == [nn.Linear]
    for upto in (1, 3):
        assert parts.lower[:upto](x).square().mean().item() == pytest.approx(1)
        assert not parts.lower[upto - 1].bias.any()
    assert parts.operations > 0 or basis == "random"


def test_filters_beyond_the_size_of_an_input_are_negatives(clouds):
    _, x, labels = clouds
    weight = ClassPCA(basis="all").compute(dense(6, 9, 3), x, labels).lower[0].weight
    assert torch.equal(weight[6:], -weight[:3])
    with pytest.raises(ValueError, match="inputs of size 6 give 12 filters at most, 13 are wanted"):
        ClassPCA(basis="all").compute(dense(6, 13, 3), x, labels)


def test_patches_of_a_convolution_are_those_that_its_filters_see():
    torch.manual_seed(1)
    images, labels = torch.rand(8, 2, 6, 5, dtype=torch.float64), torch.arange(8) % 2
    layers = [nn.Conv2d(2, 5, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(45, 2)]
    parts = ClassPCA(basis="all").compute(nn.Sequential(*layers).double(), images, labels)
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    patches = torch.stack(
        [image[:, i : i + 3, j : j + 3].flatten() for image in padded for i in (0, 2, 4) for j in (0, 2, 4)]
    )
    vectors = np.linalg.svd((patches - patches.mean(dim=0)).numpy())[2][:5]
    found = nn.functional.normalize(parts.lower[0].weight.flatten(1)).detach().numpy()
    np.testing.assert_allclose(np.abs(found @ vectors.T), np.eye(5), atol=1e-9)
    assert [type(m) for m in parts.upper] == [nn.Linear]


def test_a_fraction_of_each_class_is_used_and_no_other_sample(clouds):
    _, x, labels = clouds
    few = torch.arange(30)  # 10 of each class
    expected = ClassPCA().compute(dense(6, 6, 3), x[few], labels[few]).lower[0].weight
    spoiled = x.clone()
    spoiled[30:] = torch.nan
    assert torch.equal(ClassPCA(fraction=0.1).compute(dense(6, 6, 3), spoiled, labels).lower[0].weight, expected)


def test_directions_of_one_class_are_found_behind_stronger_ones_that_all_share():
    """Second moments: 65 along a class's own axis, so 33 over both classes, and 42 along ten axes that tell nothing."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(4000) % 2
    x = torch.randn(4000, 12, dtype=torch.float64, generator=draw)
    x[:, 2:] *= 6.5
    x[torch.arange(4000), labels] += 8.0
    scores = {}
    for basis in ("class", "all"):
        parts = ClassPCA(basis=basis, centred=False).compute(dense(12, 2, 2), x, labels)
        features = torch.cat([parts.lower(x).detach(), torch.ones(4000, 1, dtype=torch.float64)], dim=1)
        fitted = torch.linalg.lstsq(features, 2.0 * labels[:, None].double() - 1).solution
        scores[basis] = ((features @ fitted)[:, 0] > 0).eq(labels == 1).double().mean().item()
    assert scores["class"] > 0.95
    assert scores["all"] < 0.7  # half is chance


def test_what_cannot_be_is_refused(clouds):
    _, x, labels = clouds
    with pytest.raises(
        ValueError, match=r"ClassPCA: layers must be .* >= 1, got 0; basis must be .*; fraction must be"
    ):
        ClassPCA(layers=0, basis="none", fraction=0.0)
    with pytest.raises(ValueError, match="layers must leave one to train: 2 of 2"):
        ClassPCA(layers=2).compute(dense(6, 6, 3), x, labels)
    with pytest.raises(ValueError, match="a filter for each of the 3 classes, got 2"):
        ClassPCA().compute(dense(6, 2, 3), x, labels)
    with pytest.raises(ValueError, match=r"every class must have a sample, but \[1\] of 3 have none"):
        ClassPCA().compute(dense(6, 6, 3), x, labels + (labels == 1))
    with pytest.raises(ValueError, match="layer 0 must be linear, or a convolution without groups, got LayerNorm"):
        ClassPCA().compute(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3)).double(), x, labels)
