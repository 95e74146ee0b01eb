"""Calls of rules for windows that each have their own rule and horizon, as replicates trained side by side have."""

from collections.abc import Hashable, Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn

from accel._rules._rule import BatchableRule, Combination, Rule


def combine(rules: Sequence[Rule], windows: Tensor, s: Sequence[int]) -> Combination:
    """Extrapolate each window by its own rule and its own s, in as few calls as possible.

    Args:
        rules: one per window.
        windows: (B, k, m) float64.
        s: steps to leap, one per window.

    Raises:
        ValueError: A rule does not return one coefficient per snapshot.
    """
    batches: dict[Hashable, list[int]] = {}
    for index, (rule, steps) in enumerate(zip(rules, s, strict=True)):
        batch_key = (type(rule), rule.batch_key) if _is_batchable(rule) else (id(rule), steps)
        batches.setdefault(batch_key, []).append(index)
    parts = []
    for chosen in batches.values():
        batch = windows if len(batches) == 1 else windows[chosen]
        parts.append(_call([rules[index] for index in chosen], batch, [s[index] for index in chosen]))
    if len(parts) == 1:
        return parts[0]
    order = torch.tensor([index for chosen in batches.values() for index in chosen]).argsort()
    coefficients, rank, radius = (torch.cat(columns)[order] for columns in list(zip(*parts, strict=True))[:3])
    return Combination(coefficients, rank, radius, _joined_eigenvalues(parts, order))


def _joined_eigenvalues(parts: Sequence[Combination], order: Tensor) -> Tensor | None:
    """Join eigenvalues that differ in number; None if a rule has none."""
    spectra = [part.eigenvalues for part in parts if part.eigenvalues is not None]
    if len(spectra) < len(parts):
        return None
    count = max(spectrum.shape[1] for spectrum in spectra)
    return torch.cat([nn.functional.pad(spectrum, (0, count - spectrum.shape[1])) for spectrum in spectra])[order]


def _is_batchable(rule: Rule) -> TypeGuard[BatchableRule]:
    """Return isinstance(rule, BatchableRule), which for a protocol takes as long as several operations on a window."""
    return hasattr(rule, "together") and hasattr(rule, "batch_key")


def _call(rules: Sequence[Rule], windows: Tensor, s: Sequence[int]) -> Combination:
    rule = rules[0]
    if _is_batchable(rule):
        return rule.together(rules, windows, s)
    combination = rule(windows, s[0])
    shape = (len(windows), windows.shape[-1])
    if combination.coefficients.shape != shape:
        raise ValueError(
            f"a rule must return coefficients of shape {shape}, one per snapshot of each group, "
            f"got {tuple(combination.coefficients.shape)} from {rule!r}"
        )
    return combination
