"""The same naps under plain Ray Tune, one trial each, gone on with by `Tuner.restore`: what the sweep is compared with.

``python -m tests.faults._plain_tune ADDRESS FOLDER CELLS NAP_S`` ends with the numbers that have a result in
FOLDER/results.json.
"""

import json
import os
import sys
import time
from pathlib import Path

import ray
from ray import tune


def nap(config):
    """What slow_rule.Slow does, as a trainable."""

    def write(event):
        with open(config["diary"], "a") as diary:
            diary.write(f"{time.time()} {event} {config['number']} {os.getpid()}\n")

    write("begin")
    time.sleep(config["nap_s"])
    write("end")
    tune.report({"number": config["number"]})


def main(address, folder, cells, nap_s):
    """Begin, or go on."""
    ray.init(address=address, log_to_driver=False)
    place = Path(folder)
    trainable = tune.with_resources(nap, {"CPU": 1})
    if tune.Tuner.can_restore(place / "tune"):
        tuner = tune.Tuner.restore(str(place / "tune"), trainable=trainable, resume_errored=True)
    else:
        space = {
            "number": tune.grid_search(list(range(int(cells)))),
            "nap_s": float(nap_s),
            "diary": str(place / "diary"),
        }
        run = tune.RunConfig(
            name="tune", storage_path=str(place), verbose=0, failure_config=tune.FailureConfig(max_failures=2)
        )
        tuner = tune.Tuner(trainable, param_space=space, run_config=run)
    results = tuner.fit()
    numbers = [result.metrics["number"] for result in results if result.error is None and result.metrics]
    (place / "results.json").write_text(json.dumps(numbers))


if __name__ == "__main__":
    main(*sys.argv[1:])
