"""Page of the manual with what was measured on a GPU, made from the JSON files of a folder."""

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.replicates.outcome import ReplicateOutcome
from study.replicates.pack_files import PacksFile
from study.replicates.replicate import Pack
from tests.benchmarks.gpu._parts import PARTS

Ended = Mapping[str, tuple[Pack, Sequence[ReplicateOutcome], Mapping[str, Any]]]


def write_page(folder: Path) -> None:
    """Write ``gpu.md`` from the parts that have ended."""
    machine = json.loads((folder / "machine.json").read_text())
    text = ["# gpu", "", _introduction(machine)]
    for name, part in PARTS.items():
        text += ["", f"## {part.title}", "", part.meaning, "", *_shown(folder / f"{name}.json")]
    text += ["", "## Training", "", *_training(folder / "training.json")]
    (folder / "gpu.md").write_text("\n".join(text) + "\n")


def describe_training(packs: PacksFile, ended: Ended) -> dict[str, Any]:
    """Return what has been trained, in numbers."""
    outcomes = [outcome for _, trained, _ in ended.values() for outcome in trained]
    seconds = [
        max(o.ended_at for o in trained) - min(o.started_at for o in trained) for _, trained, _ in ended.values()
    ]
    return {
        "study": packs.study["spec"]["name"],
        "packs": len(packs.packs),
        "packs ended": len(ended),
        "replicates": sum(len(pack.replicates) for pack in packs.packs),
        "replicates ended": len(outcomes),
        "statuses": dict(Counter(outcome.status for outcome in outcomes)),
        "seconds of a pack": round(statistics.median(seconds), 1) if seconds else None,
    }


def _introduction(machine: Mapping[str, Any]) -> str:
    if machine["dry"]:
        return "A dry run on the CPU: every part works, and no number here means anything."
    commit = f" at commit {machine['commit']}" if machine["commit"] else ""
    return (
        f"Made by `make gpu`{commit} on one {machine['gpu']} ({machine['cores']} cores of {machine['processor']}), "
        f"Python {machine['python']}, torch {machine['torch']}."
    )


def _shown(path: Path) -> list[str]:
    """Return what a part has printed, or why there is nothing."""
    if not path.exists():
        return ["Not measured yet."]
    result = json.loads(path.read_text())
    lines = [] if result["status"] == "finished" else [f"This part has failed: {result['reason']}.", ""]
    return [*lines, "```text", *result["printed"].strip().splitlines(), "```"]


def _training(path: Path) -> list[str]:
    if not path.exists():
        return ["Nothing has been trained yet."]
    result = json.loads(path.read_text())
    values = result["values"]
    statuses = ", ".join(f"{count} {status}" for status, count in values["statuses"].items()) or "none"
    failed = [f"It has failed: {result['reason']}."] if result["status"] == "failed" else []
    return [
        f"{values['replicates ended']} of {values['replicates']} replicates of `{values['study']}` have ended "
        f"({statuses}), in {values['packs ended']} of {values['packs']} packs"
        + (f"; the median pack took {values['seconds of a pack']} s." if values["packs ended"] else "."),
        *failed,
        "`dmd-study import` with this folder puts them into a record.",
    ]
