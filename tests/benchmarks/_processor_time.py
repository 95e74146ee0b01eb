"""Processor time of a command with all its descendants, also of those that nobody waits for.

The kernel adds a process's time to its parent's (RUSAGE_CHILDREN) only if the parent waits for it. Nobody waits for
Ray's workers: of a sweep whose two workers took 13.4 s, RUSAGE_CHILDREN showed 4.1 s, all of it the driver's. So all
processes below the command are looked at in /proc every `PERIOD_S`, and the last time seen of each is added up.
"""

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

PERIOD_S = 0.05
"""Time between two looks: what each process spends after the last look at it is lost."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def measure_command(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Run a command to its end; return its processor time and its wall time, in seconds.

    Args:
        command: program and arguments.
        folder: working directory; receives ``output.txt``.
        environment: environment of the process.

    Raises:
        RuntimeError: the command failed; the message has the end of its output.
    """
    start_s = perf_counter()
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        descendants = _Descendants(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = perf_counter() - start_s
        seen_s = descendants.stop()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(folder / 'output.txt').read_text()[-2000:]}")
    # of a command without such workers, the kernel's number is the exact one
    return max(seen_s, usage.ru_utime + usage.ru_stime), wall_s


class _Descendants(threading.Thread):
    """Looks at a process and all below it until it is stopped."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._seen = {root: 0}
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        """Look again and again."""
        while not self._stopped.wait(PERIOD_S):
            self._look()

    def stop(self) -> float:
        """Look no more; return the processor time of all processes seen, in seconds."""
        self._stopped.set()
        self.join()
        return sum(self._seen.values()) / _TICKS_PER_S

    def _look(self) -> None:
        processes = dict(filter(None, map(_parent_and_ticks, filter(str.isdigit, os.listdir("/proc")))))
        for pid in sorted(
            processes
        ):  # parents first, but for those whose number is smaller after all numbers were used
            parent, ticks = processes[pid]
            if pid in self._seen or parent in self._seen:
                self._seen[pid] = max(self._seen.get(pid, 0), ticks)


def _parent_and_ticks(pid: str) -> tuple[int, tuple[int, int]] | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return None
    return int(pid), (int(fields[1]), int(fields[11]) + int(fields[12]))
