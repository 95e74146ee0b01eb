"""Who makes the matrix products: ``python -m tests.benchmarks.bench_products`` (with one thread: OMP_NUM_THREADS=1).

Three tables. First, one training step of the paper's network (6-40-200-1000-2670, 800 samples, full batch, Adam) and of
smaller ones, alone and side by side in a stack: with torch's products, with those of oneDNN (``training.products:
onednn``), and in bfloat16 (``training.precision: bf16``). The steps take turns; times are medians of processor time per
replicate. The data are random, of the size of the pollutant problem's.

Second, whole trainings of the paper's network with jumps (m = 8, s = 5, tolerance 1e-4, lr 1e-4, a stable setting): the
processor time of an epoch, with snapshots, jumps and judging, and the last loss.

Third, what each does to a heatmap: cells of the preset quick, trained in all three ways, and paired by cell and seed.
oneDNN's products differ from torch's by roundings only, so its rows show what roundings alone do to these trainings.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import torch

from study import run
from study.replicates.products_choice import TrainingShape
from study.replicates.replicate import Jumps, Pack, Recipe, Replicate, Task
from study.training.choose_products import choose_products
from study.training.data import Data
from study.training.matrix_products import has_onednn
from study.training.networks import Networks, build_loss, build_network
from study.training.optimizers import StackOptimizer
from study.training.packs import train_pack
from study.training.step import TrainingStep
from tests.benchmarks._setting import HIDDEN, INPUTS, OUTPUTS, SAMPLES, describe_machine

PLAIN = Recipe(HIDDEN, "softsign", "adam", 1e-4, 0.0, 0.0, 1, None, "float32")
NETWORKS = (  # hidden layers, outputs, samples, replicates side by side
    (HIDDEN, OUTPUTS, SAMPLES, 1),
    (HIDDEN, OUTPUTS, SAMPLES, 4),
    ((100, 200), 800, SAMPLES, 1),
    ((100, 200), 800, SAMPLES, 8),
    ((20, 40), 300, 160, 1),
    ((20, 40), 300, 160, 16),
)
FEW_CELLS = {"axes.m": [5, 14, 20], "axes.s": [5, 20, 60], "confirm": 0, "baseline": {}}
METRICS = ("mean_relative_error_train", "geometric_mean_relative_error_train", "final_loss_train")


def main(
    networks: Sequence[tuple[tuple[int, ...], int, int, int]] = NETWORKS,
    steps: int = 15,
    epochs: int = 48,
    repeats: int = 3,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Print the tables.

    Args:
        networks: hidden layers, outputs, samples and replicates of each row of the first table.
        steps: Steps that are timed, of each kind of products.
        epochs: Epochs of a whole training.
        repeats: Whole trainings of each kind.
        overrides: of the preset quick.

    Returns:
        Ratios of the time of a step and of an epoch to those with torch's products, the seconds that the choice takes,
        relative differences of the last loss, and medians of the ratios of metrics over replicates, by tolerance.
    """
    print(describe_machine())
    found: dict[str, float] = {}
    kinds = _kinds()
    print("hidden          replicates  " + "".join(f"{f'{kind}, ms':>12}" for kind in kinds) + "   ratios to torch")
    for hidden, outputs, samples, count in networks:
        name = f"{'-'.join(map(str, hidden))} K={count}"
        turns = {kind: _step(replace(r, hidden=hidden), outputs, samples, count) for kind, r in kinds.items()}
        found |= _print_row(f"{'-'.join(map(str, hidden)):15} {count:10}  ", name, turns, steps, count)
    hidden, outputs, samples, _ = networks[0]
    shape = TrainingShape(replace(PLAIN, hidden=hidden, products="auto"), INPUTS, outputs, samples)
    start = process_time()
    choice = choose_products(shape, torch.get_num_threads())
    found["seconds to choose"] = seconds = process_time() - start
    print(f"auto for {'-'.join(map(str, hidden))}: {choice.chosen}, in {seconds:.2f} s; {choice.reason}")
    print(f"\nWhole trainings of {epochs} epochs, m = 8: of an epoch")
    losses: dict[str, float] = {}

    def training(kind: str, recipe: Recipe) -> Callable[[], object]:
        def train() -> None:
            losses[kind] = _train(replace(recipe, hidden=hidden, epochs=epochs), outputs, samples)

        return train

    turns = {kind: training(kind, recipe) for kind, recipe in kinds.items()}
    found |= _print_row(f"{'-'.join(map(str, hidden)):15} {1:10}  ", "training", turns, repeats, epochs)
    for kind, loss in losses.items():
        found[f"loss {kind}"] = loss / losses["torch"] - 1
        print(f"last training loss with {kind}: {loss:.6f} ({found[f'loss {kind}']:+.1e} of torch's)")
    return found | _heatmaps({**FEW_CELLS, **(overrides or {})})


