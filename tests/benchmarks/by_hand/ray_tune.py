"""Make a heatmap with Ray Tune and Optuna: ``python -m tests.benchmarks.by_hand.ray_tune STUDY.json FOLDER``."""

import itertools
import json
import os
import sys
from pathlib import Path

import optuna
import ray
from ray import tune

from tests.benchmarks.by_hand.training import COLUMNS, load_data, train, write


def train_replicate(config, study, data):
    """Train the replicate of a trial."""
    tune.report({"error": train(*data, study["hidden"], study["epochs"], **config["replicate"])})


class Recorder(tune.Callback):
    """Adds every finished trial to an Optuna study, which the next run goes on with."""

    def __init__(self, record, grid):
        self.record = record
        self.distributions = {
            name: optuna.distributions.CategoricalDistribution(values) for name, values in grid.items()
        }

    def on_trial_complete(self, iteration, trials, trial, **info):
        """Record one trial."""
        params, value = trial.config["replicate"], trial.last_result["error"]
        trial = optuna.trial.create_trial(params=params, distributions=self.distributions, value=value)
        self.record.add_trial(trial)


def main(study, folder):
    """Train every cell with every seed that the record lacks, as many at once as there are cores."""
    study, folder = json.loads(Path(study).read_text()), Path(folder).resolve()
    grid = study["grid"]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    record = optuna.create_study(study_name="by-hand", storage=f"sqlite:///{folder}/study.db", load_if_exists=True)
    recorded = [trial.params for trial in record.get_trials()]
    replicates = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    ray.init(num_cpus=os.cpu_count(), log_to_driver=False)
    tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train_replicate, study=study, data=load_data(study["data"])), {"CPU": 1}
        ),
        param_space={"replicate": tune.grid_search([each for each in replicates if each not in recorded])},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0, callbacks=[Recorder(record, grid)]),
    ).fit()
    ray.shutdown()
    write([(*(trial.params[name] for name in COLUMNS[:-1]), trial.value) for trial in record.get_trials()], folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
