"""Options of a figure for which a user asks nothing, or not everything."""

import pandas as pd
import pytest

from study.analysis import FigureOptions, StudyData, options_for

TWO = [1, 2]


def options(axes, **asked):
    return options_for(StudyData("a", pd.DataFrame(), axes, [0], list), **asked)


@pytest.mark.parametrize(
    ("axes", "asked", "places"),
    [
        ({"m": TWO, "s": TWO, "tolerance": TWO}, {}, ("s", "m", "tolerance")),
        ({"tolerance": TWO, "s": TWO, "m": TWO}, {}, ("s", "m", "tolerance")),
        ({"m": TWO, "s": TWO}, {}, ("s", "m", None)),
        ({"m": TWO, "s": TWO, "tolerance": [1]}, {}, ("s", "m", "tolerance")),
        ({"m": TWO, "s": TWO, "tolerance": [1], "training.lr": TWO}, {}, ("s", "m", "training.lr")),
        ({"m": TWO, "s": TWO, "training.lr": TWO, "tolerance": TWO}, {}, ("s", "m", "tolerance")),
        ({"m": TWO, "tolerance": TWO}, {}, ("tolerance", "m", None)),
        ({"cycle": TWO, "growth": TWO, "training.lr": TWO, "max_lr": TWO}, {}, ("cycle", "growth", "training.lr")),
        ({"cycle": [1], "growth": TWO, "max_lr": TWO}, {}, ("growth", "max_lr", None)),
        ({"m": TWO, "s": TWO, "tolerance": TWO}, {"x": "tolerance"}, ("tolerance", "m", "s")),
        ({"m": TWO, "s": TWO, "tolerance": TWO}, {"at": {"m": 1}}, ("s", "tolerance", None)),
        ({"m": TWO, "s": TWO, "tolerance": TWO}, {"at": {"tolerance": 1}}, ("s", "m", None)),
        ({"m": TWO}, {}, ("m", None, None)),
        ({"tolerance": TWO}, {}, ("tolerance", None, None)),
        ({"m": TWO, "tolerance": [1]}, {}, ("m", None, "tolerance")),
        ({"m": TWO, "s": [1]}, {}, ("m", "s", None)),
        ({"m": [1], "s": [1], "training.lr": TWO}, {}, ("training.lr", "m", None)),
        ({"m": TWO, "s": TWO, "tolerance": TWO}, {"at": {"m": 1, "s": 1}}, ("tolerance", None, None)),
        ({"cycle": TWO, "growth": TWO, "max_lr": [1, 2, 3]}, {}, ("max_lr", "cycle", "growth")),
        ({"m": TWO, "s": TWO}, {"at": {"m": 1, "s": 1}}, ("m", None, None)),
        ({"m": TWO, "s": TWO, "word": TWO}, {"facet": "word", "y": "width"}, ("s", "width", "word")),
    ],
)
def test_axes_that_are_left_open_suit_the_study(axes, asked, places):
    chosen = options(axes, **asked)
    assert (chosen.x, chosen.y, chosen.facet) == places


def test_the_papers_own_study_has_the_options_of_its_figure():
    assert options({"m": TWO, "s": TWO, "tolerance": TWO}) == FigureOptions()


def test_the_metric_is_the_studys_unless_one_is_named():
    data = StudyData("a", pd.DataFrame(), {"layers": TWO}, [0], list, headline="accuracy")
    assert options_for(data).metric == "accuracy"
    assert options_for(data, metric="overhead").metric == "overhead"
