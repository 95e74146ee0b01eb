"""The window: groups of weights that share one operator, their snapshots, and the Gram matrix of the snapshots."""
