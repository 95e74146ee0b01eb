"""Tables of replicates made by hand: a number is a finished replicate's metric, a word is a status, None is absent."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd
import pytest

Value = float | str | None
Table = tuple[pd.DataFrame, dict[str, list[Any]], list[int]]


def _table(
    axes: Mapping[str, Sequence[Any]],
    values: Callable[..., Sequence[Value]],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    overhead: Callable[..., float] = lambda **_: 1.05,
    final_loss_ratio: Callable[..., float] = lambda **_: 0.9,
) -> Table:
    rows = []
    for cell in product(*axes.values()):
        parameters = dict(zip(axes, cell, strict=True))
        for seed, value in zip(seeds, values(**parameters), strict=True):
            if value is None:
                continue
            finished = not isinstance(value, str)
            number = value if finished else math.nan
            ratio = final_loss_ratio(**parameters) if finished else math.nan
            rows.append(
                {
                    **parameters,
                    "seed": seed,
                    "status": "finished" if finished else value,
                    "epoch": 100,
                    "mean_relative_error_train": number,
                    "mean_relative_error_test": number + 0.01 if finished else math.nan,
                    "final_loss_ratio_train": ratio,
                    "final_loss_ratio_test": ratio,
                    "log_gain_per_epoch_train": 1 - number if finished else math.nan,
                    "log_gain_per_epoch_test": 1 - number if finished else math.nan,
                    "overhead": overhead(**parameters),
                    "seconds": 1.0,
                }
            )
    return pd.DataFrame(rows), {key: list(values) for key, values in axes.items()}, list(seeds)


@pytest.fixture
def make_table() -> Callable[..., Table]:
    return _table
