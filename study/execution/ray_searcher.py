"""Searcher for packs that are not known beforehand: Ray Tune requests one whenever it has room for another trial."""

from collections.abc import Iterator
from typing import Any

from ray.tune.search import Searcher

from study.replicates.replicate import Pack


class PackQueueSearcher(Searcher):
    """Gives Tune the next pack of an iterator, which may choose it by the packs that have ended.

    Args:
        packs: iterator of packs.
    """

    def __init__(self, packs: Iterator[Pack]) -> None:
        super().__init__()
        self._next = packs
        self.packs: list[Pack] = []
        """Packs requested so far; ``pack`` in the config of a trial is an index of this list."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle no state: Tune pickles for its own restore, which is not used, because the record holds everything."""
        return Searcher, ()

    def suggest(self, trial_id: str) -> Any:
        """Return the next pack as the config of a trial."""
        pack = next(self._next, None)
        if pack is None:
            return Searcher.FINISHED
        self.packs.append(pack)
        return {"pack": len(self.packs) - 1, "requested": pack}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: outcomes go into the record, where the iterator of packs reads them.

        Args:
            trial_id: not used.
            result: not used.
            error: not used.
        """

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Accept any properties; none is used.

        Args:
            metric: not used.
            mode: not used.
            config: not used.
            spec: not used.
        """
        return True

    def save(self, checkpoint_path: str) -> None:
        """Save no state: a search continues from its record."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore no state."""
