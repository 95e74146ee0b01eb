"""Samples of the pollutant problem: a Latin hypercube, one steady state each, made on all cores and kept on disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from problems._problem import Progress
from problems.pollutant import _cache
from problems.pollutant._errors import NotConvergedError

if TYPE_CHECKING:
    from problems.pollutant.transport import Transport

Array = NDArray[np.float64]

RANGES: dict[str, tuple[float, float]] = {
    "K12": (1.0, 20.0),
    "K3": (0.0, 10.0),
    "D": (0.01, 0.5),
    "U0": (0.01, 2.0),
    "u_h": (-0.2, 0.2),
    "u_v": (-0.2, 0.2),
}
"""Sampling ranges of the six parameters (the paper's section 4), in the order of the network's inputs."""

SOLVER_VERSION = 1
"""Part of the cache's key. Raise it with any change to flow.py or transport.py that moves a digit."""

CHUNK = 8
SERIAL_BELOW_VALUES = 300_000
"""Number of nodes times samples below which starting worker processes costs more than it saves."""


@dataclass(frozen=True)
class Dataset:
    """Unscaled samples."""

    parameters: Array
    """(samples, 6), columns as in `RANGES`."""
    c3: Array
    """(samples, nodes_x * nodes_y); node i * nodes_y + j is the j-th from the ground in column i."""
    nodes: Array
    """(nodes_x * nodes_y, 2), x and y of every node."""
    newton_residual: Array
    """(samples,), relative."""
    newton_iterations: NDArray[np.int64]
    """(samples,)."""


def sample_parameters(samples: int, seed: int) -> Array:
    """Draw a Latin hypercube over `RANGES`, (samples, 6). Rows are in random order, so any split of them is random."""
    from scipy.stats import qmc

    low, high = np.array(list(RANGES.values())).T
    unit = qmc.LatinHypercube(d=len(RANGES), rng=np.random.default_rng(seed)).random(samples)
    return np.asarray(qmc.scale(unit, low, high))


def load_or_generate(
    samples: int, seed: int, nodes_x: int, nodes_y: int, progress: Progress | None = None, jobs: int | None = None
) -> Dataset:
    """Read the dataset from the cache, or generate and keep it.

    Args:
        samples: number of parameter sets.
        seed: seed of the Latin hypercube.
        nodes_x: number of mesh nodes along the ground.
        nodes_y: number of mesh nodes above the ground.
        progress: called as samples are solved.
        jobs: number of worker processes; by default one per core for large datasets, and none for small ones.

    Raises:
        OSError: the cache folder cannot be used.
    """
    content = {
        "solver_version": SOLVER_VERSION,
        "samples": samples,
        "seed": seed,
        "nodes_x": nodes_x,
        "nodes_y": nodes_y,
        "ranges": {name: list(limits) for name, limits in RANGES.items()},
    }
    nodes = nodes_x * nodes_y
    shapes = {
        "parameters": (samples, len(RANGES)),
        "c3": (samples, nodes),
        "nodes": (nodes, 2),
        "newton_residual": (samples,),
        "newton_iterations": (samples,),
    }

    def make() -> dict[str, NDArray[np.generic]]:
        return vars(generate(samples, seed, nodes_x, nodes_y, progress, jobs))

    return Dataset(**_cache.load_or_make("pollutant", content, make, shapes))


def generate(
    samples: int, seed: int, nodes_x: int, nodes_y: int, progress: Progress | None = None, jobs: int | None = None
) -> Dataset:
    """Solve every sample, without the cache.

    Args:
        samples: number of parameter sets.
        seed: seed of the Latin hypercube.
        nodes_x: number of mesh nodes along the ground.
        nodes_y: number of mesh nodes above the ground.
        progress: called as samples are solved.
        jobs: number of worker processes; by default one per core for large datasets, and none for small ones.

    Raises:
        NotConvergedError: a sample does not converge; the message names its six parameters.
    """
    from problems.pollutant.transport import Transport

    parameters = sample_parameters(samples, seed)
    c3 = np.empty((samples, nodes_x * nodes_y))
    residual, iterations = np.empty(samples), np.empty(samples, dtype=np.int64)
    done = 0
    for rows in _solved_chunks(parameters, nodes_x, nodes_y, jobs):
        for row in rows:
            c3[done], residual[done], iterations[done] = row
            done += 1
        if progress is not None:
            progress(done, samples)
    return Dataset(parameters, c3, Transport(nodes_x, nodes_y).nodes, residual, iterations)


Row = tuple[Array, float, int]


def _solved_chunks(parameters: Array, nodes_x: int, nodes_y: int, jobs: int | None) -> Iterator[list[Row]]:
    """Solve consecutive chunks of samples, and yield them in order."""
    import joblib

    chunks = [parameters[start : start + CHUNK] for start in range(0, len(parameters), CHUNK)]
    if jobs is None:
        jobs = joblib.cpu_count() if len(parameters) * nodes_x * nodes_y >= SERIAL_BELOW_VALUES else 1
    jobs = min(jobs, len(chunks))
    if jobs == 1:
        yield from (solve_chunk(chunk, nodes_x, nodes_y) for chunk in chunks)
        return
    from joblib.externals.loky import get_reusable_executor

    # one BLAS thread each: the matrices are too small for more, and every core has a worker
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
        try:
            yield from parallel(joblib.delayed(solve_chunk)(chunk, nodes_x, nodes_y) for chunk in chunks)
        finally:
            # else the workers would stay for minutes, beside the training that comes next
            get_reusable_executor().shutdown(wait=True, kill_workers=True)


def solve_chunk(parameters: Array, nodes_x: int, nodes_y: int, tolerance: float | None = None) -> list[Row]:
    """Return (c3, relative Newton residual, Newton iterations) for each row of six parameters.

    Args:
        parameters: (samples, 6), columns as in `RANGES`.
        nodes_x: number of mesh nodes along the ground.
        nodes_y: number of mesh nodes above the ground.
        tolerance: largest relative residual of Newton's method; None for the solver's own.

    Raises:
        NotConvergedError: a sample does not converge.
    """
    from problems.pollutant.flow import wind
    from problems.pollutant.transport import TOLERANCE

    rows: list[Row] = []
    for row in parameters:
        k12, k3, diffusion, free_stream, slip_horizontal, slip_vertical = (float(value) for value in row)
        try:
            velocity = wind(free_stream, slip_horizontal, slip_vertical)
            solution = _transport(nodes_x, nodes_y).solve(
                velocity, k12, k3, diffusion, tolerance=TOLERANCE if tolerance is None else tolerance
            )
        except NotConvergedError as error:
            given = ", ".join(f"{name} = {value!r}" for name, value in zip(RANGES, row.tolist(), strict=True))
            raise NotConvergedError(f"sample {given} on {nodes_x} x {nodes_y} nodes: {error}") from error
        rows.append((solution.c3, solution.newton_residual, solution.newton_iterations))
    return rows


@lru_cache(maxsize=1)
def _transport(nodes_x: int, nodes_y: int) -> "Transport":
    """Return the discretisation of a mesh, built once in each process."""
    from problems.pollutant.transport import Transport

    return Transport(nodes_x, nodes_y)
