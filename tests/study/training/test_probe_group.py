"""Probes: what one jump would do, asked of all cells along one training."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from accel import DMD, Accelerator
from problems.quadratic import Quadratic
from study import open_study
from study.errors import SpecError
from study.execution.estimate import estimate
from study.planning.cells import baselines, replicates
from study.planning.costs import predict_cost
from study.planning.packs import plan
from study.replicates.metrics import outcome_metrics
from study.replicates.replicate import Pack, Task
from study.training.networks import build_network
from study.training.packs import train_pack
from study.training.probe_group import probed_snapshots
from study.training.stack import train_probed, train_stack
from tests.helpers.command_line import run_command

CPU = torch.device("cpu")
CHANGES = {
    "network.hidden": [6, 5],
    "training": {"optimizer": "adam", "lr": 0.01, "epochs": 40, "dtype": "float64"},
    "method": {"name": "dmd", "mode": "probe", "probes": 5},
    "axes": {"m": [4, 9], "s": [3, 30], "tolerance": [1e-3, 1e-6], "form": ["state", "displacement"]},
    "seeds": 1,
}


def task_of(spec):
    data = spec.problem({}).data()
    return Task(data.train_inputs, data.train_targets, data.test_inputs, data.test_targets)


def probed(spec, chosen=None):
    return train_probed(chosen or replicates(spec), task_of(spec), {}, CPU)


@pytest.mark.parametrize(("batch", "snapshots"), [("full", "step"), (20, "step"), (20, "epoch")])
def test_a_probe_is_the_jump_of_a_training_that_begins_to_look_then(small, batch, snapshots):
    spec = small({**CHANGES, "training.batch": batch, "method.snapshots": snapshots})
    found = probed(spec)
    per_epoch = 4 if batch == 20 and snapshots == "step" else 1
    due = probed_snapshots(5, 9, 40 * per_epoch)
    for outcome in found:
        assert outcome.jumps.epoch.tolist() == [math.ceil(count / per_epoch) for count in due]
        assert not outcome.jumps.accepted.any()
    for number in (0, 3):
        for m in (4, 9):
            fixed = {"method.start": due[number] - m, "method.mode": "train", "method.probes": 30, "axes.m": [m]}
            looking = small({**CHANGES, "training.batch": batch, "method.snapshots": snapshots, **fixed})
            alone = train_stack(replicates(looking), task_of(looking), {}, CPU)
            same = [o for o in found if o.replicate.parameters["m"] == m]
            for jump, probe in zip(alone, same, strict=True):
                assert jump.replicate.parameters == probe.replicate.parameters
                # products of stacks of other sizes: rounding, which a leap of 30 enlarges
                for column in ("train_before", "train_after", "test_before", "test_after", "spectral_radius"):
                    own, other = getattr(probe.jumps, column)[number], getattr(jump.jumps, column)[0]
                    np.testing.assert_allclose(own, other, rtol=1e-6, err_msg=column)
                assert probe.jumps.rank[number].tolist() == jump.jumps.rank[0].tolist()
                assert probe.jumps.s[number] == jump.jumps.s[0]


@pytest.mark.parametrize(
    ("changes", "outcome", "after"),
    [
        ({}, "probed", "finite"),
        ({"method.max_residual": 0.0}, "rejected_residual", "nan"),
        ({"training.lr": 1e-300}, "rank_deficient", "nan"),
        # lr 4.2: the fastest mode grows 1.1-fold a step, beyond every number and beyond the squares of all numbers
        ({"training.optimizer": "sgd", "training.lr": 4.2, "axes.s": [100_000]}, "not_finite", "inf"),
        ({"training.optimizer": "sgd", "training.lr": 4.2, "axes.s": [5000]}, "not_finite", "inf"),
    ],
)
def test_a_probe_tells_why_its_jump_would_be_refused(small, changes, outcome, after):
    axes = {"m": [4], "s": [3], "tolerance": [1e-4]}
    spec = small({**CHANGES, "network.hidden": [] if "axes.s" in changes else [6, 5], "axes": axes, **changes})
    (found,) = probed(spec)
    assert found.jumps.outcome.tolist() == [outcome] * len(found.jumps.epoch)
    assert not found.jumps.accepted.any()
    losses = found.jumps.train_after
    assert {"finite": np.isfinite(losses), "nan": np.isnan(losses), "inf": losses == np.inf}[after].all()


def test_training_goes_on_as_if_nobody_had_asked(small):
    spec = small(CHANGES)
    (plain,) = train_stack(baselines(spec), task_of(spec), {}, CPU)
    for outcome in probed(spec):
        assert outcome.losses.train.tolist() == plain.losses.train.tolist()
        assert outcome.losses.test.tolist() == plain.losses.test.tolist()
        assert (outcome.status, outcome.steps) == ("finished", 40)


def test_costs_are_shared_and_are_those_predicted(small):
    spec = small(CHANGES)
    found = probed(spec)
    predicted = [predict_cost(spec, o.replicate) for o in found]
    assert [o.flops.training for o in found] == pytest.approx([c.training for c in predicted])
    assert [o.flops.jumps for o in found] == [c.jumps for c in predicted]
    (plain,) = train_stack(baselines(spec), task_of(spec), {}, CPU)
    assert sum(o.flops.training for o in found) == pytest.approx(plain.flops.training)
    lines = dict(estimate(spec))
    assert lines["probes"] == "80 (5 per replicate, along 1 trainings)"
    # a probed study confirms no choice, and its cells are not probed along plain trainings with other values
    tuned = dict(estimate(small({**CHANGES, "baseline": {"training.lr": [0.01, 0.02, 0.03]}, "confirm": 5})))
    assert (tuned["baselines"], tuned["probes"]) == ("3", lines["probes"])
    assert "fresh replicates at the end" not in tuned


def test_seconds_are_told_apart(small, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr("study.training.stopwatch.time.perf_counter", lambda: float(next(ticks)))
    outcomes = probed(small({**CHANGES, "axes": {"m": [4], "s": [3], "tolerance": [1e-3]}}))
    # one tick within each of the 4 snapshots before each of 5 probes; some of the last windows overlap
    (outcome,) = outcomes
    kept = {at - back for at in outcome.jumps.epoch for back in range(4)}
    assert outcome.seconds.recording == len(kept)
    assert outcome.seconds.jumps == 5
    assert outcome.seconds.training == 40


def test_cells_of_one_training_are_one_pack(small):
    spec = small({**CHANGES, "seeds": 3})
    packs = plan(spec, [*baselines(spec), *replicates(spec)])
    assert sorted(len(pack.replicates) for pack in packs) == [1, 1, 1, 16, 16, 16]
    assert all(len({r.seed for r in pack.replicates}) == 1 for pack in packs)


def test_what_a_probe_cannot_know_is_not_told(small):
    spec = small(CHANGES)
    for outcome in probed(spec):
        metrics = outcome_metrics(outcome)
        ratios = outcome.jumps.train_after / outcome.jumps.train_before
        assert metrics["mean_relative_error_train"] == pytest.approx(ratios.mean())
        unknown = {"acceptance", "overhead", "final_loss_train", "log_gain_per_epoch_test"}
        assert all(math.isnan(metrics[name]) for name in unknown)


@pytest.mark.parametrize("group", ["layer", "weight"])
def test_predictions_are_compared_with_the_weights_training_has_s_steps_later(small, group):
    """Against an accelerator in a loop of one's own that takes its jump back."""
    changes = {
        **CHANGES,
        "method.probes": 3,
        "method.group": group,
        "axes": {"m": [4], "s": [3, 11], "tolerance": [1e-4]},
    }
    spec = small(changes)
    chosen, task = replicates(spec), task_of(spec)
    found = probed(spec, chosen)
    due = probed_snapshots(3, 4, 40)
    x, y = (torch.tensor(a) for a in (task.train_inputs, task.train_targets))
    for outcome in found:
        s = outcome.replicate.parameters["s"]
        model = build_network(task, outcome.replicate.recipe, 0)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        weights, predicted = {}, {}
        accelerators = {place: Accelerator(model, DMD(1e-4), m=4, s=s, group=group, start=place - 4) for place in due}
        for step in range(1, 41):
            optimizer.zero_grad()
            mse_loss(model(x), y).backward()
            optimizer.step()
            weights[step] = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
            if step <= max(due):
                for place, own in accelerators.items():
                    if step <= place and own.record():
                        own.apply(own.propose())
                        predicted[step] = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
                        own.restore()
        ratios = [
            float((predicted[p] - weights[p + s]).abs().median() / (weights[p + s] - weights[p]).abs().median())
            for p in due
            if p + s <= 40
        ]
        assert len(ratios) == 2  # the last probe is at the end of the training
        assert outcome_metrics(outcome)["prediction_error"] == pytest.approx(np.median(ratios), rel=1e-6)


