"""Adaptive search: trains the cells that a sampler asks for, each with every seed, instead of a full grid."""

from study.adaptive_search._run import SAMPLERS, search

__all__ = ["SAMPLERS", "search"]
