"""The rows of a record, read from its packs, and the table of replicates made of them."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.record._files import listed, pack_path
from study.record._grid import StudyGrid
from study.record._rows import Unreadable, count_pack_outcomes, read_pack, row_name
from study.replicates.keys import key
from study.replicates.metric_catalogue import SPLITS, TABLE_COLUMNS
from study.replicates.metrics import loss_after, proposed_ratios, steps_to_loss
from study.replicates.outcome import PARTS


def read_rows(
    folder: Path, pack_by_name: Mapping[str, str], columns: Sequence[str], progress: Callable[[int, int], object]
) -> dict[str, dict[str, Any]]:
    """Read rows as plain dicts, each with its cell and its pack. One warning names the packs that cannot be read.

    Args:
        folder: the study's.
        pack_by_name: key of each replicate -> the pack that holds its row.
        columns: what to read of each row.
        progress: called with the number of packs read so far and of all packs.

    Returns:
        Key of a replicate -> its row.
    """
    rows: dict[str, dict[str, Any]] = {}
    damaged = []
    packs = sorted(set(pack_by_name.values()))
    for number, pack_id in enumerate(packs, 1):
        try:
            for row in read_pack(pack_path(folder, pack_id), columns):
                if pack_by_name.get(name := row_name(row)) == pack_id:
                    rows[name] = {**row, **row["cell"], "pack": pack_id}
        except Unreadable as error:
            damaged.append(str(error))
        progress(number, len(packs))
    if damaged:
        warnings.warn(f"left out, since they cannot be read: {listed(damaged)}", stacklevel=3)
    return rows


def tidy_table(rows: Mapping[str, dict[str, Any]], grid: StudyGrid) -> pd.DataFrame:
    """Return one row per recorded replicate of the grid, in the grid's order, compared with its baseline.

    ``rows``: as of `read_rows`, cells and baselines alike.
    """
    compared = []
    for name in grid.names():
        if row := rows.get(f"cell {name}"):
            shared = key({axis: row["cell"][axis] for axis in grid.plain_axes}, row["seed"])
            compared.append(_against_baseline(row, rows.get(f"baseline {shared}")))
    columns = [*grid.axes, *TABLE_COLUMNS]
    return pd.DataFrame([{column: row[column] for column in columns} for row in compared], columns=columns)


def count_jump_outcomes(folder: Path, pack_by_name: Mapping[str, str]) -> dict[str, int]:
    """Count the jumps of these replicates by outcome, the most frequent first; leave out packs that cannot be read."""
    names: dict[str, list[str]] = {}
    for name, pack_id in pack_by_name.items():
        names.setdefault(pack_id, []).append(name)
    counts: Counter[str] = Counter()
    for pack_id, of_pack in names.items():
        try:
            outcomes = count_pack_outcomes(pack_path(folder, pack_id))
        except Unreadable:
            continue
        for name in of_pack:
            counts += outcomes.get(name, Counter())
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def _against_baseline(row: dict[str, Any], baseline: dict[str, Any] | None) -> dict[str, Any]:
    """Add the metrics that compare a replicate with its baseline: NaN without one that finished."""
    row["seconds"] = math.fsum(row[f"seconds_{part}"] or 0.0 for part in PARTS)  # older rows count recording as jumps
    row["final_loss_ratio_train"] = row["final_loss_ratio_test"] = row["steps_to_baseline_loss"] = math.nan
    row["measured_speedup"] = math.nan
    if baseline is None or baseline["status"] != "finished" or math.isnan(row["final_loss_train"]):
        return row
    for split in SPLITS:
        plain = loss_after(baseline[f"curve_{split}_epoch"], baseline[f"curve_{split}"], row["final_epoch"])
        ratio = proposed_ratios(np.array([plain]), np.array([row[f"final_loss_{split}"]]))
        row[f"final_loss_ratio_{split}"] = float(ratio[0])
    row["steps_to_baseline_loss"] = steps_to_loss(
        row["curve_train_epoch"], row["curve_train"], baseline["final_loss_train"], row["steps"] / max(row["epoch"], 1)
    )
    solved = row["iterations"] is not None and math.isfinite(row["iterations"])
    if solved and baseline["stacked"] == 1:  # side by side with others, neither has a time of its own
        row["measured_speedup"] = baseline["seconds_training"] / row["seconds_training"]
    return row