def test_windows_may_start_late_and_each_start_has_its_own_probes(small):
    axes = {"m": [4, 6], "s": [3], "tolerance": [1e-4], "start": [0, 20]}
    found = probed(small({**CHANGES, "method.probes": 1, "axes": axes}))
    for outcome in found:
        start = outcome.replicate.parameters["start"]
        assert outcome.jumps.epoch.tolist() == [start + 6]  # windows of one start end together
        assert math.isfinite(outcome.own_metrics["prediction_error"])


def test_a_prediction_whose_steps_are_not_trained_is_not_compared(small):
    spec = small({**CHANGES, "axes.s": [40]})
    assert all(math.isnan(outcome_metrics(o)["prediction_error"]) for o in probed(spec))


def test_of_many_weights_some_are_compared(small, monkeypatch):
    monkeypatch.setattr("study.training.probe_group.MAX_COMPARED_WEIGHTS", 10)
    spec = small({**CHANGES, "axes": {"m": [4], "s": [3], "tolerance": [1e-4]}})
    (some,) = probed(spec)
    monkeypatch.undo()
    (whole,) = probed(spec)
    assert some.own_metrics["prediction_error"] != whole.own_metrics["prediction_error"]
    assert some.own_metrics["prediction_error"] == pytest.approx(whole.own_metrics["prediction_error"], rel=3)


