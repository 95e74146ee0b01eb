"""Record the packs of a sweep as they end."""

from collections.abc import Mapping
from typing import Any

from study.execution.protocol import Finish
from study.execution.terminal_progress import SweepProgress
from study.record import Record
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Pack
from study.specification import Spec


def recorder(record: Record, spec: Spec, progress: SweepProgress) -> Finish:
    """Return a function that records the outcomes of a pack, and shows them.

    Args:
        record: The study.
        spec: Its spec.
        progress: Shows what has ended.
    """

    def _finish(pack: Pack, outcomes: list[ReplicateOutcome], provenance: Mapping[str, Any]) -> None:
        record.add(pack, outcomes, provenance, spec)
        for note in provenance.get("notes", ()):
            progress.warn(note)
        progress.ended(outcomes)

    return _finish
