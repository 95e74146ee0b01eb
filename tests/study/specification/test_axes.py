"""Axes that are ranges, as a spec has them and as a search draws from them."""

import pytest

from study.errors import SpecError
from study.specification.axes import Range, parse_axis, within

SEARCH = {"design": "search"}


def test_a_range_is_checked_like_any_value_and_survives_the_record(small):
    changes = {
        "axes.tolerance": {"from": "1e-8", "to": 1e-2, "log": True},
        "axes.m": {"from": 2, "to": 9, "log": False},
    }
    spec = small({**SEARCH, **changes})
    assert spec.ranges == {"tolerance": Range(1e-8, 1e-2, log=True), "m": Range(2, 9)}
    assert spec.axes["tolerance"] == (1e-8, 1e-2)
    assert spec.to_dict()["axes"]["m"] == {"from": 2, "to": 9, "log": False}
    again = small({**SEARCH, "axes": spec.to_dict()["axes"]})
    assert (again.ranges, again.axes) == (spec.ranges, spec.axes)
    # the design and the values of the axes make no other study
    assert spec.hash() == small().hash()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes.tolerance": {"from": 1e-8, "to": 1e-2, "log": True}, "design": "grid"}, "a range has no values to run"),
        ({"axes.tolerance": {"from": 0, "to": 1e-2, "log": True}}, "must have A < B, and A > 0 if log"),
        ({"axes.tolerance": {"from": 1e-2, "to": 1e-2, "log": False}}, "must have A < B"),
        ({"axes.tolerance": {"from": 1e-2, "to": 1, "log": "yes"}}, "must have A < B"),
        ({"axes.tolerance": {"from": 1e-2, "to": 1, "log": True}}, r"axes.tolerance\[1\]: must be less than 1"),
        ({"axes.tolerance": {"from": 1e-2, "log": True}}, "must be a list of values, {from: A"),
        ({"axes.m": {"from": 2.5, "to": 6, "log": False}}, r"axes.m\[0\]: must be a valid integer"),
        ({"axes.growth": {"from": 1, "to": 2, "log": False}}, r"axes.growth\[0\]: must be 'keep', 'clip'"),
        ({"axes.problem.seed": {"from": 1, "to": 2, "log": False}}, "must be a list, because the data of every value"),
        ({"design": "sobol"}, "design: must be one of grid, saltelli, search"),
    ],
)
def test_a_range_that_cannot_be_drawn_from_says_why(small, changes, message):
    with pytest.raises(SpecError, match=message):
        small({**SEARCH, **changes})


def test_what_lies_within_an_axis():
    log = parse_axis({"from": 2, "to": 8, "log": True}).written()
    assert [within(log, value) for value in (2, 3.5, 8, 9, "2")] == [True, True, True, False, False]
    # between the ends of numbers, since a grid is refined there; else one of the values
    assert [within([2, 10, 5], value) for value in (2, 7, 10, 11)] == [True, True, True, False]
    assert [within(["layer", "model"], value) for value in ("layer", "node")] == [True, False]
    assert [within(["full", 10], value) for value in ("full", 10, 5)] == [True, True, False]
    assert [within([[4], [8, 8]], value) for value in ((8, 8), (8,))] == [True, False]
    assert [within([True, False], value) for value in (True, 1.5)] == [True, False]
