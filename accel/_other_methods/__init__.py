"""Methods other than jumps: multigrid over training steps, and class-based PCA."""
