"""From a spec to cells, replicates, packs, their data, and their cost."""
