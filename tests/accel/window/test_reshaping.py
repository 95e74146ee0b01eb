"""Masks and controls: what becomes of a prediction before it is taken, each against its definition."""

import pytest
import torch
from torch import nn

from accel import DMD, Accelerator, JumpOptions

M, S = 4, 6


def linear():
    torch.manual_seed(0)
    return nn.Linear(7, 5).double()


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def groups_of(group):
    """Indices of each group's weights in the flattened model."""
    if group == "layer":
        return [list(range(40))]
    return [[*range(7 * k, 7 * k + 7), 35 + k] for k in range(5)] if group == "node" else [[k] for k in range(40)]


def jumped(group="layer", still=False, **options):
    """The last two snapshots, and the weights after the jump."""
    model = linear()
    accelerator = Accelerator(model, DMD(), m=M, s=S, group=group, **options)
    seen = []
    for k in range(M):
        with torch.no_grad():
            for number, p in enumerate(model.parameters()):
                rates = torch.linspace(0.02, 1.6, p.numel(), dtype=torch.float64).view_as(p)
                if not (still and k == M - 1):
                    p.mul_(1 - rates).add_(0.05 * torch.sin(rates * 40 * (number + 1)))
        seen.append(weights(model))
        accelerator.step()
    return seen[-2], seen[-1], weights(model)


@pytest.mark.parametrize("group", ["layer", "node", "weight"])
@pytest.mark.parametrize("relaxation", [1.0, 0.5])
def test_the_mask_keeps_weights_that_go_on_as_they_went(group, relaxation):
    previous, newest, predicted = jumped(group, relaxation=relaxation)
    *_, masked = jumped(group, relaxation=relaxation, shape="masked")
    kept = 0
    for before, now, ahead, found in zip(previous, newest, predicted, masked, strict=True):
        ratio = (ahead - before) / (now - before)
        inside = 1 <= ratio <= S + 2
        kept += inside
        assert found == pytest.approx(float(ahead if inside else now), rel=0, abs=1e-14)
    assert 0 < kept < 40


@pytest.mark.parametrize("group", ["layer", "node", "weight"])
@pytest.mark.parametrize("relaxation", [1.0, 0.5])
def test_controls_are_as_long_as_the_prediction_group_by_group(group, relaxation):
    previous, newest, predicted = jumped(group, relaxation=relaxation)
    *_, random = jumped(group, relaxation=relaxation, shape="random")
    *_, last = jumped(group, relaxation=relaxation, shape="last_step")
    for own in groups_of(group):
        move, step = (predicted - newest)[own], (newest - previous)[own]
        # lengths from the window's factor: rounding of 1e-16 of the weights over moves of 1e-2 of them
        torch.testing.assert_close((random - newest)[own].norm(), move.norm(), rtol=1e-9, atol=1e-13)
        torch.testing.assert_close((last - newest)[own], step * move.norm() / step.norm(), rtol=1e-7, atol=1e-12)
        if len(own) > 1:
            assert not torch.allclose((random - newest)[own], move, rtol=0.1)


def test_random_directions_have_a_seed_and_favour_none():
    previous, newest, _ = jumped()
    drawn = [jumped(shape="random", seed=seed)[2] - newest for seed in range(200)]
    assert torch.equal(drawn[0], jumped(shape="random", seed=0)[2] - newest)
    units = torch.stack([each / each.norm() for each in drawn])
    # the mean of 200 random unit vectors of 40 weights has length 1 / sqrt(200) = 0.071, give or take a tenth of it
    assert units.mean(0).norm() < 0.1
    step = (newest - previous) / (newest - previous).norm()
    assert (units @ step).abs().max() < 0.7  # cosines have standard deviation 1 / sqrt(40) = 0.16


@pytest.mark.parametrize("group", ["layer", "weight"])
def test_a_training_that_stands_still_has_no_last_step_to_follow(group):
    previous, newest, found = jumped(group, still=True, shape="last_step")
    assert torch.equal(previous, newest)
    torch.testing.assert_close(found, newest, rtol=0, atol=1e-15)


def test_a_prediction_that_is_not_finite_stays_so_behind_a_mask():
    model = linear()
    accelerator = Accelerator(model, DMD(), m=3, s=10**6, shape="masked")
    for k in range(3):
        with torch.no_grad():
            model.weight.mul_(3.0).add_(k)
            model.bias.add_(torch.arange(5) ** k)
        jump = accelerator.step()
    assert jump.outcome.value == "not_finite"


def test_an_unknown_shape_lists_the_valid_ones():
    with pytest.raises(ValueError, match="shape must be one of none, masked, random, last_step, got 'round'"):
        JumpOptions(DMD(), m=3, s=1, shape="round").check()
