"""A sweep that is disturbed: started as a user starts it, watched through the diary of its rule and its record."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pandas as pd
import yaml

from study import open_study
from study.errors import UserError
from study.record import Record
from study.replicates.metric_catalogue import TIMINGS

WINDOW, JUMPS = 4, 2


class Entry(NamedTuple):
    """A line of the diary."""

    time_s: float
    event: str
    number: int
    pid: int


@dataclass
class Sweep:
    """A study of slow replicates in a folder of its own.

    Args:
        folder: an empty folder.
        cells: how many replicates.
        seconds: how long each takes.
        pack: replicates in a pack.
        environment: of its processes.
        options: further arguments of `dmd-study run`.
        rule: further fields of the rule.
    """

    folder: Path
    cells: int
    seconds: float
    pack: int
    environment: dict[str, str]
    options: tuple[str, ...] = ()
    rule: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    patience_s: ClassVar[float] = 240
    """How long it may take to end once it is left alone."""

    def __post_init__(self) -> None:
        self.out, self.diary = self.folder / "out", self.folder / "diary"
        self.diary.touch()
        shutil.copy(Path(__file__).with_name("slow_rule.py"), self.folder)
        spec = {
            "name": "slow",
            "problem": {"name": "quadratic"},
            "network": {"hidden": []},
            "training": {"optimizer": "sgd", "lr": 0.1, "epochs": WINDOW * JUMPS, "dtype": "float64"},
            "method": {
                "name": "slow_rule:Slow",
                "group": "model",
                "rounds": JUMPS,
                "nap_s": self.seconds,
                "diary": str(self.diary),
                **self.rule,
            },
            "axes": {"m": [WINDOW], "s": [2], "number": {"from": 0, "to": self.cells - 1}},
            "resources": {"cpu": 1, "pack": self.pack},
        }
        (self.folder / "spec.yaml").write_text(yaml.safe_dump(spec))

    def command(self) -> list[str]:
        """What begins it, and what goes on with it."""
        # the trainings that measure times would be in the diary
        options = ("--out", str(self.out), "--no-timing", *self.options)
        return [sys.executable, "-m", "study.cli", "run", "spec.yaml", *options]

    def start(self) -> None:
        """Run, or run on."""
        self.process = subprocess.Popen(
            self.command(),
            cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def kill(self) -> None:
        """Kill the driver."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def finish(self, timeout_s: float | None = None) -> str:
        """Wait until it has ended by itself (as long as ``patience_s`` by default); returns what it said."""
        assert self.process is not None
        _, said = self.process.communicate(timeout=timeout_s or self.patience_s)
        assert self.process.returncode == 0, said
        return said

    def stop(self) -> None:
        """End the driver, if it is there."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def entries(self, event: str) -> list[Entry]:
        """The diary's lines about one kind of event; a line that is being written is left out."""
        lines = [line.split() for line in self.diary.read_text().splitlines()]
        found = [Entry(float(line[0]), line[1], int(line[2]), int(line[3])) for line in lines if len(line) == 4]
        return [entry for entry in found if entry.event == event]

    def wait_for(self, event: str, count: int, timeout_s: float = 120) -> list[Entry]:
        """Wait until something has happened so many times in all; returns every time."""
        deadline_s = time.monotonic() + timeout_s
        while len(found := self.entries(event)) < count:
            assert self.process is not None
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline_s, f"{len(found)} of {count} times: {event}"
            time.sleep(0.02)
        return found

    def record(self) -> Record | None:
        """What is recorded; None where the record is not begun."""
        try:
            return open_study(self.out)
        except UserError as error:
            if "holds no study" not in str(error):
                raise
            return None

    def rows(self) -> dict[int, tuple[str, str, float]]:
        """Recorded replicates: number -> status, pack, seconds, by which one that is trained again would show."""
        record = self.record()
        if record is None:
            return {}
        table = record.table()
        return {
            int(row["number"]): (str(row["status"]), str(row["pack"]), float(row["seconds"]))
            for _, row in table.iterrows()
        }

    def comparable(self) -> pd.DataFrame:
        """The table, without what differs between two runs of the same: times, and which packs there were."""
        record = self.record()
        assert record is not None
        return record.table().drop(columns=[*TIMINGS, "pack"])

    def undisturbed(self) -> pd.DataFrame:
        """The table of the same study, run in one piece and in one process, and at once."""
        other = self.folder / "undisturbed"
        other.mkdir()
        same = Sweep(other, self.cells, 0.0, 1, dict(os.environ), ("--executor", "inline"), self.rule)
        same.start()
        same.finish()
        return same.comparable()

    def recorded(self) -> set[int]:
        """Numbers of the replicates that are recorded as finished."""
        return {number for number, (status, _, _) in self.rows().items() if status == "finished"}

    def recorded_twice(self) -> dict[str, int]:
        """Replicates with more than one trial."""
        record = self.record()
        assert record is not None
        names = Counter(str(trial.params) for trial in record.study.get_trials())
        return {name: count for name, count in names.items() if count > 1}

    def begun_again_after_end(self) -> int:
        """Trainings that were begun although the same had come to its end before."""
        ended = {}
        for entry in self.entries("end"):
            ended.setdefault(entry.number, entry.time_s)
        return sum(entry.time_s > ended.get(entry.number, float("inf")) for entry in self.entries("begin"))

    def begun_again(self) -> int:
        """Trainings that were begun once more, for whatever reason."""
        begun = Counter(entry.number for entry in self.entries("begin"))
        return sum(count - 1 for count in begun.values())


class PlainTune(Sweep):
    """The same work under plain Ray Tune; its options are the cluster's address alone."""

    patience_s = 1800  # it starts a process for every trial

    def command(self) -> list[str]:
        """What begins it, and what goes on with it by `Tuner.restore`."""
        arguments = [self.options[0], str(self.folder), str(self.cells), str(self.seconds)]
        return [sys.executable, "-m", "tests.faults._plain_tune", *arguments]

    def recorded(self) -> set[int]:
        """Numbers with a result at the end."""
        return set(json.loads((self.folder / "results.json").read_text()))
