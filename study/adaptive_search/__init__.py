"""Adaptive search: instead of a whole grid, the cells that a sampler asks for, each trained once with every seed."""

from study.adaptive_search._run import SAMPLERS, search

__all__ = ["SAMPLERS", "search"]
