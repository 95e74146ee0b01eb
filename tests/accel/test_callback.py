"""Callbacks for other trainers: the part that they share, without those trainers."""

import pytest
import torch
from torch import nn

from accel import DMD, ByLoss, Koopman
from accel._callback import TrainerJumps

RULE = DMD(tolerance=1e-6)


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        ({"accept": "improve"}, ['accept="improve" needs the loss at every jump']),
        ({"candidates": (0.5, 1.0)}, ["a choice among candidates needs the loss"]),
        ({"candidates": 1.0}, ["candidates must be one or more"]),
        ({"s": ByLoss(20)}, ["ByLoss(s=20, power=0.5) needs the loss"]),
        ({"m": 1, "moments": "restart"}, ["m must be", "moments must be"]),
        ({"m": 1, "accept": "improve"}, ["m must be", 'accept="improve" needs']),
        ({"optimizer": None, "relaxation": 3}, ["leave out optimizer=", "relaxation must be"]),
    ],
)
def test_every_option_that_cannot_be_served_is_named_at_once(options, reasons) -> None:
    with pytest.raises(ValueError, match=r"^AcceleratorCallback: ") as raised:
        TrainerJumps(RULE, {"m": 4, "s": 2} | options)
    assert [reason for reason in reasons if reason not in str(raised.value)] == []


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="horizon"):
        TrainerJumps(RULE, {"m": 4, "s": 2, "horizon": "linear"})


def test_a_callback_is_described_by_its_rule_and_what_differs_from_the_defaults() -> None:
    described = TrainerJumps(RULE, {"m": 4, "s": 2}).describe()
    assert described == {"rule": repr(RULE), "m": 4, "s": 2}
    assert TrainerJumps(RULE, {"m": 4, "s": 2, "start": 0, "accept": "always"}).describe() == described
    others = [
        TrainerJumps(Koopman(), {"m": 4, "s": 2}),
        TrainerJumps(RULE, {"m": 4, "s": 2, "moments": "reset"}),
        TrainerJumps(RULE, {"m": 4, "s": 2, "group": {"head": list(nn.Linear(2, 1).parameters())}}),
    ]
    texts = {str(each.describe()) for each in others} | {str(described)}
    assert len(texts) == 4


def test_every_training_begins_with_a_new_window() -> None:
    jumps = TrainerJumps(RULE, {"m": 3, "s": 2})
    jumps.step()  # no training yet
    for _ in range(2):
        model = nn.Linear(2, 1)
        jumps.start(model, [])
        for _ in range(4):
            with torch.no_grad():
                model.weight.mul_(0.9)
            jumps.step()
        assert len(jumps.jumps) == 1
    jumps.stop()
    jumps.step()
    assert len(jumps.jumps) == 1
