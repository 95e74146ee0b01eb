"""How many replicates a search needs: ``python -m tests.benchmarks.bench_search``.

The recorded grid of ``results/quick`` (112 cells, 3 seeds each) stands in for training: a sampler asks for a cell and
is told what the table says of it, all three seeds at once and unpruned. Counted are the replicates until one within 1 %
of the grid's optimum has been asked for, by several seeds of each sampler. ``grid`` is the whole grid in its own order.
A sampler that is asked for several cells at once is told of none before all have ended, and all of them count.

Then the processor time of a replicate, by the number of cells whose replicates are trained in one pack.
"""

import itertools
import math
import random
import statistics
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from study import load_spec
from study.adaptive_search._ask import Asker
from study.adaptive_search._history import CAP
from study.adaptive_search._space import Space
from study.planning.cells import cells, replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.replicates.replicate import Pack
from study.specification._sections import Resources
from study.training.packs import train_pack
from tests.benchmarks._setting import describe_machine, quartiles

TABLE = Path(__file__).parents[2] / "results" / "quick" / "table.csv"
METRICS = ("mean_relative_error", "final_loss_ratio")
WITHIN = 1.01


def main(
    samplers: Mapping[str, int] | None = None,
    metrics: Sequence[str] = METRICS,
    at_once: Sequence[int] = (5, 10),
    epochs: int = 200,
    trained: int = 40,
) -> dict[str, float]:
    """Print a table for each metric.

    Args:
        samplers: name -> how many of its seeds; Gaussian processes (gp) take a second for each cell.
        metrics: to be low.
        at_once: numbers of cells that tpe is asked for at once, and that are trained together, besides one.
        epochs: epochs of those that are trained.
        trained: number of cells that are trained, drawn at random.

    Returns:
        Median replicates by metric and sampler; ``tpe x5`` is tpe that is asked for five cells at once. ``ms x5``:
        processor time of a replicate of five cells in a pack.
    """
    print(describe_machine())
    spec = load_spec("quick", {"design": "search"})
    table = pd.read_csv(TABLE)
    found = {}
    for metric in metrics:
        known = _known(table, metric)
        lowest = min(value for value, _ in known.values())
        good = {cell for cell, (value, _) in known.items() if value <= lowest + math.log(WITHIN)}
        print(
            f"{metric}: lowest {math.exp(lowest):.4g}, {len(good)} of {len(known)} cells within 1 %; chance needs "
            f"{len(spec.seeds) * (len(known) + 1) / (len(good) + 1):.0f} replicates in the mean"
        )
        print("sampler   seeds  quartile   median  quartile   most   seconds a cell")
        order = [next(place for place, cell in enumerate(known, 1) if cell in good) * len(spec.seeds)]
        _print("grid", order, 0.0)
        found[f"{metric} grid"] = float(order[0])
        for sampler, seeds in (samplers or {"random": 50, "qmc": 50, "tpe": 50, "gp": 5}).items():
            for together in (1, *at_once) if sampler == "tpe" else (1,):
                start_s = time.perf_counter()
                asked = [_asked(Asker(Space(spec), sampler, seed), known, good, together) for seed in range(seeds)]
                counts = [count * len(spec.seeds) for count in asked]
                name = sampler if together == 1 else f"{sampler} x{together}"
                _print(name, counts, (time.perf_counter() - start_s) / sum(asked))
                found[f"{metric} {name}"] = statistics.median(counts)
    return found | _costs((1, *at_once), epochs, trained)


def _costs(at_once: Sequence[int], epochs: int, count: int) -> dict[str, float]:
    """Processor milliseconds of a replicate by the number of cells in a pack; the packs alternate, twice."""
    spec = load_spec("quick", {"training.epochs": epochs})
    by_cell = [replicates(spec, [cell]) for cell in random.Random(0).sample(list(cells(spec)), count)]
    tasks = make_tasks(spec, by_cell[0])
    train_pack(Pack("warm", tuple(by_cell[0]), 1, "cpu"), tasks, {})
    spent = dict.fromkeys(at_once, 0.0)
    for together in (*at_once, *at_once):
        for start in range(0, count, together):
            members = [replicate for cell in by_cell[start : start + together] for replicate in cell]
            (pack,) = plan(replace(spec, resources=Resources(pack=len(members))), members)
            start_s = time.process_time()
            train_pack(pack, tasks, {})
            spent[together] += time.process_time() - start_s
    found = {f"ms x{together}": 1e3 * spent[together] / (2 * sum(map(len, by_cell))) for together in at_once}
    for together in at_once:
        print(f"{together:2} cells a pack: {found[f'ms x{together}']:.0f} ms of processor time a replicate")
    return found


def _known(table: pd.DataFrame, metric: str) -> dict[tuple[Any, ...], tuple[float, float]]:
    """Cell -> what a search is told of it (logarithm of the metric and overhead, medians), in the grid's order."""
    assert set(table["status"]) == {"finished"}
    medians = table.groupby(["m", "s", "tolerance"], sort=False)[[f"{metric}_train", "overhead"]].median()
    return {
        (int(m), int(s), float(tolerance)): (math.log(min(value, CAP)), overhead)
        for (m, s, tolerance), (value, overhead) in zip(medians.index, medians.to_numpy().tolist(), strict=True)
    }


def _asked(
    asker: Asker, known: Mapping[tuple[Any, ...], tuple[float, float]], good: Set[tuple[Any, ...]], together: int
) -> int:
    """Return the number of cells that are asked for until one is good, so many of them together."""
    for count in itertools.count(together, together):
        cells = [cell for cell in (asker.ask() for _ in range(together)) if cell is not None]
        places = [(cell["m"], cell["s"], cell["tolerance"]) for cell in cells]
        if not good.isdisjoint(places):
            return min(count, len(known))
        for cell, place in zip(cells, places, strict=True):
            asker.tell(cell, known[place])
    raise AssertionError


def _print(name: str, counts: Sequence[int], seconds: float) -> None:
    low, middle, high = quartiles(counts)
    print(f"{name:9} {len(counts):5} {low:9.0f} {middle:8.0f} {high:9.0f} {max(counts):6} {seconds:8.2f}")


if __name__ == "__main__":
    main()
