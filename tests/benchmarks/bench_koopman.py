"""Koopman operators per node: batched against a loop over nodes, and predicting against training the same steps.

1. A jump of all nodes of a layer at once, against one accelerator after another (windows filled off the clock), and,
   with recording, against the authors' own loop: F' pinv(F) of every node in numpy, its snapshots at hand.
2. Predicting the weights of the network of the preset ``koopman`` s steps ahead, against training those s steps; alone,
   and with what recording the window had cost before. Dogra & Redman 2020 report more than ten times.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_koopman
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from accel import Accelerator, Koopman
from problems.hamiltonian import Hamiltonian
from tests.benchmarks._setting import describe_machine, least_seconds, timed


def main(nodes: int = 1000, inputs: int = 10, m: int = 1000, s: int = 250, repeats: int = 3) -> dict[str, float]:
    """Print both tables; their ratios by name."""
    print(describe_machine())
    return _nodes(nodes, inputs, m, s, repeats) | _ahead(m, s, repeats)


def _nodes(count: int, inputs: int, m: int, s: int, repeats: int) -> dict[str, float]:
    layer = nn.Linear(inputs, count).double()
    history = _history(count, inputs + 1, m)
    together = Accelerator(layer, Koopman(), m=m, s=s, group="node")
    node = nn.Linear(inputs, 1).double()

    def fill(accelerator: Accelerator, target: nn.Linear, rows: NDArray[np.float64]) -> None:
        accelerator.clear()
        for row in torch.from_numpy(rows):
            target.weight.data.copy_(row[:, :-1])
            target.bias.data.copy_(row[:, -1])
            accelerator.record()

    def jump(accelerator: Accelerator) -> None:
        accelerator.apply(accelerator.propose())

    record = least_seconds(lambda: fill(together, layer, history), 1)
    batched = least_seconds(lambda: jump(together), repeats, lambda: fill(together, layer, history))
    found = torch.cat([layer.weight, layer.bias[:, None]], dim=1).detach().numpy()
    few = range(min(count, 20))  # each as long as the others
    alone, authors, difference = [], [], 0.0
    for index in few:
        one = Accelerator(node, Koopman(), m=m, s=s, group="node")
        fill(one, node, history[:, index : index + 1])
        alone.append(timed(lambda one=one: jump(one)))  # type: ignore[misc]
        authors.append(timed(lambda index=index: _authors(history[:, index].T, s)))  # type: ignore[misc]
        difference = max(difference, float(np.abs(_authors(history[:, index].T, s) - found[index]).max()))
    loop, published = (count * float(np.median(each)) for each in (alone, authors))
    print(
        f"\n{count} nodes of {inputs + 1} weights, m = {m}, s = {s}: a jump {batched * 1e3:.0f} ms, "
        f"recording {record * 1e3:.0f} ms\none accelerator after another: {loop * 1e3:.0f} ms, "
        f"{loop / batched:.0f} times the jump\nF' pinv(F) after another: {published * 1e3:.0f} ms, "
        f"{published / batched:.1f} times the jump, {published / (batched + record):.1f} times jump and recording; "
        f"largest difference of a weight {difference:.0e}"
    )
    return {
        "loop_times": loop / batched,
        "authors_times": published / batched,
        "authors_times with recording": published / (batched + record),
        "difference": difference,
    }


def _ahead(m: int, s: int, repeats: int) -> dict[str, float]:
    problem = Hamiltonian()
    torch.manual_seed(0)
    network = problem.network().double()
    times = torch.from_numpy(problem.data().train_inputs)
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    accelerator = Accelerator(network, Koopman(), m=m, s=s, group="node")

    def step() -> None:
        optimizer.zero_grad()
        problem.loss(network, times, times).backward()
        optimizer.step()

    for _ in range(20):
        step()
    training, recording = [], []
    for _ in range(m):
        training.append(timed(step))
        recording.append(timed(accelerator.record))
    predicting = least_seconds(lambda: accelerator.propose() and accelerator.restore(), repeats)
    steps = s * float(np.median(training))
    recorded = float(np.sum(recording))
    print(
        f"\n{s} steps of training 1-10-10-2: {steps * 1e3:.0f} ms; predicting them: {predicting * 1e3:.1f} ms, "
        f"{steps / predicting:.0f} times as fast; with recording {m} snapshots ({recorded * 1e3:.0f} ms): "
        f"{steps / (predicting + recorded):.1f} times"
    )
    return {"ahead_times": steps / predicting, "ahead_times with recording": steps / (predicting + recorded)}


def _authors(rows: NDArray[np.float64], s: int) -> NDArray[np.float64]:
    """NodeKoopmanTraining.m for one node, rows (n, m)."""
    operator = rows[:, 1:] @ np.linalg.pinv(rows[:, :-1], rcond=max(rows.shape) * np.finfo(float).eps)
    return np.asarray(np.linalg.matrix_power(operator, s) @ rows[:, -1])


def _history(count: int, n: int, m: int) -> NDArray[np.float64]:
    """(m, count, n): every weight oscillates and decays in its own mixture of modes, bounded over m + s steps."""
    rng = np.random.default_rng(0)
    times = np.arange(m)[:, None, None]
    phases, rates = rng.uniform(0, 2 * np.pi, (2, count, n)), rng.uniform(0.01, 0.5, (2, count, n))
    return np.asarray(1 + 0.3 * sum(np.sin(times * rates[k] + phases[k]) for k in range(2)))


if __name__ == "__main__":
    main()