def test_a_training_that_diverges_is_probed_until_then(small):
    spec = small({**CHANGES, "training": {"optimizer": "sgd", "lr": 1e9, "epochs": 40}, "network.hidden": []})
    found = probed(spec)
    assert {o.status for o in found} == {"diverged"}
    assert all((o.jumps.epoch < o.epoch).all() for o in found)
    assert outcome_metrics(found[0])["mean_relative_error_train"] == math.inf


def test_networks_that_cannot_be_batched_are_probed_one_cell_at_a_time(small):
    spec = small({**CHANGES, "network": {}, "training.dtype": "float64"})
    data = Quadratic().data()

    def network():
        return torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Dropout(0.0), torch.nn.Linear(4, 4))

    task = Task(data.train_inputs, data.train_targets, data.test_inputs, data.test_targets, network=network)
    chosen = replicates(spec)
    told = []
    found = train_pack(Pack("test", tuple(chosen), 1, "cpu"), {chosen[0].task: task}, {}, told.append)
    batched = train_probed(chosen, task, {}, CPU, batchable=True)
    for own, other in zip(found, batched, strict=True):
        assert own.status == "finished"
        np.testing.assert_allclose(own.jumps.train_after, other.jumps.train_after, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method.accept": "improve"}, "method.accept: must be always with mode probe, which takes no jump"),
        ({"method.horizon": "loss"}, "method.horizon: must be constant with mode probe"),
        ({"method.candidates": [1, 2]}, r"method.candidates: must be \[1.0\] with mode probe"),
        ({"method.moments": "reset"}, "method.moments: must be keep with mode probe"),
        ({"method.noise": 0.1}, "method.noise: must be 0.0 with mode probe"),
        ({"method.stop": 30}, "method.stop: must be None with mode probe"),
        ({"method.probes": 0}, "method.probes: must be greater than or equal to 1"),
        ({"axes.probes": [3, 4], "method.probes": None}, "axes.probes: unknown key"),
    ],
)
def test_policies_that_it_cannot_evaluate_are_refused(raw, small, changes, message):
    with pytest.raises(SpecError, match=message):
        small({**CHANGES, "method": {**CHANGES["method"]}, "axes": {**CHANGES["axes"]}, **changes})


def test_a_probed_study_says_so(raw, tmp_path, monkeypatch):
    import yaml

    path = tmp_path / "spec.yaml"
    small = {**CHANGES, "axes": {"m": [4, 9], "s": [3, 30], "tolerance": [1e-3]}, "seeds": 2}
    path.write_text(yaml.safe_dump(raw(small)))
    titles = []
    import study.analysis.figures.all_figures

    real = study.analysis.figures.all_figures.draw_heatmaps
    monkeypatch.setattr(
        study.analysis.figures.all_figures,
        "draw_heatmaps",
        lambda data, **options: titles.append(options["title"]) or real(data, **options),
    )
    done = run_command("run", path, "--out", tmp_path / "out", "--executor", "inline")
    assert done.status == 0, done.err
    assert titles == ["small, probed: jumps judged, not taken"]
    table = open_study(tmp_path / "out").table()
    assert (table["status"] == "finished").all()
    assert table["jumps"].tolist() == [5] * 8
    assert table[["final_loss_ratio_train", "overhead"]].isna().all(axis=None)
    assert np.isfinite(table["mean_relative_error_train"]).all()
    assert (tmp_path / "out" / "figures" / "heatmap.png").exists()
    best = yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())
    assert "took none" in best["recommendation"]["unavailable"]
    assert (best["recommended"], best["chosen"]) == ("not known", None)
    assert "parameters" in best["other_choices"]["mean_relative_error"]["minimum"]
    assert "unavailable" in best["other_choices"]["final_loss_ratio"]["minimum"]
