"""The rows of a record: one Parquet file per pack, one row per replicate, with its jumps and curves."""

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study.record._files import write_whole
from study.replicates.keys import key
from study.replicates.metric_catalogue import SPLITS, TABLE_METRICS
from study.replicates.metrics import outcome_metrics, settled_losses
from study.replicates.outcome import ACCEPTED, NOT_RECORDED, PARTS, JumpHistory, ReplicateOutcome

FORMAT_VERSION = 3
"""Format of the records that are written.

2 holds the outcome and the steps of every jump, which 1 does not. 3 holds two readings of the last losses, and the
seconds of recording snapshots apart from those of jumps.
"""
READABLE_VERSIONS = (1, 2, 3)
_STRINGS = pa.list_(pa.string())
_INTS = pa.list_(pa.int32())
_FLOATS = pa.list_(pa.float64())
CURVES = ("curve_train_epoch", "curve_train", "curve_test_epoch", "curve_test")
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("parameters", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("epoch", pa.int64()),
        ("steps", pa.int64()),
        ("stacked", pa.int64()),
        *((f"{end}_at", pa.float64()) for end in ("started", "ended")),
        ("jumps", pa.int64()),
        ("final_epoch", pa.float64()),
        *((c, pa.float64()) for c in TABLE_METRICS if not c.startswith(("final_loss_ratio", "steps_to"))),
        *((f"seconds_{part}", pa.float64()) for part in PARTS),
        *((f"flops_{part}", pa.float64()) for part in ("training", "jumps", "judging")),
        ("groups", _STRINGS),
        ("jump_epoch", _INTS),
        ("jump_train_before", _FLOATS),
        ("jump_train_after", _FLOATS),
        ("jump_test_before", _FLOATS),
        ("jump_test_after", _FLOATS),
        ("jump_accepted", pa.list_(pa.bool_())),
        ("jump_outcome", _STRINGS),
        ("jump_s", pa.list_(pa.int64())),
        ("jump_rank", pa.list_(_INTS)),
        ("jump_spectral_radius", pa.list_(_FLOATS)),
        ("curve_train_epoch", _INTS),
        ("curve_train", _FLOATS),
        ("curve_test_epoch", _INTS),
        ("curve_test", _FLOATS),
    ]
)
JUMPS = tuple(name for name in SCHEMA.names if name.startswith("jump_"))
_LISTS = tuple(name for name in SCHEMA.names if pa.types.is_list(SCHEMA.field(name).type))
PLAIN = tuple(name for name in SCHEMA.names if name not in _LISTS)
"""Columns that hold one number or word per replicate."""
COLUMNS_READ = (*PLAIN, *CURVES)
"""Columns that the table and the trials are made of."""


class Unreadable(Exception):
    """Raised for a pack's file that is not there, or damaged; the message says which and why in one line."""


def row_name(row: Mapping[str, Any]) -> str:
    """Return the name of a row's replicate, as `study.replicates.keys.replicate_key` writes it."""
    return f"{row['kind']} {key(row['cell'], row['seed'])}"


def row_of(outcome: ReplicateOutcome) -> dict[str, Any]:
    """Return the row that is kept of a replicate."""
    replicate, jumps = outcome.replicate, outcome.jumps
    row: dict[str, Any] = {
        "kind": "baseline" if replicate.is_baseline else "cell",
        "parameters": json.dumps(dict(replicate.parameters)),
        "seed": replicate.seed,
        "jumps": len(jumps.epoch),
        "groups": list(outcome.groups),
        **outcome_metrics(outcome),
    }
    for name in ("status", "reason", "epoch", "steps", "stacked", "started_at", "ended_at"):
        row[name] = getattr(outcome, name)
    row |= {f"seconds_{part}": getattr(outcome.seconds, part) for part in PARTS}
    row |= {f"flops_{part}": getattr(outcome.flops, part) for part in ("training", "jumps", "judging")}
    for name in JUMPS:
        row[name] = getattr(jumps, name.removeprefix("jump_")).tolist()
    for name in CURVES:
        row[name] = getattr(outcome.losses, name.removeprefix("curve_")).tolist()
    return row


