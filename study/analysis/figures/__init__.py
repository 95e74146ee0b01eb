"""Figures of a study, as matplotlib objects, and the numbers that each one shows."""
