"""Methods that are no jump rules: trained, recorded and read like the others; and multigrid over training steps."""

import math

import numpy as np
import pytest

from study import load_spec, open_study, run
from study.cells import baselines, make_tasks, replicates
from study.errors import SpecError
from study.metrics import outcome_metrics
from study.pack import Pack
from study.packs_file import OutcomesFile, PacksFile
from study.trainer import train_pack

MGRIT = {
    "name": "multigrid",
    "problem": {"name": "quadratic", "samples": 64},
    "network": {"hidden": [3]},
    "training": {"optimizer": "sgd", "lr": 0.02, "epochs": 30, "dtype": "float64"},
    "method": {"name": "mgrit", "tolerance": 1e-11},
    "axes": {"cycle": ["V", "F"], "training.batch": ["full", 16]},
    "seeds": 1,
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mgrit") / "study"
    run(load_spec(MGRIT), folder, executor="inline")
    return open_study(folder)


def test_multigrid_ends_where_the_baseline_does_on_the_same_batches(record):
    table = record.table()
    assert list(table["status"]) == ["finished"] * 4
    # residuals of 1e-11 sqrt(N), some forgotten and some summed up over 120 steps
    np.testing.assert_allclose(table[["final_loss_ratio_train", "final_loss_ratio_test"]], 1.0, rtol=1e-9)
    assert set(table.loc[table["training.batch"] == "full", "steps"]) == {30}
    assert set(table.loc[table["training.batch"] != "full", "steps"]) == {120}


def test_curves_are_those_of_the_baseline(record):
    rows = record.details()
    for cell in (row for row in rows if row["kind"] == "cell"):
        plain = next(
            row
            for row in rows
            if row["kind"] == "baseline"
            and row["seed"] == cell["seed"]
            and row["cell"]["training.batch"] == cell["cell"]["training.batch"]
        )
        for name in ("curve_train", "curve_test"):
            assert cell[f"{name}_epoch"] == plain[f"{name}_epoch"]
            np.testing.assert_allclose(cell[name], plain[name], rtol=1e-9)


def test_it_reports_its_own_metrics_and_leaves_those_of_jumps_empty(record):
    table = record.table()
    own = ["iterations", "convergence_factor", "model_speedup", "sequential_speedup", "measured_speedup"]
    assert (table[own] > 0).all(axis=None)
    assert (table["convergence_factor"] < 1).all()
    assert (table["overhead"] > 2).all()  # every step once in each relaxation at least, and the levels below
    assert (
        table[["mean_relative_error_train", "acceptance", "log_gain_per_epoch_train", "accuracy_test"]]
        .isna()
        .all(axis=None)
    )
    # 30 steps: 30, 15, 7, a V-cycle costs 17 + 8; an F-cycle that and 17
    full = table[table["training.batch"] == "full"].set_index("cycle")
    assert full.loc["V", "model_speedup"] == pytest.approx(30 / (full.loc["V", "iterations"] * 25))
    assert full.loc["F", "model_speedup"] == pytest.approx(30 / (full.loc["F", "iterations"] * 42))


def test_one_that_does_not_converge_says_so_and_one_that_diverges_too():
    few = load_spec({**MGRIT, "method": {"name": "mgrit", "max_iterations": 1}, "axes": {"cycle": ["V"]}, "seeds": 1})
    training = {key: value for key, value in MGRIT["training"].items() if key != "lr"}
    wild = load_spec({**MGRIT, "axes": {"training.lr": [1e6]}, "training": training, "seeds": 1})
    found = []
    for spec in (few, wild):
        replicate = replicates(spec)[0]
        found += train_pack(Pack("p", (replicate,), 1, "cpu"), make_tasks(spec, [replicate]), {})
    assert found[0].status == "finished"
    assert found[0].own_metrics["iterations"] == math.inf
    assert math.isnan(found[0].own_metrics["model_speedup"])
    assert found[1].status == "diverged"
    assert outcome_metrics(found[1])["final_loss_train"] == math.inf
    assert math.isnan(outcome_metrics(found[1])["mean_relative_error_train"])


def test_a_network_that_cannot_be_batched_fails_with_the_reason():
    import torch

    spec = load_spec({**MGRIT, "axes": {"cycle": ["V"]}, "seeds": 1})
    replicate = replicates(spec)[0]
    task = next(iter(make_tasks(spec, [replicate]).values()))
    noisy = lambda: torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(8, 4))  # noqa: E731
    own = {replicate.task: type(task)(*(getattr(task, f) for f in list(vars(task))[:4]), network=noisy)}
    outcome = train_pack(Pack("p", (replicate,), 1, "cpu"), own, {})[0]
    assert outcome.status == "failed"
    assert "evaluates many weights in one call, but Sequential draws random numbers" in outcome.reason


