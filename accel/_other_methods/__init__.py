"""Methods beside jumps: multigrid over training steps, and class-based PCA."""
