"""Mend a record before a run: set damaged files aside, and add the trials that rows lack.

The rows hold all that the trials hold. So a damaged database is made anew from the packs beside it. And if a run was
killed after it wrote a pack but before it added the trials, the pack is not trained again.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from study.record import _rows
from study.record._database import DATABASE
from study.record._files import packs, unused
from study.record._record import Record
from study.specification import Spec

TOGETHER = 100
"""Number of trials added in one transaction."""
_COMPANIONS = ("-journal", "-wal", "-shm")


def renew_database(folder: Path, make: Callable[[str], Record]) -> Path:
    """Put an empty record in the place of a damaged database; return the path at which the damaged one is kept.

    If the process is killed, either the damaged database or the new one is in place.

    Args:
        folder: folder of the study, held for writing.
        make: makes an empty record at a storage URL.
    """
    database, fresh = folder / DATABASE, folder / f".{DATABASE}.new"
    for companion in ("", *_COMPANIONS):
        Path(f"{fresh}{companion}").unlink(missing_ok=True)
    make(URL.create("sqlite", database=str(fresh.resolve())).render_as_string(hide_password=False)).close()
    aside = unused(database)
    shutil.copy2(database, aside)
    for companion in _COMPANIONS:  # a journal of the damaged database must not be applied to the new one
        if (journal := Path(f"{database}{companion}")).exists():
            os.replace(journal, f"{aside}{companion}")
    os.replace(fresh, database)
    return aside


def set_aside_damaged(record: Record) -> list[Path]:
    """Rename the packs that cannot be read, so that training them again overwrites nothing; return their new paths."""
    aside = []
    for path in packs(record.folder):
        if _rows.inspect_pack(path).damage:
            aside.append(unused(path))
            os.replace(path, aside[-1])
    return aside


def put_back(record: Record, spec: Spec, progress: Callable[[int, int], object]) -> int:
    """Add the trials that rows lack; return their number. If a replicate is in two packs, the later pack counts.

    Args:
        record: the record, open for writing.
        spec: the spec that runs; packs of other specs are ignored.
        progress: called with the number of trials added so far, and their total.

    Raises:
        OSError: the storage cannot be written to.
    """
    done = record.done()
    trials = Counter(done.values())
    lacking: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in sorted(packs(record.folder), key=lambda path: path.stat().st_mtime_ns):
        content = _rows.inspect_pack(path)
        pack = path.stem
        if content.damage or content.spec_hash != spec.hash():
            continue
        if all(trials[pack, status] == count for status, count in content.statuses.items()):
            continue
        for row in _rows.read_pack(path, _rows.COLUMNS_READ):
            recorded = done.get(_rows.row_name(row))
            if recorded is None or (recorded[0] == pack and recorded[1] != row["status"]):
                lacking[_rows.row_name(row)] = (pack, row)
    for start in range(0, len(lacking), TOGETHER):
        batch = list(lacking.values())[start : start + TOGETHER]
        record.add_trials([(row, row["cell"], pack) for pack, row in batch], spec)
        progress(start + len(batch), len(lacking))
    return len(lacking)
