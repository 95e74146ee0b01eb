"""Reports of a jump: its proposal, the groups of weights that it moves, and its outcome."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import torch
from torch import Tensor

from accel._jump.outcome import JumpOutcome
from accel._window.groups import Family

_KEPT_BYTES = 1 << 14  # the factors of five layers at m = 20; diagnosing them takes as long as the rest of a small jump


@dataclass(frozen=True)
class GroupReport:
    """Report on one group: its window, and the move that the rule predicts."""

    name: str
    size: int
    """Number of weights."""
    rank: int
    """Number of modes kept."""
    spectral_radius: float
    """Largest |eigenvalue| kept: above 1 the prediction grows with s. NaN where the window is not finite."""
    deficient: bool
    """True if the snapshots are multiples of one vector; such a group stays where it is. Single weights, which are
    always multiples of each other, are deficient only where they did not move."""
    resolution: float
    """Smallest singular value, relative to the largest, that is more than rounding of the weights and of float64."""
    noise_modes: int
    """Number of modes kept although they lie below the resolution; above 0, the rule's tolerance is too low for these
    weights."""
    relative_move: float
    """Length of the predicted move relative to the newest weights."""
    residual: float
    """Largest residual of the kept Ritz pairs (λ, U y), ‖W+ V Σ⁻¹ y - λ U y‖ with ‖y‖ = 1 (Drmač, Mezić & Mohr 2018,
    arXiv:1708.02685): how far the steps are from those of one linear operator on the kept modes. NaN where the window
    is not finite."""
    inconsistency: float
    """Consistency index λ_max(I - K_f K_b) of the operators fitted forwards and backwards in the kept modes (Haseli &
    Cortés 2022, arXiv:2207.07719); from 0, where they are inverse to each other (always so at rank m-1), to 1."""


class GroupReports(Sequence[GroupReport]):
    """The reports of all groups, each made when it is read, since a large model has many nodes.

    ``columns[field]`` holds one number per group: ``rank``, ``spectral_radius``, … as in `GroupReport`.

    Args:
        families: The groups.
        columns: The columns that proposing needed.
        diagnose: Makes the other columns; called when one of them is first read.
        diagnosed_bytes: Memory that this call holds until then.
    """

    def __init__(
        self,
        families: tuple[Family, ...],
        columns: Mapping[str, Tensor],
        diagnose: Callable[[], Mapping[str, Tensor]] = dict,
        diagnosed_bytes: int = 0,
    ) -> None:
        self._diagnosed_bytes = diagnosed_bytes
        self._proposed = columns
        self._families = families
        self._diagnose: Callable[[], Mapping[str, Tensor]] | None = diagnose

    @property
    def proposed(self) -> Mapping[str, Tensor]:
        """The columns that proposing needed, which cost nothing more: ``rank``, ``spectral_radius``, ``deficient``."""
        return self._proposed

    @cached_property
    def columns(self) -> Mapping[str, Tensor]:
        """All columns."""
        assert self._diagnose is not None
        columns = {**self._proposed, **self._diagnose()}
        self._diagnose = None  # which holds windows
        return columns

    @property
    def family_names(self) -> tuple[str, ...]:
        """Names of the layers or parameters."""
        return tuple(family.name for family in self._families)

    def settle(self) -> None:
        """Make all columns now if what they are made from is large, so that a report that is kept does not keep it."""
        if self._diagnosed_bytes > _KEPT_BYTES:
            _ = self.columns

    def largest(self, column: str) -> list[float]:
        """Return the largest number of a proposed column for each layer or parameter."""
        return [float(self._proposed[column][f.first : f.first + f.count].max()) for f in self._families]

    def __len__(self) -> int:
        """Number of groups."""
        return sum(family.count for family in self._families)

    @overload
    def __getitem__(self, index: int) -> GroupReport: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[GroupReport, ...]: ...

    def __getitem__(self, index: int | slice) -> GroupReport | tuple[GroupReport, ...]:
        """One report, or a tuple of them."""
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        number = range(len(self))[index]
        family = next(f for f in self._families if number < f.first + f.count)
        return self._report(family.group_name(number - family.first), family, number)

    def __iter__(self) -> Iterator[GroupReport]:
        for family in self._families:
            for index in range(family.count):
                yield self._report(family.group_name(index), family, family.first + index)

    def __eq__(self, other: object) -> bool:
        """Return True if all groups and numbers are the same; NaN equals NaN."""
        if not isinstance(other, GroupReports):
            return NotImplemented
        return self._families == other._families and all(
            torch.equal(left.isnan(), right.isnan()) and torch.equal(left[~left.isnan()], right[~right.isnan()])
            for left, right in ((self.columns[name], other.columns[name]) for name in self.columns)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"({shown}{', … ' if len(self) > 3 else ''})" + (f" of {len(self)} groups" if len(self) > 3 else "")

    def worst(self, column: str) -> float:
        """Return the largest number of a column among the groups that move; NaN counts as infinite, no group as 0."""
        values = self.columns[column][~self.columns["deficient"].bool()].double()
        return float(values.nan_to_num(nan=torch.inf).amax()) if len(values) else 0.0

    @cached_property
    def families(self) -> tuple[GroupReport, ...]:
        """One report per layer or parameter instead of one per node or weight: the largest numbers of its groups."""
        return tuple(self._report(f.name, f, slice(f.first, f.first + f.count)) for f in self._families)

    def _report(self, name: str, family: Family, where: int | slice) -> GroupReport:
        values = {key: column[where] for key, column in self.columns.items()}
        if isinstance(where, slice):
            deficient = values.pop("deficient").all()
            values = {key: column.max() for key, column in values.items()} | {"deficient": deficient}
        return GroupReport(
            name=name,
            size=family.size,
            rank=int(values["rank"]),
            spectral_radius=float(values["spectral_radius"]),
            deficient=bool(values["deficient"]),
            resolution=float(values["resolution"]),
            noise_modes=int(values["noise_modes"]),
            relative_move=float(values["relative_move"]),
            residual=float(values["residual"]),
            inconsistency=float(values["inconsistency"]),
        )


@dataclass(frozen=True)
class Proposal:
    """A prediction as coefficients, before anything is written. Valid until the window is cleared."""

    s: int
    groups: GroupReports
    coefficients: Tensor
    """(groups, m) float64; a group's predicted weights are its snapshots, oldest first, combined by these. Where only
    pairs of snapshots are kept (see `Koopman`), the columns are those that stand for them; the last is the newest's."""

    @property
    def finite(self) -> bool:
        """True if every group's prediction is finite (before rounding to the parameters' dtype)."""
        return bool(self.coefficients.isfinite().all())

    @property
    def deficient(self) -> bool:
        """True if no group shows a direction to follow."""
        return bool(self.groups.proposed["deficient"].all())


@dataclass(frozen=True)
class Jump:
    """Report of one jump."""

    step: int
    """Number of calls of `Accelerator.step` so far, this one included."""
    s: int
    """Steps leapt, of the best candidate; of the first one where none could be judged."""
    groups: GroupReports
    loss_before: float | None
    """Loss at the newest snapshot; None if not evaluated (no closure, or every candidate refused)."""
    loss_after: float | None
    """Loss at the prediction, the lowest of several candidates; None if not evaluated."""
    ratio: float | None
    """loss_after / loss_before, +inf where not finite; None if not evaluated."""
    outcome: JumpOutcome
    evaluations: int = 0
    """Number of calls of the closure that this jump needed."""

    @property
    def accepted(self) -> bool:
        """True if the weights are now the predicted ones."""
        return self.outcome is JumpOutcome.ACCEPTED
