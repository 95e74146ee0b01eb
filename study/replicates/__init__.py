"""Replicates and their outcomes as plain data, with their names, metrics and costs. Needs numpy only."""
