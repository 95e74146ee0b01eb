"""How fast samples of the pollutant problem are made: ``python -m tests.benchmarks.bench_dataset [SAMPLES]``.

Prints one line per mesh: samples per second on all cores, worker start-up included, the cache left alone. The promise
is 12 samples/s at the paper's scale (89 x 30 nodes) on 2 cores.
"""

import platform
import sys
import time

import joblib

from problems.pollutant.dataset import generate

PROMISED_PER_S = 12.0


def main(samples: int = 200) -> float:
    """Print the table; returns the rate at the paper's scale, in samples per second."""
    print(f"machine: {platform.processor() or platform.machine()}, {joblib.cpu_count()} cores, {platform.system()}")
    print(f"{'nodes':>10} {'samples':>8} {'seconds':>8} {'samples/s':>10} {'worst residual':>15} {'iterations':>11}")
    rate = 0.0
    for nodes_x, nodes_y in ((30, 10), (89, 30)):
        start = time.perf_counter()
        data = generate(samples, 0, nodes_x, nodes_y)
        seconds = time.perf_counter() - start
        rate = samples / seconds
        residual, iterations = data.newton_residual.max(), data.newton_iterations.max()
        print(
            f"{f'{nodes_x} x {nodes_y}':>10} {samples:8d} {seconds:8.1f} {rate:10.1f} {residual:15.1e} {iterations:11d}"
        )
    print(f"at the paper's scale: {rate / PROMISED_PER_S:.1f} times the promised {PROMISED_PER_S:g} samples/s")
    return rate


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
