"""Cells, replicates and packs of a spec, their data and their cost."""
