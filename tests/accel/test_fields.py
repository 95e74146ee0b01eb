"""Bounds written beside a field: what they let pass, and what a message says of the rest."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest
from torch import nn

from accel import DMD, Accelerator, JumpOptions
from accel._fields import Bounds, mistakes, normalize, require
from accel._jump.options import OPTION_NAMES


@dataclass(frozen=True)
class Settings:
    count: Annotated[int, Bounds(at_least=2)] = 2
    share: Annotated[float, Bounds(above=0, at_most=1)] = 0.5
    limit: Annotated[float, Bounds(at_least=0)] | None = None
    rates: Sequence[Annotated[float, Bounds(above=0)]] = (1.0,)
    mode: Literal["on", "off"] = "on"

    def __post_init__(self) -> None:
        normalize(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 1}, "count must be an integer of at least 2, got 1"),
        ({"count": 2.0}, "count must be an integer of at least 2, got 2.0"),
        ({"share": True}, "share must be a number in (0, 1], got True"),
        ({"share": 0}, "share must be a number in (0, 1], got 0"),
        ({"share": float("nan")}, "share must be a number in (0, 1], got nan"),
        ({"share": "half"}, "share must be a number in (0, 1], got 'half'"),
        ({"limit": -1}, "limit must be a finite number of at least 0 or None, got -1"),
        ({"limit": float("inf")}, "limit must be a finite number of at least 0 or None, got inf"),
        ({"rates": ()}, "rates must be one or more, each a finite number above 0, got ()"),
        ({"rates": [1, 0]}, "rates must be one or more, each a finite number above 0, got (1, 0)"),
        ({"rates": 1.0}, "rates must be one or more, each a finite number above 0, got 1.0"),
        ({"mode": "auto"}, "mode must be one of on, off, got 'auto'"),
        ({"mode": ["on"]}, "mode must be one of on, off, got ['on']"),
    ],
)
def test_what_must_hold_and_what_was_given(values: dict, message: str) -> None:
    assert mistakes(Settings(**values)) == [message]
    with pytest.raises(ValueError, match=r"^Settings: "):
        require(Settings(**values))


def test_all_mistakes_come_at_once() -> None:
    assert len(mistakes(Settings(count=0, share=2.0, mode="auto"))) == 3
    assert mistakes(Settings(count=0, share=2.0), leave_out=("count",)) == ["share must be a number in (0, 1], got 2.0"]


@pytest.mark.parametrize(
    "values", [{}, {"limit": 0}, {"share": 1}, {"rates": [1, 2.5]}, {"rates": range(1, 3)}, {"count": 10**400}]
)
def test_what_is_within_its_bounds_passes(values: dict) -> None:
    assert mistakes(Settings(**values)) == []


def test_numbers_of_numpy_become_pythons() -> None:
    settings = Settings(count=np.int64(3), share=np.float32(0.5), rates=[np.float64(2.0), np.int32(1)])
    assert settings == Settings(count=3, share=0.5, rates=(2.0, 1))
    assert [type(v) for v in (settings.count, settings.share, *settings.rates)] == [int, float, float, int]
    assert Settings(rates=np.array([1.0, 2.0])).rates == (1.0, 2.0)
    options = Accelerator(nn.Linear(2, 2), DMD(np.float64(1e-6)), m=np.int64(6), s=np.int64(5)).options
    assert (type(options.m), type(options.s), type(options.rule.tolerance)) == (int, int, float)
    assert mistakes(Settings(count=np.bool_(True))) == ["count must be an integer of at least 2, got np.True_"]


def test_an_accelerator_takes_the_fields_of_its_options() -> None:
    taken = list(inspect.signature(Accelerator).parameters)
    assert taken == ["model", "rule", *OPTION_NAMES]
    by_name = Accelerator(model=nn.Linear(2, 2), rule=DMD(), m=3, s=1)
    assert by_name.options == JumpOptions(DMD(), m=3, s=1)
    for arguments, message in (
        ({"m": 3}, "Accelerator: missing a required argument: 's'"),
        ({"m": 3, "s": 1, "far": 2}, "Accelerator: got an unexpected keyword argument 'far'"),
    ):
        with pytest.raises(TypeError, match=message):
            Accelerator(nn.Linear(2, 2), DMD(), **arguments)


def test_a_state_from_before_an_option_came_had_it_at_its_default() -> None:
    state = Accelerator(nn.Linear(2, 2), DMD(), m=3, s=1).state_dict()
    del state["options"]["max_move"], state["options"]["relaxation"]
    Accelerator(nn.Linear(2, 2), DMD(), m=3, s=1).load_state_dict(state)
    with pytest.raises(ValueError, match=r"max_move is None there, 0\.5 here"):
        Accelerator(nn.Linear(2, 2), DMD(), m=3, s=1, max_move=0.5).load_state_dict(state)