def test_packs_and_outcomes_travel_as_files(tmp_path):
    spec = load_spec({**MGRIT, "axes": {"cycle": ["F"]}, "seeds": 1})
    chosen = (*baselines(spec), *replicates(spec))
    packs = PacksFile({"hash": spec.hash()}, (Pack("p", chosen, 1, "cpu"),), make_tasks(spec, chosen))
    packs.write(tmp_path / "packs.npz")
    read = PacksFile.read(tmp_path / "packs.npz")
    assert read.packs == packs.packs
    outcomes = train_pack(read.packs[0], read.tasks, {})
    OutcomesFile(read.study, {"p": (read.packs[0], outcomes, {})}).write(tmp_path / "out.npz")
    back = OutcomesFile.read(tmp_path / "out.npz").ended["p"][1]
    assert [o.own_metrics for o in back] == [o.own_metrics for o in outcomes]
    assert back[0].replicate.is_baseline
    assert not back[1].replicate.is_baseline


def test_what_multigrid_cannot_train_is_refused_all_at_once():
    training = {"optimizer": "adam", "momentum": 0.5, "epochs": 30, "batch": 7, "lr": 0.5}
    with pytest.raises(SpecError) as caught:
        load_spec({**MGRIT, "training": training, "method": {"name": "mgrit", "max_lr": 0.1}, "axes": {"cycle": ["V"]}})
    text = str(caught.value)
    for part in (
        "training.optimizer: must be sgd with the method mgrit",
        "training.momentum: must be 0.0 with the method mgrit",
        "training.batch: must divide the 64 training samples with the method mgrit, got 7",
        "training.dtype: must be float64 with a method.tolerance below 1e-6",
        "method.max_lr: must be at least training.lr (0.5), got 0.1",
    ):
        assert part in text


def test_unknown_options_and_methods_are_told_the_valid_ones():
    with pytest.raises(SpecError, match=r"method.cycel: unknown key; did you mean cycle\? valid keys are .*coarsening"):
        load_spec({**MGRIT, "method": {"name": "mgrit", "cycel": "V"}})
    with pytest.raises(SpecError, match=r"axes.m: unknown key; .*cycle"):
        load_spec({**MGRIT, "axes": {"m": [4]}})
    with pytest.raises(SpecError, match=r"unknown method 'mgritt'; must be one of dmd.*mgrit"):
        load_spec({**MGRIT, "method": {"name": "mgritt"}})


def test_batches_in_fixed_order_are_the_samples_in_theirs():
    """Steps of one sample each, in order, are those of Schroder's serialised training: by hand on a linear network."""
    training = {"optimizer": "sgd", "lr": 0.05, "epochs": 2, "batch": 1, "dtype": "float64", "order": "fixed"}
    spec = load_spec(
        {**MGRIT, "problem": {"name": "quadratic", "samples": 9}, "network": {"hidden": []}, "training": training}
        | {"axes": {"cycle": ["V"]}, "seeds": 1}
    )
    plain = baselines(spec)[0]
    tasks = make_tasks(spec, [plain])
    outcome = train_pack(Pack("p", (plain,), 1, "cpu"), tasks, {})[0]

    from study.networks import build_network

    task = tasks[plain.task]
    weight, bias = (p.detach().numpy().copy() for p in build_network(task, plain.recipe, 0).double().parameters())
    for _ in range(2):
        for x, y in zip(task.train_inputs, task.train_targets, strict=True):
            error = weight @ x + bias - y
            weight -= 0.05 * 2 / len(y) * np.outer(error, x)
            bias -= 0.05 * 2 / len(y) * error
    loss = np.mean((task.train_inputs @ weight.T + bias - task.train_targets) ** 2)
    assert outcome.final_loss_train == pytest.approx(loss, rel=1e-12)  # 18 steps of the same products
