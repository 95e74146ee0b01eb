"""Packs and their outcomes as single files, for a machine that has only torch and numpy.

Both are numpy archives without pickled objects: arrays, and a JSON text under ``about``. Reading one runs no code.
"""

import dataclasses
import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.replicates.outcome import JumpHistory, ReplicateOutcome
from study.replicates.replicate import Acceleration, Alternative, Pack, Recipe, Replicate, Task

FORMAT = 1
_SPLITS = ("train_inputs", "train_targets", "test_inputs", "test_targets")
_CURVES = ("curve_train_epoch", "curve_train", "curve_test_epoch", "curve_test")


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
        """Write the whole file or nothing. Raise ValueError for a task with a network or a loss of its own."""
        arrays: dict[str, NDArray[Any]] = {}
        for number, (key, task) in enumerate(self.tasks.items()):
            if task.network is not None or task.loss is not None:
                raise ValueError(f"task {key} has a network or a loss of its own, whose code a file cannot carry")
            arrays |= {f"task{number}/{split}": getattr(task, split) for split in _SPLITS}
        about = {
            "study": dict(self.study),
            "tasks": list(self.tasks),
            "packs": [dataclasses.asdict(pack) for pack in self.packs],
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

    def write(self, path: Path) -> None:
        """Write the whole file or nothing."""
        arrays: dict[str, NDArray[Any]] = {}
        packs = []
        for number, (pack, outcomes, provenance) in enumerate(self.ended.values()):
            rows = []
            for place, outcome in enumerate(outcomes):
                prefix = f"{number}/{place}"
                arrays |= {f"{prefix}/{name}": getattr(outcome, name) for name in _CURVES}
                arrays |= {f"{prefix}/jump_{f.name}": getattr(outcome.jumps, f.name) for f in _fields(JumpHistory)}
                row = {f.name: getattr(outcome, f.name) for f in _fields(ReplicateOutcome, without=(*_CURVES, "jumps"))}
                rows.append(row | {"replicate": dataclasses.asdict(outcome.replicate)})
            packs.append({"pack": dataclasses.asdict(pack), "outcomes": rows, "provenance": dict(provenance)})
        _write(path, "outcomes", {"study": dict(self.study), "packs": packs}, arrays)

    @classmethod
    def read(cls, path: Path) -> "OutcomesFile":
        """Read a file that `write` wrote. Raise `BadFile` for any other."""
        about, arrays = _read(path, "outcomes")
        ended = {}
        for number, entry in enumerate(about["packs"]):
            pack, outcomes = _pack(entry["pack"]), []
            for place, row in enumerate(entry["outcomes"]):
                prefix = f"{number}/{place}"
                jumps: dict[str, Any] = {f.name: arrays[f"{prefix}/jump_{f.name}"] for f in _fields(JumpHistory)}
                curves: dict[str, Any] = {name: arrays[f"{prefix}/{name}"] for name in _CURVES}
                fields = row | {"replicate": _replicate(row["replicate"]), "groups": tuple(row["groups"])}
                outcomes.append(ReplicateOutcome(**fields, jumps=JumpHistory(**jumps), **curves))
            ended[pack.id] = (pack, outcomes, entry["provenance"])
        return cls(about["study"], ended)


def _fields(owner: type, without: Sequence[str] = ()) -> Iterable[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(owner) if field.name not in without]


def _pack(values: Mapping[str, Any]) -> Pack:
    return Pack(**{**values, "replicates": tuple(_replicate(each) for each in values["replicates"])})


def _replicate(values: Mapping[str, Any]) -> Replicate:
    recipe, acceleration, alternative = values["recipe"], values["acceleration"], values["alternative"]
    if acceleration is not None:
        options = {key: _hashable(value) for key, value in acceleration["options"].items()}
        acceleration = Acceleration(**{k: _hashable(v) for k, v in (acceleration | {"options": options}).items()})
    if alternative is not None:
        options = {key: _hashable(value) for key, value in alternative["options"].items()}
        alternative = Alternative(alternative["name"], options)
    return Replicate(
        parameters={key: _hashable(value) for key, value in values["parameters"].items()},
        seed=values["seed"],
        task=values["task"],
        recipe=Recipe(**{key: _hashable(value) for key, value in recipe.items()}),
        acceleration=acceleration,
        alternative=alternative,
    )


def _hashable(value: Any) -> Any:
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
            if about["format"] != FORMAT:
                raise BadFile(f"{path} must have format {FORMAT}, got {about['format']}; use the version that wrote it")
            return about, {name: file[name] for name in file.files if name != "about"}
    except BadFile:
        raise
    except FileNotFoundError:
        raise BadFile(f"{path} must be a file of {kind}, but there is no such file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise BadFile(
            f"{path} must be a file of {kind} as written by this package, but cannot be read: {error}"
        ) from error
