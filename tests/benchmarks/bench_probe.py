"""Probes against jumps that are taken: ``python -m tests.benchmarks.bench_probe``.

The preset quick at one seed and with one plain training, once as it is and once with ``method.mode=probe``, in this
process: what each costs, in operations and seconds, and whether both rank the cells alike (Spearman's correlation over
the cells of a tolerance that ended finite in both). A probe asks what one jump would do from plain training; a study's
own jumps start from where the jumps before them led.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from study import run
from tests.benchmarks._setting import describe_machine

METRIC = "geometric_mean_relative_error_train"


def main(overrides: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Print the table.

    Args:
        overrides: of the preset.

    Returns:
        Ratios of operations and seconds, study / probes, and the rank correlation for every tolerance.
    """
    print(describe_machine())
    chosen = {"seeds": 1, "baseline": {}, "confirm": 0, "resources.pack": "auto", **(overrides or {})}
    tables, seconds = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        few = {**chosen, "axes.m": [20], "axes.s": [2]}
        run("quick", Path(folder) / "data", executor="inline", overrides=few, timing=False)
        for mode in ("train", "probe"):
            start_s = time.perf_counter()
            spec = {**chosen, "method.mode": mode}
            record = run("quick", Path(folder) / mode, executor="inline", overrides=spec, timing=False)
            tables[mode] = record.table()
            seconds[mode] = time.perf_counter() - start_s
    flops = {mode: _operations(table) for mode, table in tables.items()}
    found = {
        "operations": flops["train"] / flops["probe"],
        "seconds": seconds["train"] / seconds["probe"],
    }
    print(f"{len(tables['train'])} cells            study     probes   study / probes")
    print(f"operations, TFLOP {flops['train'] / 1e12:9.3g} {flops['probe'] / 1e12:10.3g} {found['operations']:12.1f}")
    print(f"seconds           {seconds['train']:9.3g} {seconds['probe']:10.3g} {found['seconds']:12.1f}")
    for tolerance in sorted(set(tables["train"]["tolerance"])):
        own, other = (t[t["tolerance"] == tolerance].set_index(["m", "s"])[METRIC] for t in tables.values())
        both = np.isfinite(own) & np.isfinite(other)
        correlation = float(spearmanr(own[both], other[both]).statistic)
        best = [", ".join(map(str, series[both].idxmin())) for series in (own, other)]
        print(
            f"tolerance {tolerance:g}: rank correlation {correlation:.2f} over {both.sum()} of {len(own)} cells; "
            f"best (m, s) ({best[0]}) in the study, ({best[1]}) by probes"
        )
        found[f"correlation {tolerance:g}"] = correlation
    return found


def _operations(table: pd.DataFrame) -> float:
    return float(table[["flops_training", "flops_jumps", "flops_judging"]].sum().sum())


if __name__ == "__main__":
    main()
