"""Changes to a prediction ŵ before it is taken: relaxation, masks, noise; and the controls to compare it with.

| symbol | meaning                                                           |
|--------|-------------------------------------------------------------------|
| w_m    | newest snapshot of a group                                        |
| w_m-1  | the one before: w_m - w_m-1 is the last step that training took   |
| ŵ      | prediction, ``s`` steps after w_m                                 |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Shape = Literal["none", "masked", "random", "last_step"]
"""Shape of a move. ``none`` takes ŵ as it is. ``masked`` takes only the weights that `keep_consistent` keeps. Two
controls move each group as far as ŵ does: ``random`` in a random direction, ``last_step`` in that of the last step."""


def relax(coefficients: Tensor, relaxation: Sequence[float]) -> Tensor:
    """Return the coefficients of w_m + α (ŵ - w_m), given those of ŵ, (groups, m), and each group's α.

    This needs no pass over the weights.

    Suggested by Tano, Portwood & Ragusa 2020, section 4, without a formula; the formula is ours.
    """
    if all(alpha == 1 for alpha in relaxation):
        return coefficients
    alphas = torch.tensor(relaxation, dtype=torch.float64)
    relaxed = alphas[:, None] * coefficients
    relaxed[:, -1] += 1 - alphas
    return relaxed


def limit_move(coefficients: Tensor, windows: Tensor, limits: Sequence[float | None]) -> Tensor:
    """Return the coefficients of w_m + β (ŵ - w_m), with the largest β ≤ 1 for which the move keeps to its limit.

    A trust region as of Levenberg and Marquardt, on the length of a jump; the form is ours. It needs no pass over the
    weights. A move that is not finite does not become finite.

    Args:
        coefficients: (groups, m) float64, of ŵ.
        windows: (groups, k, m) float64, each group's snapshots in an orthonormal basis.
        limits: longest move of each group, relative to the length of its newest snapshot; None for no limit.
    """
    newest = windows[:, :, -1]
    move = (windows @ coefficients[:, :, None])[:, :, 0] - newest
    length = move.norm(dim=1)
    longest = torch.tensor([math.inf if limit is None else limit for limit in limits], dtype=torch.float64)
    longest = longest * newest.norm(dim=1)
    factors = torch.where(length > longest, longest / length, 1.0)
    limited = factors[:, None] * coefficients
    limited[:, -1] += 1 - factors
    return torch.where((factors < 1)[:, None], limited, coefficients)


def scale_last_step(coefficients: Tensor, windows: Tensor) -> Tensor:
    """Return the coefficients of a move along the last step, as long as the move to ŵ.

    Where the last step moved nothing, they are those of w_m.

    Args:
        coefficients: (groups, m) float64, of ŵ.
        windows: (groups, k, m) float64, each group's snapshots in an orthonormal basis.
    """
    newest = windows[:, :, -1]
    move = (windows @ coefficients[:, :, None])[:, :, 0] - newest
    step = (newest - windows[:, :, -2]).norm(dim=1)
    rounding = windows.shape[-1] * torch.finfo(windows.dtype).eps * newest.norm(dim=1)
    reach = torch.where(step <= rounding, 0.0, move.norm(dim=1) / step)  # keeps the NaN of windows that are not finite
    scaled = torch.zeros_like(coefficients)
    scaled[:, -1] = 1 + reach
    scaled[:, -2] = -reach
    return scaled


@dataclass(frozen=True)
class Reshaping:
    """Changes to the predicted weights of one replicate, made in this order, in a pass over the weights."""

    shape: Shape
    s: int
    """Steps that the prediction leaps."""
    noise: float
    """Amplitude; see `add_noise`."""
    generator: torch.Generator
    """Generator of the draws, on the CPU, so that every device draws the same."""

    @classmethod
    def of_jump(cls, shape: Shape, s: int, noise: float, seed: int, jump: int) -> "Reshaping | None":
        """Return the reshaping of one jump; None if nothing needs a pass over the weights.

        Each jump has draws of its own, so that applying it again, after other jumps, gives the same weights.

        Args:
            shape: of the move.
            s: steps that the prediction leaps.
            noise: amplitude; see `add_noise`.
            seed: of the replicate's draws.
            jump: number of the jump.
        """
        if shape not in ("masked", "random") and not noise:
            return None
        return cls(shape, s, noise, torch.Generator().manual_seed((seed * 1_000_003 + jump) % 2**63))


def reshape(
    reshapings: Sequence[Reshaping | None], previous: Tensor | None, newest: Tensor, predicted: Tensor
) -> Tensor:
    """Apply each replicate's reshaping to its prediction.

    Args:
        reshapings: one per replicate; None leaves its prediction as it is.
        previous: w_m-1 of every group, (K, groups, n) float64; None if nothing is masked.
        newest: w_m of every group, (K, groups, n) float64.
        predicted: ŵ of every group, (K, groups, n) float64.
    """
    masked = [k for k, each in enumerate(reshapings) if each is not None and each.shape == "masked"]
    random = [k for k, each in enumerate(reshapings) if each is not None and each.shape == "random"]
    reshaped = predicted.clone()
    if masked:
        assert previous is not None
        s = torch.tensor([each.s for each in reshapings if each is not None and each.shape == "masked"]).to(newest)
        reshaped[masked] = keep_consistent(previous[masked], newest[masked], predicted[masked], s)
    if random:
        drawn = [_normal(reshapings[k], predicted[k]) for k in random]
        reshaped[random] = turn(newest[random], predicted[random], torch.stack(drawn))
    for k, each in enumerate(reshapings):
        if each is not None and each.noise:
            reshaped[k] = add_noise(newest[k], reshaped[k], each.noise, each.generator)
    return reshaped


def keep_consistent(previous: Tensor, newest: Tensor, predicted: Tensor, s: Tensor) -> Tensor:
    """Return ŵ where its move agrees with the last step, w_m elsewhere: the mask of Predictive Differential Training.

    A weight is taken iff its move from w_m-1 to ŵ has the sign of the last step, at least its size, and at most (τ + 1)
    times its size, where τ = s + 1 is the number of steps from w_m-1 to ŵ (aicip/PDT, ``compute_mask``, which also
    measures moves from the weights before the step).

    Args:
        previous: w_m-1, (K, groups, n) float64.
        newest: w_m, (K, groups, n) float64.
        predicted: ŵ, (K, groups, n) float64.
        s: (K,) float64.
    """
    step, move = newest - previous, predicted - previous
    longest = (s + 2)[:, None, None] * step.abs()
    kept = (move.sign() == step.sign()) & (move.abs() >= step.abs()) & (move.abs() <= longest)
    # weights that are not finite stay, so that the whole prediction is refused, not single weights
    return torch.where(kept | ~predicted.isfinite(), predicted, newest)


def turn(newest: Tensor, predicted: Tensor, drawn: Tensor) -> Tensor:
    """Move each group from w_m as far as ŵ does, in another direction.

    Args:
        newest: w_m, (K, groups, n) float64.
        predicted: ŵ, (K, groups, n) float64.
        drawn: directions, (K, groups, n) float64.
    """
    length = (predicted - newest).norm(dim=2, keepdim=True)
    turned: Tensor = newest + length * drawn / drawn.norm(dim=2, keepdim=True)
    return turned


def add_noise(newest: Tensor, predicted: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Add to every predicted weight ``noise`` times the move of a weight drawn at random from its group.

    The paper: "randomly sampling the difference between the distributions of weights obtained after the DMD process and
    the original one obtained at step m". Moves are drawn with replacement and given a random sign, so that the noise
    has the size of the jump and no drift. The formula is ours.

    Args:
        newest: w_m, (groups, n) float64.
        predicted: ŵ, (groups, n) float64.
        noise: amplitude; 1 is noise as large as the jump.
        generator: of the draws, on the CPU.
    """
    groups, n = predicted.shape
    drawn = torch.randint(n, (groups, n), generator=generator).to(predicted.device)
    signs = 2 * torch.randint(2, (groups, n), generator=generator).to(predicted) - 1
    return predicted + noise * signs * torch.gather(predicted - newest, 1, drawn)


def _normal(reshaping: Reshaping | None, like: Tensor) -> Tensor:
    assert reshaping is not None
    return torch.randn(like.shape, generator=reshaping.generator, dtype=torch.float64).to(like.device)
