"""Writing files so that they are whole or not there, and putting damaged ones aside."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from study.errors import UserError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name and rename it once it has reached the disk.

    Raises:
        OSError: it cannot be written; then nothing is left, and a file that was there before is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        write(temporary)
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def unused(path: Path) -> Path:
    """This path with ``.damaged`` added, and a number where that name is taken."""
    candidate, count = path.with_name(f"{path.name}.damaged"), 1
    while candidate.exists():
        count += 1
        candidate = path.with_name(f"{path.name}.damaged-{count}")
    return candidate


def listed(texts: Iterable[object], most: int = 8) -> str:
    """Texts in one line; of many, the first few and how many more there are."""
    found = [str(text) for text in texts]
    more = f"; and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(found[:most]) + more


def check_writable(folder: Path) -> None:
    """Make the folder where there is none, and see that it can be written to. Raises UserError where it cannot."""
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"\0" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error}; choose another --out, or make room") from error


def _flush(path: Path) -> None:
    """See a file's bytes, or a folder's names, onto the disk: a rename may outlive a power cut, and its bytes not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
