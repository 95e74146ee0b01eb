"""Make a heatmap in a plain loop: ``python -m tests.benchmarks.by_hand.sequential STUDY.json FOLDER``."""

import itertools
import json
import sys
from pathlib import Path

from tests.benchmarks.by_hand.training import load_data, train, write


def main(study, folder):
    """Train every cell with every seed, one after another."""
    study, folder = json.loads(Path(study).read_text()), Path(folder)
    x, y = load_data(study["data"])
    rows = []
    for m, s, tolerance, seed in itertools.product(*study["grid"].values()):
        error = train(x, y, study["hidden"], study["epochs"], m, s, tolerance, seed)
        rows.append((m, s, tolerance, seed, error))
    write(rows, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
