"""Packs and their outcomes as single files, for a machine that has only torch and numpy.

Both are numpy archives without pickled objects: arrays, and a JSON text under ``about``. Reading one runs no code.
"""

import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from study.replicates.outcome import Breakdown, JumpHistory, Losses, ReplicateOutcome
from study.replicates.replicate import Jumps, Method, Pack, Probes, Recipe, Replicate, Stop, Task

FORMAT = 3
"""Format of the files that are written.

2 holds the method of a replicate as one of a kind, and the outcome of every jump. 3 holds what makes the matrix
products; those of 2 are torch's.
"""
READABLE_FORMATS = (2, 3)
_SPLITS = ("train_inputs", "train_targets", "test_inputs", "test_targets")


class BadFile(ValueError):
    """Raised for a file that is not valid; the message names the file and the reason."""


@dataclass(frozen=True)
class PacksFile:
    """Packs to train, with their data and the study that they belong to."""

    study: Mapping[str, Any]
    """``spec`` as plain data, and ``hash``, by which results of another study are recognised."""
    packs: tuple[Pack, ...]
    tasks: Mapping[str, Task]

    def write(self, path: Path) -> None:
        """Write the whole file or nothing. Raise ValueError for a problem with a network or a loss of its own."""
        arrays: dict[str, NDArray[Any]] = {}
        for number, task in enumerate(self.tasks.values()):
            if task.network is not None or task.loss is not None:
                raise ValueError("a file carries data only, but the problem has a network or a loss of its own")
            arrays |= {f"task{number}/{split}": getattr(task, split) for split in _SPLITS}
        about = {
            "study": dict(self.study),
            "tasks": list(self.tasks),
            "packs": [_pack_values(pack) for pack in self.packs],
        }
        _write(path, "packs", about, arrays)

    @classmethod
    def read(cls, path: Path) -> "PacksFile":
        """Read a file that `write` wrote. Raise `BadFile` for any other."""
        about, arrays = _read(path, "packs")
        tasks = {}
        for number, key in enumerate(about["tasks"]):
            splits: dict[str, Any] = {split: arrays[f"task{number}/{split}"] for split in _SPLITS}
            tasks[key] = Task(**splits)
        return cls(about["study"], tuple(_pack(pack) for pack in about["packs"]), tasks)


@dataclass(frozen=True)
class OutcomesFile:
    """Outcomes of packs, with the provenance of their training."""

    study: Mapping[str, Any]
    ended: Mapping[str, tuple[Pack, list[ReplicateOutcome], Mapping[str, Any]]]
    """Id of a pack -> the pack, its outcomes and their provenance."""
    products: Mapping[str, Any] | None = None
    """Choice of the matrix products that the packs left open, as of `ProductsChoice`; None if none was made."""

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        arrays: dict[str, NDArray[Any]] = {}
        packs = []
        for number, (pack, outcomes, provenance) in enumerate(self.ended.values()):
            rows = []
            for place, outcome in enumerate(outcomes):
                row = dataclasses.asdict(outcome) | {"replicate": _replicate_values(outcome.replicate)}
                for part in ("jumps", "losses"):
                    for name, value in list(row[part].items()):
                        if isinstance(value, np.ndarray):
                            arrays[f"{number}/{place}/{part}/{name}"] = row[part].pop(name)
                rows.append(row)
            packs.append({"pack": _pack_values(pack), "outcomes": rows, "provenance": dict(provenance)})
        products = None if self.products is None else dict(self.products)
        _write(path, "outcomes", {"study": dict(self.study), "packs": packs, "products": products}, arrays)

    @classmethod
    def read(cls, path: Path) -> "OutcomesFile":
        """Read what `write` wrote. Raises `BadFile` if it is something else."""
        about, arrays = _read(path, "outcomes")
        ended = {}
        for number, entry in enumerate(about["packs"]):
            pack, outcomes = _pack(entry["pack"]), []
            for place, row in enumerate(entry["outcomes"]):
                for part in ("jumps", "losses"):
                    prefix = f"{number}/{place}/{part}/"
                    row[part] |= {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
                row |= {"replicate": _replicate(row["replicate"]), "groups": tuple(row["groups"])}
                row |= {"losses": Losses(**row["losses"]), "jumps": JumpHistory(**row["jumps"])}
                row |= {name: Breakdown(**row[name]) for name in ("seconds", "flops")}
                outcomes.append(ReplicateOutcome(**row))
            ended[pack.id] = (pack, outcomes, entry["provenance"])
        return cls(about["study"], ended, about.get("products"))


def _pack_values(pack: Pack) -> dict[str, Any]:
    return dataclasses.asdict(pack) | {"replicates": [_replicate_values(each) for each in pack.replicates]}


def _pack(values: Mapping[str, Any]) -> Pack:
    return Pack(**{**values, "replicates": tuple(_replicate(each) for each in values["replicates"])})


def _replicate_values(replicate: Replicate) -> dict[str, Any]:
    method = {"kind": type(replicate.method).__name__, **dataclasses.asdict(replicate.method)}
    return dataclasses.asdict(replicate) | {"method": method}


def _replicate(values: Mapping[str, Any]) -> Replicate:
    return Replicate(
        parameters=_hashable(values["parameters"]),
        seed=values["seed"],
        task=values["task"],
        recipe=Recipe(**_hashable(values["recipe"])),
        method=_method(_hashable(values["method"])),
        stops=tuple(Stop(**stop) for stop in values["stops"]),
    )


def _method(values: dict[str, Any]) -> Method:
    kind = values.pop("kind")
    if kind == Probes.__name__:
        values["jumps"] = Jumps(**values["jumps"])
    kinds = {each.__name__: each for each in get_args(Method)}
    method: Method = kinds[kind](**values)
    return method


def _hashable(value: Any) -> Any:
    """Return lists, as JSON gives them back, as the tuples that options hold."""
    if isinstance(value, dict):
        return {key: _hashable(inner) for key, inner in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _write(path: Path, kind: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    text = json.dumps({"format": FORMAT, "kind": kind, **about})
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(part, "wb") as file:
            np.savez_compressed(file, about=np.array(text), **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            if about["kind"] != kind:
                raise BadFile(f"{path} must be a file of {kind}, but holds {about['kind']}")
            if about["format"] not in READABLE_FORMATS:
                readable = " or ".join(map(str, READABLE_FORMATS))
                raise BadFile(
                    f"{path} must have format {readable}, got {about['format']}; use the version that wrote it"
                )
            return about, {name: file[name] for name in file.files if name != "about"}
    except BadFile:
        raise
    except FileNotFoundError:
        raise BadFile(f"{path} must be a file of {kind}, but there is no such file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise BadFile(
            f"{path} must be a file of {kind} as written by this package, but cannot be read: {error}"
        ) from error
