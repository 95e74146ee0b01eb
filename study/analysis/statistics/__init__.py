"""Statistics of the table of replicates: cell summaries, shares of variance, the best cell, the answer."""
