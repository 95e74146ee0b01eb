"""Trains packs of replicates. Needs torch, numpy and `accel` only."""
