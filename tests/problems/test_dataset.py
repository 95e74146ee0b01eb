"""Generating, scaling and keeping the pollutant's data."""

import errno
import hashlib
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from problems.pollutant import RANGES, NotConvergedError, Pollutant, _cache, dataset
from problems.pollutant.dataset import generate, sample_parameters, solve_chunk

SMALL = Pollutant(samples=10, nodes_x=8, nodes_y=5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DMD_STUDY_CACHE", str(folder))
    return folder


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Arguments of every call to `generate` from here on."""
    calls: list[tuple[Any, ...]] = []

    def counted(*arguments: Any) -> dataset.Dataset:
        calls.append(arguments)
        return generate(*arguments)

    monkeypatch.setattr(dataset, "generate", counted)
    return calls


def digest(data: dataset.Dataset) -> str:
    everything = (data.parameters, data.c3, data.nodes, data.newton_residual, data.newton_iterations)
    return hashlib.sha256(b"".join(a.tobytes() for a in everything)).hexdigest()


def the_file(cache: Path) -> Path:
    (file,) = cache.iterdir()  # and nothing temporary beside it
    return file


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.34])
def test_sizes_are_known_beforehand(fraction: float) -> None:
    problem = Pollutant(samples=10, nodes_x=8, nodes_y=5, test_fraction=fraction)
    sizes, data = problem.sizes(), problem.data()
    assert data.train_inputs.shape == (sizes.train_samples, sizes.inputs)
    assert data.train_targets.shape == (sizes.train_samples, sizes.outputs)
    assert data.test_inputs.shape == (sizes.test_samples, sizes.inputs)
    assert data.test_targets.shape == (sizes.test_samples, sizes.outputs)
    assert all(array.dtype == np.float64 for array in vars(data).values())


def test_the_paper_has_2670_outputs() -> None:
    sizes = Pollutant().sizes()
    assert (sizes.inputs, sizes.outputs, sizes.train_samples, sizes.test_samples) == (6, 2670, 800, 200)


def test_planning_imports_no_numerical_library() -> None:
    code = (
        "import sys, problems; from problems.pollutant import Pollutant; Pollutant().sizes(); "
        "print(sorted({'skfem', 'scipy', 'matplotlib', 'torch', 'joblib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_latin_hypercube() -> None:
    parameters = sample_parameters(50, seed=1)
    low, high = np.array(list(RANGES.values())).T
    cells = np.floor((parameters - low) / (high - low) * 50).astype(int)
    assert all(sorted(column) == list(range(50)) for column in cells.T)  # one sample in each slice of each range
    assert not np.array_equal(parameters, sample_parameters(50, seed=2))


def test_inputs_fill_their_range() -> None:
    data = Pollutant(samples=40, nodes_x=4, nodes_y=3).data()
    inputs = np.concatenate([data.train_inputs, data.test_inputs])
    # Latin hypercube: the outermost of 40 slices are within 1/20 of the ends of [-1, 1].
    assert np.all(np.abs(inputs) <= 1.0)
    assert np.all(inputs.min(axis=0) < -0.95)
    assert np.all(inputs.max(axis=0) > 0.95)


@pytest.mark.parametrize("scaling", ["minmax", "standard", "log"])
def test_scaling_and_back(scaling: Any) -> None:
    problem = Pollutant(samples=20, nodes_x=8, nodes_y=5, output_scaling=scaling)
    data, raw = problem.data(), problem.raw()
    train, test = raw.c3[:16], raw.c3[16:]
    largest = raw.c3.max()
    # One rounding of numbers of size 1 is 1e-16; the logarithm's inverse multiplies it by up to 1e4 / 1e4.
    np.testing.assert_allclose(problem.unscale(data.train_targets), train, atol=1e-13 * largest)
    np.testing.assert_allclose(problem.unscale(data.test_targets), test, atol=1e-13 * largest)
    if scaling == "standard":
        varies = train.std(axis=0) > 1e-12 * largest
        assert 0 < varies.sum() < len(varies)  # where the wind always blows in, c3 = 0 in every sample
        np.testing.assert_allclose(data.train_targets.mean(axis=0), 0.0, atol=1e-12)
        np.testing.assert_allclose(data.train_targets.std(axis=0), varies, atol=1e-12)
    else:
        assert data.train_targets.min() == pytest.approx(-1.0, abs=1e-12)
        assert data.train_targets.max() == pytest.approx(1.0, abs=1e-12)
        order = np.argsort(train, axis=None)
        assert np.all(np.diff(data.train_targets.ravel()[order]) >= 0.0)


def test_scalers_see_the_training_split_only() -> None:
    few, many = (Pollutant(samples=20, seed=1, nodes_x=8, nodes_y=5, test_fraction=f) for f in (0.1, 0.8))
    raw = few.raw().c3
    assert raw[:4].max() < raw[:18].max()  # otherwise this test could not tell
    assert many.data().train_targets.max() == pytest.approx(1.0, abs=1e-12)
    assert many.data().test_targets.max() > 1.0


def test_second_time_from_the_cache(generated: list[Any], cache: Path) -> None:
    first = SMALL.raw()
    assert len(generated) == 1
    again = SMALL.raw()
    assert len(generated) == 1
    assert digest(first) == digest(again)
    # Scaling and split do not shape what is kept.
    Pollutant(samples=10, nodes_x=8, nodes_y=5, output_scaling="log", test_fraction=0.5).data()
    assert len(generated) == 1
    the_file(cache)


@pytest.mark.parametrize("other", [{"samples": 11}, {"seed": 1}, {"nodes_x": 9}, {"nodes_y": 6}])
def test_whatever_shapes_the_data_has_its_own_file(other: dict[str, int], generated: list[Any], cache: Path) -> None:
    SMALL.raw()
    Pollutant(**{"samples": 10, "nodes_x": 8, "nodes_y": 5, **other}).raw()  # type: ignore[arg-type]
    assert len(generated) == 2
    assert len(list(cache.iterdir())) == 2


def test_another_solver_makes_other_data(generated: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    SMALL.raw()
    monkeypatch.setattr(dataset, "SOLVER_VERSION", dataset.SOLVER_VERSION + 1)
    SMALL.raw()
    assert len(generated) == 2


def torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def altered(file: Path) -> None:
    """A whole archive with one number changed and the old checksum."""
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["c3"][3, 20] += 1e-12
    np.savez(file, **arrays)


def of_other_shape(file: Path) -> None:
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["c3"] = arrays["c3"][:-1]
    np.savez(file, **arrays)


def of_another_dataset(file: Path) -> None:
    Pollutant(samples=10, nodes_x=8, nodes_y=5, seed=7).raw()
    (other,) = (f for f in file.parent.iterdir() if f != file)
    other.replace(file)


def plain_array(file: Path) -> None:
    with file.open("wb") as stream:
        np.save(stream, np.zeros(3))


def pickled(file: Path) -> None:
    with file.open("wb") as stream:
        np.savez(stream, c3=np.array([{"a": 1}], dtype=object))


def a_pickle(file: Path) -> None:
    file.write_bytes(pickle.dumps({"c3": 1}))


@pytest.mark.parametrize(
    "damage", [torn, empty, flipped, altered, of_other_shape, of_another_dataset, plain_array, pickled, a_pickle]
)
def test_damaged_or_foreign_file_is_made_again(damage: Any, generated: list[Any], cache: Path) -> None:
    good = digest(SMALL.raw())
    file = the_file(cache)
    damage(file)
    calls = len(generated)
    with pytest.warns(UserWarning, match=f"{file.name} cannot be used .*made again"):
        assert digest(SMALL.raw()) == good
    assert len(generated) == calls + 1
    assert digest(SMALL.raw()) == good
    assert len(generated) == calls + 1


def test_whole_file_with_other_arrays_is_made_again(cache: Path) -> None:
    for i, arrays in enumerate(({"a": np.zeros(3)}, {"a": np.ones(4)}, {"b": np.ones(4)})):
        shapes = {name: array.shape for name, array in arrays.items()}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = _cache.load_or_make("same-name", {"same": "content"}, lambda made=arrays: made, shapes)
        assert ["other names or shapes" in str(warning.message) for warning in told] == [True] * (i > 0)
        assert found.keys() == arrays.keys()
        assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_no_flipped_byte_gets_through(cache: Path) -> None:
    good = digest(SMALL.raw())
    whole = the_file(cache).read_bytes()
    for position in range(0, len(whole), 97):
        content = bytearray(whole)
        content[position] ^= 0b00010000
        the_file(cache).write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some bytes of the archive mean nothing, such as times
            assert digest(SMALL.raw()) == good


def test_unusable_folder_is_told_before_any_work(
    generated: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    folder = tmp_path / "file" / "cache"
    monkeypatch.setenv("DMD_STUDY_CACHE", str(folder))
    with pytest.raises(OSError, match=f"{folder}.*writable folder.*DMD_STUDY_CACHE"):
        SMALL.raw()
    assert generated == []


def test_read_only_folder_is_told_before_any_work(
    generated: list[Any], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(np, "savez", read_only)
    with pytest.raises(OSError, match=f"{cache}.*Read-only file system.*DMD_STUDY_CACHE"):
        SMALL.raw()
    assert generated == []


def test_full_disk(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    savez = np.savez

    def disk_with_little_space(stream: Any, **arrays: Any) -> None:
        if "c3" in arrays:
            stream.write(b"some of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        savez(stream, **arrays)

    monkeypatch.setattr(np, "savez", disk_with_little_space)
    with pytest.raises(OSError, match=f"{cache}.*space left.*DMD_STUDY_CACHE") as caught:
        SMALL.raw()
    assert caught.value.errno == errno.ENOSPC
    assert list(cache.iterdir()) == []


def test_same_digits_in_every_process_and_with_any_number_of_workers() -> None:
    code = (
        "from tests.problems.test_dataset import digest; from problems.pollutant.dataset import generate; "
        "print(digest(generate(20, 3, 12, 6)))"
    )
    root = Path(__file__).parents[2]
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    here = digest(generate(20, 3, 12, 6, jobs=1))
    assert other.stdout.strip() == here
    assert digest(generate(20, 3, 12, 6, jobs=2)) == here


def test_progress_counts_up_to_all() -> None:
    seen: list[tuple[int, int]] = []
    Pollutant(samples=20, nodes_x=4, nodes_y=3).data(lambda done, total: seen.append((done, total)))
    assert [total for _, total in seen] == [20] * len(seen)
    done = [done for done, _ in seen]
    assert done == sorted(set(done))
    assert done[-1] == 20
    assert len(done) >= 2


def test_every_sample_converged() -> None:
    raw = SMALL.raw()
    assert np.all(raw.newton_residual <= 1e-10)
    assert np.all((raw.newton_iterations >= 1) & (raw.newton_iterations <= 15))


def test_sample_that_does_not_converge_is_named() -> None:
    row = sample_parameters(3, seed=0)[:1]
    with pytest.raises(NotConvergedError) as caught:
        solve_chunk(row, 8, 5, tolerance=1e-300)
    for name, value in zip(RANGES, row[0].tolist(), strict=True):
        assert f"{name} = {value!r}" in str(caught.value)
    assert "8 x 5 nodes" in str(caught.value)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failed_sample_is_never_a_silent_row(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # No solver converges under an infinite wind, in this process or in a worker.
    def with_an_impossible_sample(samples: int, seed: int) -> np.ndarray:
        parameters = sample_parameters(samples, seed)
        parameters[samples // 2, 3] = np.inf
        return parameters

    monkeypatch.setattr(dataset, "sample_parameters", with_an_impossible_sample)
    with (
        pytest.raises(NotConvergedError, match=r"K12 = .*K3 = .*D = .*U0 = inf, u_h = .*u_v = "),
        np.errstate(all="ignore"),
    ):
        generate(20, 0, 8, 5, jobs=jobs)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"samples": 1}, r"samples must be a whole number >= 2, not 1"),
        ({"samples": 10.0}, r"samples must be .*10.0"),
        ({"samples": True}, r"samples must be .*True"),
        ({"seed": -1}, r"seed must be .*-1"),
        ({"nodes_x": 2}, r"nodes_x must be .* >= 3, not 2"),
        ({"nodes_y": "30"}, r"nodes_y must be .*'30'"),
        ({"output_scaling": "MinMax"}, r"one of minmax, standard, log, not 'MinMax'"),
        ({"test_fraction": 0.0}, r"test_fraction must be .*not 0.0"),
        ({"test_fraction": float("nan")}, r"test_fraction must be .*not nan"),
        ({"samples": 4, "test_fraction": 0.1}, r"leaves 4 for training and 0 for testing"),
        ({"samples": 4, "test_fraction": 0.9}, r"leaves 0 for training and 4 for testing"),
        ({"seed": "a", "nodes_x": 0}, r"seed must be .*'a'; nodes_x must be .*not 0"),
    ],
)
def test_bad_input(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Pollutant(**given)


@pytest.mark.slow
def test_all_samples_of_the_paper_converge() -> None:
    raw = Pollutant().raw()
    assert np.all(raw.newton_residual <= 1e-10)
    # Above 0 up to rounding and undershoots, and spread over three decades between samples.
    largest = raw.c3.max(axis=1)
    assert raw.c3.min() >= -1e-5 * largest.max()
    assert largest.max() / largest.min() > 1e3
