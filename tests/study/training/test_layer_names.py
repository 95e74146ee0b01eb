"""Groups of a jump are named as a reader of figures knows them."""

import pytest
import torch
from torch import nn

from accel import DMD, Accelerator
from accel._window.groups import lay_out
from study.training.layer_names import layer_names


class Scaled(nn.Module):
    """A network with parameters of its own beside a layer."""

    def __init__(self):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))
        self.body = nn.Linear(2, 2)
        self.inner = Bare()


class Bare(nn.Module):
    """A module with five parameters and no layer."""

    def __init__(self):
        super().__init__()
        for name in "abcde":
            setattr(self, name, nn.Parameter(torch.ones(3)))


class Mine(nn.Linear):
    """A layer of the user's own class."""


def named(network, grouping):
    families = [family.name for family in lay_out(network, grouping).families]
    return layer_names(network, families)


DENSE = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 20), nn.Linear(20, 20), nn.Linear(20, 20))


@pytest.mark.parametrize(
    ("network", "grouping", "names"),
    [
        (DENSE, "layer", ("Linear 6→20", "Linear 20→20", "Linear 20→20 (2nd)", "Linear 20→20 (3rd)")),
        (DENSE, "node", ("Linear 6→20", "Linear 20→20", "Linear 20→20 (2nd)", "Linear 20→20 (3rd)")),
        (DENSE, "model", ("all weights",)),
        (DENSE[:1], "weight", ("Linear 6→20, weight", "Linear 6→20, bias")),
        (DENSE[2:4], 7, ("Linear 20→20, weight", "Linear 20→20, bias",
         "Linear 20→20 (2nd), weight", "Linear 20→20 (2nd), bias")),
        (nn.Linear(3, 4), "layer", ("Linear 3→4",)),
        (nn.Linear(3, 4), "model", ("Linear 3→4",)),
        (nn.Linear(3, 4), "weight", ("Linear 3→4, weight", "Linear 3→4, bias")),
        (
            nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ConvTranspose1d(16, 2, 5), nn.Embedding(9, 4)),
            "layer",
            ("Conv2d 3→16, 3×3", "BatchNorm2d 16", "ConvTranspose1d 16→2, 5", "Embedding 9→4"),
        ),
        (nn.Sequential(nn.LayerNorm((4, 6)), nn.GRU(6, 8), Mine(8, 2)), "layer",
         ("LayerNorm 4×6", "GRU 6→8", "Mine 8→2")),
        (nn.MultiheadAttention(8, 2), "layer", ("MultiheadAttention 8", "Linear 8→8")),
        (Scaled(), "layer",
         ("parameters scale, shift", "Linear 2→2", "parameters inner.a, inner.b, inner.c and 2 more")),
        (Scaled(), "model", ("all weights",)),
        (Scaled(), "weight", ("parameter scale", "parameter shift", "Linear 2→2, weight", "Linear 2→2, bias",
         *(f"parameter inner.{name}" for name in "abcde"))),
        (Bare(), "model", ("parameters a, b, c and 2 more",)),
    ],
)  # fmt: skip
def test_groups_are_named_by_what_they_are(network, grouping, names):
    assert named(network, grouping) == names


@pytest.mark.parametrize("grouping", ["layer", "node", "weight", "model", 5])
def test_no_two_groups_share_a_name(grouping):
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)), Scaled(), Scaled())
    names = named(network, grouping)
    assert len(set(names)) == len(names)
    assert all(" " in name for name in names)  # by which figures tell them from the paths of older records


def test_names_are_in_the_order_of_the_reports():
    network = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1))
    accelerator = Accelerator(network, DMD(), m=3, s=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.ones(5, 1)).square().mean().backward()
        optimizer.step()
        jump = accelerator.step()
    names = layer_names(network, jump.groups.family_names)
    assert names == ("Linear 1→3", "Linear 3→1")
    assert [family.size for family in jump.groups.families] == [6, 4]
