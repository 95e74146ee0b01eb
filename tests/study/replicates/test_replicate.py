import pickle
import subprocess
import sys

import numpy as np

from study.planning.cells import replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.replicates.outcome import failed


def test_packs_and_tasks_can_be_sent_to_another_process(small):
    spec = small({"axes.network.hidden": [[8]], "network": None})
    (pack, *_), task = plan(spec, replicates(spec)), make_tasks(spec, replicates(spec))["{}"]
    assert pickle.loads(pickle.dumps(pack)) == pack
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(task)).train_inputs, task.train_inputs)


def test_a_failed_outcome_is_empty_but_for_its_reason(small):
    replicate = replicates(small())[0]
    outcome = failed(replicate, "why")
    assert (outcome.replicate, outcome.status, outcome.reason) == (replicate, "failed", "why")
    assert (outcome.epoch, outcome.steps, outcome.flops.training, outcome.seconds.judging) == (0, 0, 0.0, 0.0)
    assert len(outcome.jumps.epoch) == len(outcome.losses.train) == len(outcome.losses.test_epoch) == 0
    assert np.isnan(outcome.losses.final_train)
    assert np.isnan(outcome.losses.final_test)


def test_a_trainer_needs_torch_numpy_and_accel_only():
    code = "import sys, study.trainer; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"torch", "numpy", "accel"} <= loaded
    heavy = {"ray", "optuna", "pandas", "skfem", "scipy", "matplotlib", "pydantic", "yaml", "sqlalchemy", "pyarrow"}
    assert not heavy & loaded
