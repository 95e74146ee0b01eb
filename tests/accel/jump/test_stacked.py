"""Replicates side by side jump as each would alone."""

import itertools

import pytest
import torch
from torch import nn

from accel import DMD, Accelerator, Anderson, Average, Decay, JumpOptions, Line, StackedAccelerator

# Products of other shapes sum in another order: some 1e-16 of the weights, which a jump over s steps enlarges.
CLOSE = {"rtol": 0, "atol": 1e-11}
ALIKE = {"m": 6, "start": 2, "every": 2}
OPTIONS = [
    JumpOptions(DMD(1e-3), s=5, **ALIKE),
    JumpOptions(DMD(1e-8, form="displacement"), s=40, relaxation=0.5, **ALIKE),
    JumpOptions(DMD(1e-3), s=20, noise=0.3, seed=7, **ALIKE),
    JumpOptions(DMD(rank=2, growth="clip"), s=20, **ALIKE),
    JumpOptions(DMD(1e-6, amplitudes="literal", modes="exact"), s=Decay(9, 3), candidates=(1.0, 0.5), **ALIKE),
    JumpOptions(DMD(1e-3), s=20, shape="masked", **ALIKE),
    JumpOptions(Line(), s=7, shape="masked", noise=0.1, **ALIKE),
    JumpOptions(Anderson(1e-6), s=1, shape="random", seed=5, **ALIKE),
    JumpOptions(Line(anchor="newest"), s=20, shape="last_step", relaxation=0.5, **ALIKE),
    JumpOptions(Average(0.9), s=1, **ALIKE),
]


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def stack(networks):
    return {
        name: torch.stack([dict(n.named_parameters())[name].detach() for n in networks])
        for name, _ in networks[0].named_parameters()
    }


def move(networks, step):
    """Every weight towards a limit of its own, at several rates."""
    with torch.no_grad():
        for number, own in enumerate(networks):
            for parameter in own.parameters():
                rates = torch.linspace(0.02, 0.3, parameter.numel(), dtype=torch.float64).view_as(parameter)
                parameter.mul_(1 - rates).add_(0.05 * torch.sin(rates * 40 * (number + 1)) + 1e-3 * rates**2 * step)


@pytest.mark.parametrize("group", ["layer", "model", "node", "weight"])
def test_jumps_are_those_of_each_alone(group):
    options = [JumpOptions(**{**vars(each), "group": group}) for each in OPTIONS]
    networks = [network(seed) for seed in range(len(options))]
    stacked = stack(networks)
    together = StackedAccelerator(networks[0], options, stacked)
    alone = [
        Accelerator(own, **{k: v for k, v in vars(each).items() if k != "rule"}, rule=each.rule)
        for own, each in zip(networks, options, strict=True)
    ]
    jumps = 0
    for step in range(40):
        move(networks, step)
        for name, values in stack(networks).items():
            stacked[name].copy_(values)
        full = together.record()
        assert [each.record() for each in alone] == [full] * len(alone)
        if not full:
            continue
        s = [together.horizons(k)[0] for k in range(len(options))]
        assert [together.horizons(k) for k in range(len(options))] == [each.horizons() for each in alone]
        proposals = together.propose(s)
        for own, each, proposal in zip(alone, alone, proposals, strict=True):
            expected = own.propose()
            assert [g.rank for g in proposal.groups] == [g.rank for g in expected.groups]
            assert [g.name for g in proposal.groups] == [g.name for g in expected.groups]
            assert [g.residual for g in proposal.groups] == pytest.approx(
                [g.residual for g in expected.groups], rel=1e-6, abs=1e-11
            )
            each.apply(expected)
        assert together.apply(proposals).tolist() == [True] * len(options)
        for name, values in stack(networks).items():
            torch.testing.assert_close(stacked[name], values, **CLOSE)
        together.clear()
        for each in alone:
            each.clear()
        jumps += 1
    assert jumps == 3


def test_those_that_do_not_jump_stay_at_their_newest_snapshot_bit_for_bit():
    networks = [network(seed) for seed in range(3)]
    stacked = stack(networks)
    together = StackedAccelerator(networks[0], [JumpOptions(DMD(1e-6), m=4, s=30)] * 3, stacked)
    for step in range(4):
        move(networks, step)
        for name, values in stack(networks).items():
            stacked[name].copy_(values)
        together.record()
    proposals = together.propose([30] * 3)
    together.apply([None, proposals[1], None])
    for name, values in stack(networks).items():
        assert torch.equal(stacked[name][[0, 2]], values[[0, 2]])
        assert not torch.equal(stacked[name][1], values[1])
    together.restore()
    for name, values in stack(networks).items():
        assert torch.equal(stacked[name], values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_that_is_not_finite_touches_no_other(dtype):
    found = []
    for spoilt in (False, True):
        networks = [network(seed).to(dtype) for seed in range(3)]
        stacked = stack(networks)
        together = StackedAccelerator(networks[0], [JumpOptions(DMD(1e-4), m=4, s=9, group="layer")] * 3, stacked)
        for step in range(4):
            move(networks, step)
            for name, values in stack(networks).items():
                stacked[name].copy_(values)
                if spoilt and step > 1:
                    stacked[name][1] = torch.nan
            together.record()
        proposals = together.propose([9] * 3)
        assert [p.finite for p in proposals] == [True, not spoilt, True]
        assert together.apply(proposals).tolist() == [True, not spoilt, True]
        found.append({name: values[[0, 2]] for name, values in stacked.items()})
    for name, values in found[0].items():
        assert torch.equal(values, found[1][name])


def test_those_that_are_kept_go_on_as_before():
    networks = [network(seed) for seed in range(4)]
    whole, part = stack(networks), stack(networks)
    options = [JumpOptions(DMD(1e-6), m=5, s=3 * k + 2) for k in range(4)]
    first, second = StackedAccelerator(networks[0], options, whole), StackedAccelerator(networks[0], options, part)
    kept = [0, 1, 2, 3]
    for step in range(10):
        move(networks, step)
        if step in (2, 7):  # amid a window
            kept = [k for k in kept if k != step // 2]
            places = {2: [0, 2, 3], 7: [0, 1]}[step]
            part = {name: values[places].clone() for name, values in part.items()}
            second.keep(places, part)
        for name, values in stack(networks).items():
            whole[name].copy_(values)
            part[name].copy_(values[kept])
        if first.record() | second.record():
            first.apply(first.propose([each.s for each in first.options]))
            second.apply(second.propose([each.s for each in second.options]))
            for name, values in whole.items():
                torch.testing.assert_close(part[name], values[kept], **CLOSE)
            first.clear(), second.clear()
    assert kept == [0, 2]


def test_replicates_must_fill_their_windows_together():
    pairs = itertools.pairwise([JumpOptions(DMD(), m=4, s=2), JumpOptions(DMD(), m=5, s=2)])
    for pair in pairs:
        with pytest.raises(ValueError, match="must share m"):
            StackedAccelerator(network(0), pair, stack([network(0), network(1)]))
