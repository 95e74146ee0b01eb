"""Numbers from the table of replicates: cells, shares of variance, the best cell, the answer."""