def _kinds() -> dict[str, Recipe]:
    kinds = {"torch": PLAIN, "bf16": replace(PLAIN, precision="bf16")}
    if has_onednn():
        kinds["onednn"] = replace(PLAIN, products="onednn")
    return dict(sorted(kinds.items(), key=lambda each: ("torch", "onednn", "bf16").index(each[0])))


def _print_row(
    label: str, name: str, turns: Mapping[str, Callable[[], object]], repeats: int, divisor: int
) -> dict[str, float]:
    """Take turns; print and return medians of processor time. The first turn is not counted: it allocates memory."""
    seconds: dict[str, list[float]] = {kind: [] for kind in turns}
    for repeat in range(repeats + 1):
        for kind, run_once in turns.items():
            start = process_time()
            run_once()
            if repeat:
                seconds[kind].append((process_time() - start) / divisor)
    medians = {kind: median(values) for kind, values in seconds.items()}
    ratios = {kind: value / medians["torch"] for kind, value in medians.items()}
    shown = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in ratios.items() if kind != "torch")
    print(label + "".join(f"{1e3 * value:12.2f}" for value in medians.values()) + f"   {shown}", flush=True)
    return {f"{kind} {name}": ratio for kind, ratio in ratios.items()}


def _task(outputs: int, samples: int) -> Task:
    draw = np.random.default_rng(0)
    x, y = draw.uniform(-1, 1, (samples, INPUTS)), draw.uniform(0, 1, (samples, outputs))
    return Task(x, y, x[: samples // 4], y[: samples // 4])


def _step(recipe: Recipe, outputs: int, samples: int, count: int) -> Callable[[], object]:
    """A function that takes one training step of a stack, as the training loop does."""
    task = _task(outputs, samples)
    data = Data.of(task, torch.float32, torch.device("cpu"))
    modules = [build_network(task, recipe, seed).float() for seed in range(count)]
    networks = Networks(modules, build_loss(task), own=False)
    step = TrainingStep(recipe, networks, StackOptimizer(networks, [recipe] * count, [False] * count))
    return lambda: step(data.x, data.y, True)


def _train(recipe: Recipe, outputs: int, samples: int) -> float:
    """The last training loss of a training with jumps."""
    jumps = Jumps("dmd", {"tolerance": 1e-4}, m=8, s=5)
    replicate = Replicate({}, 0, "", recipe, jumps)
    (outcome,) = train_pack(
        Pack("timed", (replicate,), torch.get_num_threads(), "cpu"), {"": _task(outputs, samples)}, {}
    )
    assert outcome.status == "finished", outcome.reason
    return float(outcome.losses.train[-1])


def _heatmaps(overrides: Mapping[str, Any]) -> dict[str, float]:
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, recipe in _kinds().items():
            keys = {"training.precision": recipe.precision, "training.products": recipe.products}
            chosen = {**overrides, **keys}
            with run("quick", Path(folder) / kind, executor="inline", overrides=chosen, timing=False) as record:
                tables[kind] = record.table().set_index(["m", "s", "seed"])
    print(f"\nquick's network, {len(tables['torch'])} replicates, paired by cell and seed: x / x with torch's products")
    print("metric                               tolerance            median   90 % of the replicates within")
    found: dict[str, float] = {}
    for metric in METRICS:
        for tolerance in sorted(set(tables["torch"]["tolerance"])):
            columns = {kind: table.loc[table["tolerance"] == tolerance, metric] for kind, table in tables.items()}
            for kind in [kind for kind in columns if kind != "torch"]:
                ratios = (columns[kind] / columns["torch"]).to_numpy()
                low, middle, high = np.quantile(ratios[np.isfinite(ratios)], (0.05, 0.5, 0.95))
                print(f"{metric:36} {tolerance:9g} {kind:>10} {middle:8.3f}   {low:.3f} to {high:.3f}")
                found[f"{kind} {metric} {tolerance:g}"] = float(middle)
    for kind, table in tables.items():
        print(f"{kind}: {', '.join(f'{count} {status}' for status, count in table['status'].value_counts().items())}")
    return found


if __name__ == "__main__":
    main()
