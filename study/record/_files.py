"""Write files completely or not at all, and name the places of packs and of damaged files."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from study.errors import UserError

PACKS = "packs"


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, and rename it once it has reached the disk.

    Raises:
        OSError: the file cannot be written. No part of it is left, and an earlier file at this path is unchanged.
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


def pack_path(folder: Path, pack_id: str) -> Path:
    """Return the path of a pack's rows."""
    return folder / PACKS / f"{pack_id}.parquet"


def is_pack_id(value: object) -> bool:
    """Return True if a value from a storage names a pack, and not another file."""
    return isinstance(value, str) and re.fullmatch(r"[0-9A-Za-z_-]{1,64}", value) is not None


def packs(folder: Path) -> list[Path]:
    """Return the files of all packs in a study's folder."""
    return sorted(path for path in (folder / PACKS).glob("*.parquet") if is_pack_id(path.stem))


def unused(path: Path) -> Path:
    """Return this path with ``.damaged`` added, and a number if that name is taken."""
    candidate, count = path.with_name(f"{path.name}.damaged"), 1
    while candidate.exists():
        count += 1
        candidate = path.with_name(f"{path.name}.damaged-{count}")
    return candidate


def listed(texts: Iterable[object], most: int = 8) -> str:
    """Join texts in one line; of more than ``most`` texts, name the first ones and count the others."""
    parts = [str(text) for text in texts]
    more = f"; and {len(parts) - most} more" if len(parts) > most else ""
    return "; ".join(parts[:most]) + more


def check_writable(folder: Path) -> None:
    """Make the folder if there is none, and write a file to it for a trial.

    Raises:
        UserError: the folder cannot be written to.
    """
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
    """Force a file's bytes, or a folder's names, to the disk.

    After a power cut a renamed file may be there without its bytes.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
