"""Multigrid over training steps against the serial training that it solves for: time, and cost of an iteration.

Exclusive or by Schroder's serialised training (α = 0.1 to 30, F-cycles) and by batches (α = 0.5 to 8, V-cycles), in
float64 on the CPU: `python -m tests.benchmarks.bench_mgrit`. Both sides take the same gradients by the same code.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from accel import MGRIT, Trajectory, loss_gradient
from problems.xor import Xor
from tests.benchmarks._setting import describe_machine, timed

SETTINGS = {
    "one sample a step, F-cycles": (MGRIT(cycle="F", max_lr=30.0), 0.1, torch.arange(4)[:, None]),
    "all samples a step, V-cycles": (MGRIT(cycle="V", max_lr=32.0), 2.0, None),
}


COLUMNS = ("iterations", "serial s", "solve s", "serial/solve", "iteration/serial", "steps/calls", "error")


def main(steps: Sequence[int] = (1024, 16_384), repeats: int = 2) -> dict[str, float]:
    """Print the table; returns its numbers by setting, steps and column."""
    print(describe_machine())
    print(f"{'setting':30}{'steps':>7}" + "".join(f"{name:>17}" for name in COLUMNS))
    found: dict[str, float] = {}
    for setting in SETTINGS:
        for count in steps:
            row = measure(setting, count, repeats)
            print(f"{setting:30}{count:>7}" + "".join(f"{row[name]:>17.3g}" for name in COLUMNS))
            found |= {f"{setting} {count} {name}": value for name, value in row.items()}
    return found


def measure(setting: str, steps: int, repeats: int) -> dict[str, float]:
    """The columns of one row; times are the least of the repeats, of both sides in turn."""
    solver, lr, order = SETTINGS[setting]
    torch.manual_seed(0)
    problem = Xor()
    network, data = problem.network().double(), problem.data()
    x, y = torch.tensor(data.train_inputs), torch.tensor(data.train_targets)
    gradient = loss_gradient(network, problem.loss, x, y, order)
    start = parameters_to_vector(network.parameters()).detach()
    solved: list[Trajectory] = []
    trained: list[Tensor] = []

    def train() -> None:
        weights = start[None]
        for i in range(steps):
            weights = weights - lr * gradient(weights, torch.tensor([i]))
        trained.append(weights[0])

    def solve() -> None:
        solved.append(solver.solve(gradient, start, steps, lr))

    seconds = [(timed(train), timed(solve)) for _ in range(repeats)]
    serial_s, solve_s = (min(each) for each in zip(*seconds, strict=True))
    result = solved[-1]
    return {
        "iterations": result.iterations if result.status == "converged" else math.inf,
        "serial s": serial_s,
        "solve s": solve_s,
        "serial/solve": serial_s / solve_s,
        "iteration/serial": solve_s / result.iterations / serial_s,
        "steps/calls": steps / result.calls,
        "error": float((result.weights[-1] - trained[-1]).abs().max()),
    }


if __name__ == "__main__":
    main()