def _leaf(name: str, kind: pa.DataType) -> str:
    """Return the column of a Parquet file that holds the numbers of a list, or of lists of lists."""
    return _leaf(f"{name}.list.element", kind.value_type) if pa.types.is_list(kind) else name


_LAYOUT: Any = {
    # a pack has few rows and many columns: a codec, a dictionary and statistics of each take as long as all else
    "compression": {_leaf(name, SCHEMA.field(name).type): "zstd" for name in _LISTS},
    "use_dictionary": False,
    "write_statistics": False,
    "store_schema": False,  # the schema of Parquet itself holds the same
}


def write_pack(path: Path, rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> None:
    """Write a pack's rows, whole or not at all.

    Args:
        path: File of the pack.
        rows: One per replicate, as `row_of` makes them.
        metadata: Versions, study and machine, as plain data.

    Raises:
        OSError: They cannot be written.
    """
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    description = {**metadata, "digest": _digest(table, metadata)}

    def write(to: Path) -> None:
        with pq.ParquetWriter(to, SCHEMA, write_page_checksum=True, **_LAYOUT) as file:
            file.write_table(table)
            file.add_key_value_metadata({"dmd_study": json.dumps(description)})

    write_whole(path, write)


def read_pack(path: Path, columns: Iterable[str] = SCHEMA.names) -> list[dict[str, Any]]:
    """Read a pack's rows as plain dicts, each with its ``cell``; curves are arrays, since they may be long.

    Raises:
        Unreadable: The file is not there, or differs by a single bit from the one that was written.
    """
    if why := inspect_pack(path).damage:
        raise Unreadable(why)
    wanted = list(columns)
    try:
        losses = not _SETTLED.isdisjoint(wanted)
        table = _read(path, list(dict.fromkeys((*wanted, "final_epoch"))) if losses else wanted)
        unsettled = losses and "final_epoch" not in table.column_names
        if unsettled:  # before format 3: the losses are those at the end
            table = _read(path, list(dict.fromkeys((*wanted, *_SETTLING))))
        curves = [name for name in table.column_names if name in CURVES]
        rows: list[dict[str, Any]] = table.drop_columns(curves).to_pylist()
        for name in curves:
            for row, curve in zip(rows, _arrays(table[name].combine_chunks()), strict=True):
                row[name] = curve
    except Exception as error:
        raise Unreadable(_why(path, error)) from error
    for row in rows:
        if unsettled:
            _settle(row)
        row |= {name: None for name in wanted if name not in row}  # columns that the pack's format lacks
        for name in row.keys() - set(wanted):  # those that the losses were read from
            del row[name]
        row["cell"] = {axis: hashable(value) for axis, value in json.loads(row["parameters"]).items()}
    return rows


_SETTLED = {"final_epoch", *(f"{name}_loss_{split}" for name in ("final", "end") for split in SPLITS)}
"""Columns that an older pack lacks, or holds in another reading."""
_SETTLING = (
    *("status", "epoch", "final_loss_train", "final_loss_test"),
    *("jump_epoch", "jump_accepted", "jump_train_before", "jump_test_before"),
)
"""Columns that the final losses of an older row are read from."""


def _settle(row: dict[str, Any]) -> None:
    """Read the final losses of an older row as a new one has them."""
    end = {split: row[f"final_loss_{split}"] for split in SPLITS}
    row |= {f"end_loss_{split}": loss for split, loss in end.items()} | {"final_epoch": math.nan}
    if row["status"] in ("failed", "pruned"):
        return
    accepted = np.array(row["jump_accepted"], np.bool_)
    jumps = JumpHistory(
        epoch=np.array(row["jump_epoch"], np.int64),
        outcome=np.where(accepted, ACCEPTED, NOT_RECORDED),
        train_before=np.array(row["jump_train_before"], np.float64),
        test_before=np.array(row["jump_test_before"], np.float64),
    )
    final = settled_losses(jumps, row["epoch"], end)
    row["final_epoch"] = float(final.epoch)
    if row["status"] == "finished":
        row |= {f"final_loss_{split}": loss for split, loss in final.loss.items()}


def count_pack_outcomes(path: Path) -> dict[str, Counter[str]]:
    """Count the jumps of each row by outcome: name of the row -> outcome, or `NOT_RECORDED` -> number of jumps.

    Raises:
        Unreadable: The file is not there, or differs by a single bit from the one that was written.
    """
    rows = read_pack(path, ("kind", "parameters", "seed", "jumps"))
    try:
        table = _read(path, ["jump_outcome", "jump_accepted"])
        # format 1 tells only which jumps were accepted
        recorded = "jump_outcome" in table.column_names
        words = {} if recorded else {True: ACCEPTED, False: NOT_RECORDED}
        counts = {}
        for row, values in zip(rows, table["jump_outcome" if recorded else "jump_accepted"], strict=True):
            # counted by pyarrow, since a record may hold millions of jumps
            pairs = pc.value_counts(values.values).to_pylist()
            counts[row_name(row)] = Counter(
                {words.get(pair["values"], pair["values"]): pair["counts"] for pair in pairs}
            )
        return counts
    except Exception as error:
        raise Unreadable(_why(path, error)) from error


@dataclass(frozen=True)
class PackInspection:
    """The state of a pack's file, and the study that it belongs to."""

    damage: str | None
    """Reason why it cannot be read; None if every byte is as it was written."""
    spec_hash: str | None = None
    study: str | None = None
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Status -> number of rows."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Versions and machine of the process that trained it."""


def inspect_pack(path: Path) -> PackInspection:
    """Read all of a pack's file and check it, unless that was done before and the file has not changed."""
    try:
        stamp = path.stat()
    except OSError as error:
        return PackInspection(_why(path, error))
    return _inspect_file(path, stamp.st_mtime_ns, stamp.st_size)


@functools.lru_cache(maxsize=100_000)
def _inspect_file(path: Path, mtime_ns: int, size: int) -> PackInspection:
    try:
        table = _read(path)
        description = json.loads(table.schema.metadata[b"dmd_study"])
        if description.pop("digest") != _digest(table, description):
            return PackInspection(f"{path} (its contents have changed since they were written)")
        known = ("format_version", "study", "spec_hash", "notes", "ray_node")
        provenance = {name: value for name, value in description.items() if name not in known}
        statuses = Counter(table["status"].to_pylist())
        return PackInspection(None, description["spec_hash"], description["study"], statuses, provenance)
    except Exception as error:  # pyarrow raises errors of many kinds for a damaged file
        return PackInspection(_why(path, error))


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    # checksums keep damaged pages from the decoders; the rest of the file is checked by the digest
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(columns=columns, use_threads=False)


def _arrays(lists: pa.ListArray) -> Iterator[NDArray[Any]]:
    numbers, ends = lists.values.to_numpy(zero_copy_only=False), lists.offsets.to_pylist()
    return (numbers[start:end] for start, end in pairwise(ends))


def _digest(table: pa.Table, metadata: Mapping[str, Any]) -> str:
    """Return the hash of a pack's values, column names and metadata, whatever their layout in memory or in a file."""
    description = json.dumps([table.schema.names, metadata], sort_keys=True)
    digest = hashlib.blake2b(description.encode(), digest_size=16)
    for column in table.combine_chunks().itercolumns():
        (values,) = column.chunks
        while pa.types.is_list(values.type):
            if values.null_count:
                lengths, values = values.value_lengths().to_numpy(zero_copy_only=False), values.flatten()
            else:  # as in every pack that is written: the same, in a fifth of the time
                lengths, values = np.diff(values.offsets), values.values
            digest.update(lengths.tobytes())
        if pa.types.is_string(values.type):
            digest.update(json.dumps(values.to_pylist()).encode())
        else:
            digest.update(values.to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()


def hashable(value: Any) -> Any:
    """Return a list, which JSON gives back, as the tuple that an axis holds; any other value as it is."""
    return tuple(value) if isinstance(value, list) else value


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} (not there)"
    return f"{path} ({next(iter(str(error).strip().splitlines()), type(error).__name__)})"
