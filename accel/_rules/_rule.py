"""The contract of an extrapolating rule: a window of snapshots in, the coefficients that combine them out."""

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
    """(B,) int64; number of modes kept."""
    spectral_radius: Tensor
    """(B,) float64; the largest |eigenvalue| among the kept modes, before growing modes are clipped or dropped; 1 for
    rules without an operator."""
    eigenvalues: Tensor | None = None
    """(B, q) complex128; eigenvalues of the operator, before growing modes are clipped or dropped; q is at least the
    largest rank of the call, and zeros stand for modes that are not kept. None for rules that have none."""


@runtime_checkable
class Rule(Protocol):
    """A map from windows and a horizon to combinations, batched over groups.

    A rule never sees the n weights of a group. It sees R, the window in an orthonormal basis of its span: a (k, m)
    matrix with RᵀR = WᵀW, where k = m, or less for groups of fewer weights. Lengths, angles, singular values and right
    singular vectors of R are those of W. So a rule that does not depend on the choice of the basis can treat R as the
    window.
    """

    def __call__(self, window: Tensor, s: int) -> Combination:
        """Extrapolate each window by ``s`` steps from its newest snapshot.

        Args:
            window: (B, k, m) float64, k <= m; columns are snapshots, oldest first. Elements may hold NaN or infinities:
                a rule must not raise for them, and they must not change the result of other elements.
            s: steps to leap, counted from the newest snapshot; at least 1.
        """
        ...


@runtime_checkable
class BatchableRule(Rule, Protocol):
    """A rule of which several, of one class and one `batch_key`, can be called together, each for its own window."""

    def __call__(self, window: Tensor, s: int) -> Combination:
        """Extrapolate each window by ``s`` steps from its newest snapshot; see `Rule`."""
        return self.together([self] * len(window), window, [s] * len(window))

    @property
    def batch_key(self) -> tuple[str, ...]:
        """Options that rules called `together` must share; none by default."""
        return ()

    @staticmethod
    def together(rules: Sequence[Any], window: Tensor, s: Sequence[int]) -> Combination:
        """Extrapolate each of B windows by its own rule and its own s.

        Args:
            rules: one per window; all of this class and of one `batch_key`.
            window: (B, k, m) float64; see `Rule`.
            s: steps to leap, one per window.
        """
        ...
