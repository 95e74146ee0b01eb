"""Packs that are not known beforehand: asked for one by one, as Ray Tune has room for another trial."""

from collections.abc import Iterator
from typing import Any

from ray.tune.search import Searcher

from study.replicates.replicate import Pack


class PackQueueSearcher(Searcher):
    """Gives Tune the next of some packs. What they are may depend on what has ended by then."""

    def __init__(self, packs: Iterator[Pack]) -> None:
        super().__init__()
        self._next = packs
        self.packs: list[Pack] = []
        """Those that were asked for, by the number that a trial has as ``pack``."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune pickles it for its own restore, which we do not use: the record is the only memory."""
        return Searcher, ()

    def suggest(self, trial_id: str) -> Any:
        """The next pack as a trial's config."""
        pack = next(self._next, None)
        if pack is None:
            return Searcher.FINISHED
        self.packs.append(pack)
        return {"pack": len(self.packs) - 1, "asked": pack}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn from Tune: what a pack gave goes into the record, and from there to who asks."""

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Nothing to be told."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: a search goes on from the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""
