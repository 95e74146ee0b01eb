"""What every problem that comes with the package has to do."""

import dataclasses
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from problems import BUILT_IN, Problem, Progress

QUICK: dict[str, dict[str, Any]] = {
    "pollutant": {"samples": 10, "nodes_x": 6, "nodes_y": 4},
    "mnist": {"samples": 40, "test_samples": 20},
    "cifar10": {"samples": 40, "test_samples": 20},
}


@pytest.fixture(params=sorted(BUILT_IN))
def made(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, dict[str, Any]]:
    monkeypatch.setenv("DMD_STUDY_CACHE", str(tmp_path))
    module, name = BUILT_IN[request.param].split(":")
    kind = getattr(importlib.import_module(module), name)
    if request.param in ("mnist", "cifar10"):  # in place of a download, a few images of noise
        monkeypatch.setattr(kind, "source", dataclasses.replace(kind.source, train=40, test=20))
        draw = np.random.default_rng(0).integers
        data, target = draw(0, 256, (60, kind.source.pixels)), np.arange(60) % 10
        answer = SimpleNamespace(data=data, target=target.astype(str))
        monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda **asked: answer)
    return kind, QUICK.get(request.param, {})


def test_meets_the_protocol(made: tuple[Any, dict[str, Any]]) -> None:
    kind, settings = made
    problem = kind(**settings)
    assert isinstance(problem, Problem)
    assert dataclasses.is_dataclass(problem)
    assert all(hasattr(kind, f.name) or f.default is not dataclasses.MISSING for f in dataclasses.fields(problem))
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.seed = 3
    assert hash(problem) == hash(kind(**settings))


def test_sizes_data_progress_and_repetition(made: tuple[Any, dict[str, Any]]) -> None:
    kind, settings = made
    seen: list[tuple[int, int]] = []
    progress: Progress = lambda done, total: seen.append((done, total))  # noqa: E731
    data, sizes, again = kind(**settings).data(progress), kind(**settings).sizes(), kind(**settings).data()
    assert data.train_inputs.shape == (sizes.train_samples, sizes.inputs)
    assert data.train_targets.shape == (sizes.train_samples, sizes.outputs)
    assert data.test_inputs.shape == (sizes.test_samples, sizes.inputs)
    assert data.test_targets.shape == (sizes.test_samples, sizes.outputs)
    for first, second in zip(vars(data).values(), vars(again).values(), strict=True):
        assert first.dtype == np.float64
        assert np.all(np.isfinite(first))
        assert np.array_equal(first, second)
    done, total = seen[-1]
    assert done == total
