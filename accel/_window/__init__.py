"""The window: which weights share one operator, their snapshots, and the Gram matrix of these."""
