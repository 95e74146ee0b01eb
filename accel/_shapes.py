"""What happens to a prediction before it is taken: relaxation, and noise put back.

Both suggested by Tano, Portwood & Ragusa 2020, section 4, without a formula; the formulas are ours.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def relax(coefficients: Tensor, relaxation: Sequence[float]) -> Tensor:
    """Coefficients of w_m + α (ŵ - w_m), given those of ŵ, (groups, m), and each group's α; no pass over weights."""
    if all(alpha == 1 for alpha in relaxation):
        return coefficients
    alphas = torch.tensor(relaxation, dtype=torch.float64)
    relaxed = alphas[:, None] * coefficients
    relaxed[:, -1] += 1 - alphas
    return relaxed


def noisy(noise: float, seed: int, jump: int) -> Callable[[Tensor, Tensor], Tensor]:
    """`add_noise` as of one jump alone, so that applying a proposal again, after others, gives the same weights."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + jump) % 2**63)
    return lambda newest, predicted: add_noise(newest, predicted, noise, generator)


def add_noise(newest: Tensor, predicted: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Add to every predicted weight ``noise`` times the move of a weight drawn at random from its group.

    The paper: "randomly sampling the difference between the distributions of weights obtained after the DMD process and
    the original one obtained at step m". Drawn with replacement, and with a random sign, so that the noise has the size
    of the jump and no drift.

    Args:
        newest: (groups, n) float64.
        predicted: (groups, n) float64.
        noise: amplitude; 1 is noise as large as the jump.
        generator: on the CPU, so that every device draws the same.
    """
    groups, n = predicted.shape
    drawn = torch.randint(n, (groups, n), generator=generator).to(predicted.device)
    signs = 2 * torch.randint(2, (groups, n), generator=generator).to(predicted) - 1
    return predicted + noise * signs * torch.gather(predicted - newest, 1, drawn)
