"""A record that nothing was trained for: a table of replicates, and their curves and jumps, of any size."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from dashboards import Report
from study.analysis.pages.report import report_of
from study.analysis.statistics.study_data import StudyData
from study.replicates.metric_catalogue import TABLE_METRICS

AXES: dict[str, list[Any]] = {"m": [2, 8, 14], "s": [5, 10, 20, 40], "tolerance": [1e-6, 1e-3]}
SEEDS = [0, 1, 2]


def ratio_of(cell: Mapping[str, Any], seed: int) -> float:
    """The final loss ratio: 0.6 at m = 8, s = 10, rising with the distance from there; seeds differ by 1 %."""
    away = abs(math.log(cell.get("m", 8) / 8)) + abs(math.log(cell.get("s", 10) / 10))
    return 0.6 * math.exp(0.4 * away) * (1 + 0.01 * (seed - 1))


class MadeUp:
    """``table`` and ``details`` of a study with these axes; ``status`` says how each replicate ended."""

    def __init__(
        self,
        axes: Mapping[str, Sequence[Any]] = AXES,
        seeds: Sequence[int] = SEEDS,
        epochs: int = 60,
        status: Callable[[Mapping[str, Any], int], str] = lambda cell, seed: "finished",
        reason: str = "",
        ratio: Callable[[Mapping[str, Any], int], float] = ratio_of,
        mode: str = "train",
    ) -> None:
        self.spec: dict[str, Any] = {
            "name": "made-up",
            "problem": {"name": "pollutant"},
            "network": {"hidden": [20]},
            "training": {"optimizer": "adam", "lr": 1e-3, "epochs": epochs, "batch": "full"},
            "method": {"name": "dmd", "mode": mode},
            "axes": {key: list(values) for key, values in axes.items()},
            "seeds": list(seeds),
        }
        self._random = np.random.default_rng(0)
        self._epochs = epochs
        plain = [key for key in axes if key.startswith(("problem.", "network.", "training."))]
        rows: list[dict[str, Any]] = []
        self.details: list[dict[str, Any]] = []
        for values in product(*(axes[key] for key in plain)):
            for seed in seeds:
                self._add("baseline", dict(zip(plain, values, strict=True)), seed, "finished", "", 1.0)
        for values in product(*axes.values()):
            cell = dict(zip(axes, values, strict=True))
            for seed in seeds:
                ended = status(cell, seed)
                if ended == "missing":
                    continue
                row = self._add("cell", cell, seed, ended, "" if ended == "finished" else reason, ratio(cell, seed))
                rows.append(row)
        self.table = pd.DataFrame(rows)

    def data(self, **options: Any) -> StudyData:
        """The study as statistics and figures take it."""
        given = {"training": self.spec["training"], "probed": self.spec["method"]["mode"] == "probe"}
        axes = options.pop("axes", self.spec["axes"])
        return StudyData("made-up", self.table, axes, self.spec["seeds"], lambda: self.details, **(given | options))

    def report(
        self,
        *,
        sampled: Sequence[Mapping[str, Any]] | None = None,
        axes: Mapping[str, Sequence[Any]] | None = None,
        **options: Any,
    ) -> Report:
        """Make the report of it; ``axes`` take the place of the spec's."""
        best = {
            "recommended": "off",
            "recommendation": {"unavailable": "not asked for"},
            "other_choices": {
                "final_loss_ratio": {"question": "lowest loss", "minimum": {"unavailable": "not asked for"}}
            },
            "spec_hash": "0123456789abcdef",
        }
        given: dict[str, Any] = {
            "replicates": math.prod(map(len, self.spec["axes"].values())) * len(self.spec["seeds"]),
            "provenance": [{"commit": "abc", "torch": "2.13.0", "replicates": len(self.details)}],
            "snippets": [("Two lines", "from accel import Accelerator\naccelerator = Accelerator.from_best(model)")],
        }
        best |= options.pop("best", {})
        data = self.data(sampled=sampled, **({} if axes is None else {"axes": axes}))
        return report_of(data, self.spec, best, self.details, **(given | options))

    def _add(
        self, kind: str, cell: dict[str, Any], seed: int, status: str, reason: str, ratio: float
    ) -> dict[str, Any]:
        epochs = np.arange(self._epochs + 1)
        loss = ratio * np.exp(3 - 3 * epochs / self._epochs) * self._random.uniform(0.9, 1.1, len(epochs))
        loss[-1] = ratio
        if status == "diverged":
            loss[-5:] = math.inf
        jump = np.arange(cell.get("m", 10), self._epochs + 1, cell.get("m", 10)) if kind == "cell" else np.zeros(0, int)
        after = self._random.uniform(0.7, 1.2, len(jump))
        number = ratio if status == "finished" else math.inf if status == "diverged" else math.nan
        row: dict[str, Any] = {**cell, "seed": seed, "status": status, "reason": reason, "epoch": self._epochs}
        row |= dict.fromkeys(TABLE_METRICS, number) | {"final_epoch": float(self._epochs)}
        row |= {"steps": self._epochs, "jumps": len(jump), "seconds": 1.5, "overhead": 1.02}
        row |= {f"seconds_{part}": 0.5 for part in ("training", "jumps", "judging")}
        row |= {"flops_training": 6e6, "flops_jumps": 6e4 * (kind == "cell"), "flops_judging": 3e5}
        self.details.append(
            row
            | {"kind": kind, "cell": cell, "jump_epoch": jump.tolist(), "jump_accepted": [True] * len(jump)}
            | {"jump_outcome": ["accepted"] * len(jump), "jump_s": [cell.get("s", 10)] * len(jump)}
            | {f"jump_{split}_before": [1.0] * len(jump) for split in ("train", "test")}
            | {f"jump_{split}_after": after.tolist() for split in ("train", "test")}
            | {f"curve_{split}_epoch": epochs.tolist() for split in ("train", "test")}
            | {f"curve_{split}": loss.tolist() for split in ("train", "test")}
        )
        return row
