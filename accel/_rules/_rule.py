"""What an extrapolating rule is: a window of snapshots in, the coefficients that combine them out."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Combination(NamedTuple):
    """Predictions of B groups, each a real linear combination of its window's snapshots.

    An element whose window was not finite has NaN coefficients, rank 0 and a NaN spectral radius.
    """

    coefficients: Tensor
    """(B, m) float64; the predicted weights are ``W @ coefficients``, W (n, m) holding the snapshots, oldest first."""
    rank: Tensor
    """(B,) int64; how many modes were kept."""
    spectral_radius: Tensor
    """(B,) float64; the largest |eigenvalue| among the kept modes, before growing ones are clipped or dropped; 1 for
    rules that have no operator."""


@runtime_checkable
class Rule(Protocol):
    """A map from windows and a horizon to combinations, batched over groups.

    A rule never sees the n weights of a group. It sees R, the window written in an orthonormal basis of its own span:
    a (k, m) matrix with RᵀR = WᵀW, where k = m, or fewer for groups of fewer weights. Lengths, angles, singular values
    and right singular vectors of R are those of W, so a rule that does not depend on the choice of an orthonormal basis
    treats R as if it were the window.
    """

    def __call__(self, window: Tensor, s: int) -> Combination:
        """Extrapolate each window by ``s`` steps from its newest snapshot.

        Args:
            window: (B, k, m) float64, k <= m; columns are snapshots, oldest first. Elements may hold NaN or infinities:
                a rule must not raise for them, nor let them touch the other elements.
            s: steps to leap, counted from the newest snapshot; at least 1.
        """
        ...


@runtime_checkable
class BatchableRule(Rule, Protocol):
    """A rule that can be called once for windows that each have a rule of their own: those of one class and kind."""

    def __call__(self, window: Tensor, s: int) -> Combination:
        """Predict ``s`` steps ahead of the newest snapshot of each window, all by this rule; see `Rule`."""
        return self.together([self] * len(window), window, [s] * len(window))

    @property
    def batch_key(self) -> tuple[str, ...]:
        """What rules that are called `together` must share: nothing, unless a rule says otherwise."""
        return ()

    @staticmethod
    def together(rules: Sequence[Any], window: Tensor, s: Sequence[int]) -> Combination:
        """As `Rule`, with a rule and a horizon for each of B windows."""
        ...
