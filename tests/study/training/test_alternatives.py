"""Methods that are no jump rules: trained, recorded and read like the others; and multigrid over training steps."""

import math

import numpy as np
import pandas as pd
import pytest

from study import load_spec, open_study, run
from study.errors import SpecError, UserError
from study.execution.offline import export_packs, import_outcomes
from study.planning.cells import baselines, replicates
from study.planning.tasks import make_tasks
from study.replicates.metrics import outcome_metrics
from study.replicates.pack_files import OutcomesFile, PacksFile
from study.replicates.provenance import provenance
from study.replicates.replicate import Pack
from study.training.packs import train_pack

MGRIT = {
    "name": "multigrid",
    "problem": {"name": "quadratic", "samples": 64},
    "network": {"hidden": [3]},
    "training": {"optimizer": "sgd", "lr": 0.02, "epochs": 30, "dtype": "float64"},
    "method": {"name": "mgrit", "tolerance": 1e-11},
    "axes": {"cycle": ["V", "F"], "training.batch": ["full", 32]},
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
    # residuals of 1e-11 sqrt(N), some forgotten and some summed up over 60 steps
    np.testing.assert_allclose(table[["final_loss_ratio_train", "final_loss_ratio_test"]], 1.0, rtol=1e-9)
    assert set(table.loc[table["training.batch"] == "full", "steps"]) == {30}
    assert set(table.loc[table["training.batch"] != "full", "steps"]) == {60}


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
            np.testing.assert_array_equal(cell[f"{name}_epoch"], plain[f"{name}_epoch"])
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
    packs = export_packs(spec, tmp_path / "packs.npz").packs
    read = PacksFile.read(tmp_path / "packs.npz")
    assert read.packs == packs
    ended = {pack.id: (pack, train_pack(pack, read.tasks, {}), provenance(pack)) for pack in read.packs}
    OutcomesFile(read.study, ended).write(tmp_path / "out.npz")
    table = import_outcomes(tmp_path / "out.npz", tmp_path / "study")[0].table()
    assert list(table["iterations"]) == [outcome.own_metrics["iterations"] for outcome in ended[packs[1].id][1]]
    assert table["final_loss_ratio_train"].tolist() == pytest.approx([1.0], rel=1e-9)


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

    from study.training.networks import build_network

    task = tasks[plain.task]
    weight, bias = (p.detach().numpy().copy() for p in build_network(task, plain.recipe, 0).double().parameters())
    for _ in range(2):
        for x, y in zip(task.train_inputs, task.train_targets, strict=True):
            error = weight @ x + bias - y
            weight -= 0.05 * 2 / len(y) * np.outer(error, x)
            bias -= 0.05 * 2 / len(y) * error
    loss = np.mean((task.train_inputs @ weight.T + bias - task.train_targets) ** 2)
    assert outcome.losses.final_train == pytest.approx(loss, rel=1e-12)  # 18 steps of the same products


CLASSES = {
    "name": "classes",
    "problem": {"name": "digits", "samples": 400},
    "network": {"hidden": [20, 12], "activation": "relu"},
    "training": {"optimizer": "adam", "lr": 0.01, "epochs": 60},
    "method": {"name": "class_pca"},
    "axes": {"layers": [1, 2], "fraction": [0.2, 1.0]},
    "seeds": 1,
}


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes") / "study"
    run(load_spec(CLASSES), folder, executor="inline")
    return open_study(folder)


def test_class_based_pca_trains_what_is_above_the_computed_layers_at_less_cost(classes):
    table = classes.table().set_index(["layers", "fraction"])
    assert (table["status"] == "finished").all()
    assert (table["steps"] == 60).all()
    # weights above: 20-12-10 and 12-10, of 64-20-12-10; what the components cost comes on top
    whole, above = 65 * 20 + 21 * 12 + 13 * 10, {1: 21 * 12 + 13 * 10, 2: 13 * 10}
    for (layers, _), overhead in table["overhead"].items():
        assert above[layers] / whole < overhead < 0.5
    assert (table.loc[(slice(None), 1.0), "overhead"].values > table.loc[(slice(None), 0.2), "overhead"].values).all()
    # ten classes, so 0.1 by chance; measured 0.85 to 0.92 with one layer computed
    assert (table.loc[1, "accuracy_test"] > 0.7).all()
    assert (table["accuracy_train"] > table["accuracy_test"]).any()
    assert table[["iterations", "measured_speedup", "mean_relative_error_train"]].isna().all(axis=None)


def test_computed_weights_stay_as_they_are_and_those_above_start_as_the_baselines():
    """One epoch at a learning rate of almost nothing: the loss is that of the computed network, evaluated whole."""
    import torch

    from accel import ClassPCA
    from study.training.networks import build_network

    training = {"optimizer": "sgd", "lr": 1e-300, "epochs": 1, "dtype": "float64"}
    spec = load_spec({**CLASSES, "training": training, "axes": {"layers": [1, 2]}})
    for replicate in replicates(spec):
        tasks = make_tasks(spec, [replicate])
        outcome = train_pack(Pack("p", (replicate,), 1, "cpu"), tasks, {})[0]
        task = tasks[replicate.task]
        network = build_network(task, replicate.recipe, 0).double()
        x, y = torch.tensor(task.train_inputs), torch.tensor(task.train_targets)
        ClassPCA(layers=replicate.parameters["layers"]).compute(network, x, y.argmax(dim=1))
        assert outcome.losses.final_train == pytest.approx(task.loss(network, x, y).item(), rel=1e-12)
        assert outcome.own_metrics["accuracy_train"] == task.accuracy(network, x, y).item()


def test_a_convolutional_network_of_the_problems_own_is_computed_too():
    shared = {key: CLASSES[key] for key in ("name", "training", "seeds")}
    spec = load_spec(
        {**shared, "problem": {"name": "digits_conv", "samples": 200, "test_samples": 100}}
        | {"training": {**CLASSES["training"], "epochs": 20}, "method": {"name": "class_pca", "layers": 1}}
        | {"axes": {"basis": ["class", "all", "random"]}}
    )
    chosen = replicates(spec)
    for outcome in train_pack(Pack("p", tuple(chosen), 1, "cpu"), make_tasks(spec, chosen), {}):
        assert outcome.status == "finished", outcome.reason
        assert outcome.own_metrics["accuracy_test"] > 0.5  # 0.1 by chance; measured 0.8 and more


def test_what_class_based_pca_cannot_compute_is_refused_all_at_once():
    with pytest.raises(SpecError, match=r"problem.name: must be a classification problem with the method class_pca"):
        load_spec({**CLASSES, "problem": {"name": "quadratic"}})
    with pytest.raises(SpecError) as caught:
        load_spec({**CLASSES, "network": {"hidden": [8]}})
    assert "method.layers: must be at most the number of hidden layers" in str(caught.value)
    assert "network.hidden: must have a unit for each of the 10 classes" in str(caught.value)


def test_accuracies_of_replicates_side_by_side_are_those_of_each(train):
    spec = load_spec({**CLASSES, "method": {"name": "dmd", "tolerance": 1e-4, "s": 2}, "axes": {"m": [5, 9]}})
    chosen = (*baselines(spec), *replicates(spec))
    together = train_pack(Pack("p", chosen, 1, "cpu"), make_tasks(spec, chosen), {})
    for one, other in zip(together, train(spec, chosen), strict=True):
        assert one.stacked == 3
        for split in ("train", "test"):
            # roundings differ side by side; of 360 images a few may be as near to one class as to the other
            assert one.own_metrics[f"accuracy_{split}"] == pytest.approx(
                other.own_metrics[f"accuracy_{split}"], abs=0.02
            )


@pytest.mark.parametrize(("which", "metric"), [("record", "iterations"), ("classes", "accuracy")])
def test_the_picture_of_a_run_shows_the_methods_own_metric_and_others_can_be_asked_for(
    which, metric, request, tmp_path
):
    from study import write_figures
    from study.cli.figures import heatmap

    record = request.getfixturevalue(which)
    write_figures(record, only="heatmap")
    drawn = pd.read_csv(record.folder / "figures" / f"heatmap_{metric}.csv")
    table = record.table()
    column = metric if metric in table else f"{metric}_train"
    part = drawn[drawn["split"] != "test"]
    assert sorted(part["centre"]) == pytest.approx(sorted(table[column]))
    x, y = record.grid.axes
    heatmap(record.folder, metric="overhead", x=x, y=y, to=tmp_path)
    assert (tmp_path / "heatmap_overhead.png").stat().st_size > 0
    with pytest.raises(UserError, match="no cell has a finite acceptance"):
        heatmap(record.folder, metric="acceptance", x=x, y=y, to=tmp_path)


def test_a_method_that_is_no_rule_is_not_offered_to_a_training_loop(classes, capsys):
    from study.cli import results

    results.best(classes)
    said = capsys.readouterr().out
    assert "* is what these take" in said
    assert "import Accelerator" not in said
