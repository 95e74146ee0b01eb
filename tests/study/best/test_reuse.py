"""The best of one study taken elsewhere: to a plain loop, which repeats the recorded numbers, and to another study."""

import itertools
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from accel import Accelerator
from accel._jump.options import OPTION_NAMES
from problems.pollutant import Pollutant
from study import load_spec, open_study, run
from study.analysis.statistics.best_document import best_document
from study.best.file import read_best, write_best_file
from study.best.reuse import compare, spec_from_best
from study.errors import SpecError, UserError
from study.planning.cells import replicates
from study.planning.tasks import make_tasks
from study.record import StudyGrid
from study.specification._methods import rule_method
from study.training.jump_options import build_options
from study.training.networks import build_network
from study.training.random_streams import stream_seed
from tests.helpers.command_line import run_command

RESULTS = Path(__file__).parents[3] / "results" / "quick"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A small study in float64, with its best.yaml."""
    folder = tmp_path_factory.mktemp("reuse") / "out"
    spec = {
        "name": "small",
        "problem": {"name": "quadratic"},
        "network": {"hidden": []},
        "training": {"optimizer": "sgd", "lr": 0.05, "epochs": 24, "dtype": "float64"},
        "method": {"name": "dmd", "form": "displacement"},
        "axes": {"m": [4, 6], "s": [2, 5], "tolerance": [1e-6]},
        "seeds": 3,
    }
    run(spec, folder, executor="inline")
    assert run_command("best", folder)[0] == 0
    return spec, folder


def train_plainly(model, optimizer, x, y, epochs, best=None, **chosen):
    """A user's own loop; the final loss, the ratios of its jumps, and the accelerator."""
    accelerator = None if best is None else Accelerator.from_best(model, best, **chosen)
    ratios = []

    def loss():
        return nn.functional.mse_loss(model(x), y)

    for _ in range(epochs):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        jump = accelerator.step(loss) if accelerator else None
        ratios += [jump.ratio] if jump else []
    return loss().item(), ratios, accelerator


def row_of(table, accelerator, seed):
    at = (table["m"] == accelerator.m) & (table["s"] == accelerator.s) & (table["seed"] == seed)
    (row,) = table[at & (table["tolerance"] == accelerator.rule.tolerance)].to_dict("records")
    return row


def test_a_plain_loop_with_the_best_repeats_the_studys_numbers(home):
    raw, folder = home
    spec, table = load_spec(raw), open_study(folder).table()
    for seed in spec.seeds:
        own = next(r for r in replicates(spec) if r.seed == seed)
        task = make_tasks(spec, [own])[own.task]
        model = build_network(task, own.recipe, seed)
        x, y = torch.tensor(task.train_inputs), torch.tensor(task.train_targets)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        final, ratios, accelerator = train_plainly(model, optimizer, x, y, 24, folder / "best.yaml")
        row = row_of(table, accelerator, seed)
        # float64, the same operations; products of another shape may be summed in another order
        assert final == pytest.approx(row["final_loss_train"], rel=1e-9)
        assert sum(ratios) / len(ratios) == pytest.approx(row["mean_relative_error_train"], rel=1e-9)
        assert len(ratios) == row["jumps"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "choice", "rel"),
    [
        # measured 3e-6 of the loss and 3e-7 of the error after 80 jumps: rounding, which training magnifies
        ("final_loss_ratio", "one-standard-error", 1e-4),
        # measured 8e-3 and 5e-4: at s = 10 training is on the edge of chaos
        ("mean_relative_error", "minimum", 5e-2),
    ],
)
def test_a_plain_loop_with_the_best_of_quick_repeats_its_table(metric, choice, rel):
    data = Pollutant(samples=200, nodes_x=30, nodes_y=10).data()
    x, y = (torch.tensor(part, dtype=torch.float32) for part in (data.train_inputs, data.train_targets))
    table = pd.read_csv(RESULTS / "table.csv")
    errors, losses = [], []
    for seed in range(3):
        for best in (None, RESULTS / "best.yaml"):
            model = _dense([x.shape[1], 20, 40, y.shape[1]], seed)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            final, ratios, accelerator = train_plainly(model, optimizer, x, y, 400, best, metric=metric, choice=choice)
            losses.append(final)
        row = row_of(table, accelerator, seed)
        assert final == pytest.approx(row["final_loss_train"], rel=rel)
        errors.append(sum(ratios) / len(ratios))
        assert errors[-1] == pytest.approx(row["mean_relative_error_train"], rel=rel)
    found = yaml.safe_load((RESULTS / "best.yaml").read_text())["choices"][metric][choice]
    ratio = sorted(losses[2 * k + 1] / losses[2 * k] for k in range(3))[1]
    assert ratio == pytest.approx(found["final_loss_ratio"], rel=rel)
    assert {"final_loss_ratio": ratio, "mean_relative_error": sorted(errors)[1]}[metric] == pytest.approx(
        found["value"], rel=rel
    )


def _dense(sizes, seed):
    """Xavier weights drawn in float64 from the study's stream, zero biases, softsign between."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "weights"))
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layer = nn.Linear(inputs, outputs, dtype=torch.float64)
        nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Softsign()]
    return nn.Sequential(*layers[:-1]).float()


OTHERS = {
    "group": "node",
    "moments": "reset",
    "candidates": [0.5, 1.0],
    "relaxation": 0.5,
    "max_move": 0.1,
    "noise": 0.1,
    "accept": "improve",
    "margin": 0.1,
    "start": 2,
    "stop": 20,
    "max_residual": 0.5,
    "max_inconsistency": 0.25,
    "form": "displacement",
    "amplitudes": "literal",
    "modes": "exact",
    "growth": "clip",
    "rank": 2,
    "horizon": "linear",
    "horizon_jumps": 3,
    "snapshots": "epoch",
    "shape": "masked",
}
"""A value of every key of the method that is not its default."""


def test_there_is_another_value_for_every_key_of_the_method():
    assert set(rule_method("dmd").model_fields) == {*OTHERS, "name", "mode", "probes", "m", "s", "tolerance"}


@pytest.mark.parametrize("where", ["method", "axis"])
@pytest.mark.parametrize("key", OTHERS)
@pytest.mark.filterwarnings("ignore:.*one snapshot per epoch")
def test_every_option_of_the_method_goes_home(key, where, tmp_path):
    """Through best.yaml to the accelerator, and to the spec of a run: fixed in the study, or one of its axes."""
    needs = {"margin": {"accept": "improve"}, "horizon_jumps": {"horizon": "linear"}, "horizon": {"horizon_jumps": 5}}
    fixed, cell = {"name": "dmd", **needs.get(key, {})}, {"m": 4, "s": 6}
    if key != "rank":
        cell["tolerance"] = 1e-3
    (fixed if where == "method" else cell)[key] = OTHERS[key]
    raw = {
        "name": "one",
        "problem": {"name": "quadratic"},
        "network": {"hidden": []},
        "training": {"optimizer": "sgd", "lr": 0.05, "epochs": 24},
        "method": fixed,
        "axes": {axis: [value] for axis, value in cell.items()},
    }
    spec = load_spec(raw)
    (replicate,) = replicates(spec)
    best = {"parameters": dict(replicate.parameters), "value": 0.5, "value_test": None, "spread": None, "seeds": 1}
    best |= {"overhead": None, "final_loss_ratio": None, "improves": True, "beats_baseline": None}
    document = {"format_version": 1, "study": "one", "spec_hash": "x", "written_by": "test"}
    document |= {"method": dict(spec.sections["method"]), "choices": {"mean_relative_error": {"minimum": best}}}
    path = write_best_file(tmp_path / "best.yaml", document)

    model = nn.Linear(8, 8)
    home = Accelerator.from_best(model, path, optimizer=torch.optim.SGD(model.parameters())).options
    studied = build_options(replicate, {}, 100)
    for name in OPTION_NAMES:
        if name not in ("seed", "optimizer"):  # those of the loop
            assert getattr(home, name) == getattr(studied, name), name
    assert home.rule == studied.rule

    (again,) = replicates(spec_from_best({**raw, "method": {}, "axes": {"m": [2], "s": [1]}}, read_best(path)))
    assert again.method == replicate.method


def test_the_best_replaces_the_method_and_keeps_the_rest(home):
    raw, folder = home
    best = read_best(folder / "best.yaml")
    elsewhere = {
        **raw,
        "name": "other",
        "training": {"optimizer": "sgd", "epochs": 30},
        "method": {"name": "dmd", "growth": "clip", "s": 3},
        "axes": {"m": [2, 3], "tolerance": [1e-3], "training.lr": [0.05, 0.02]},
        "seeds": [5],
    }
    spec = spec_from_best(elsewhere, best)
    cell = best.choice().parameters
    assert (spec.name, spec.seeds) == ("other-best", (5,))
    assert dict(spec.axes) == {**{axis: (value,) for axis, value in cell.items()}, "training.lr": (0.05, 0.02)}
    assert (spec.sections["method"]["form"], spec.sections["method"]["growth"]) == ("displacement", "keep")
    assert spec.sections["training"]["epochs"] == 30

    changed = spec_from_best(elsewhere, best, ["method.growth=drop", "axes.s=[7]", "name=mine"])
    assert (changed.sections["method"]["growth"], changed.axes["s"], changed.name) == ("drop", (7,), "mine")
    with pytest.raises(SpecError, match="fewer than the window"):
        spec_from_best({**elsewhere, "training": {"epochs": 3}}, best)


def test_the_best_of_probes_is_trained_and_an_axis_of_the_training_is_not_taken(home, tmp_path):
    raw, folder = home
    content = yaml.safe_load((folder / "best.yaml").read_text())
    content["method"]["mode"] = "probe"
    content["choices"]["mean_relative_error"]["minimum"]["parameters"] = {"m": 4, "method.s": 2, "training.lr": 0.5}
    content["method"]["rank"] = 2
    spec = spec_from_best(raw, read_best(write_best_file(tmp_path / "best.yaml", content)))
    assert spec.sections["method"]["mode"] == "train"
    assert dict(spec.axes) == {"m": (4,), "s": (2,)}
    assert spec.sections["training"]["lr"] == 0.05


def test_code_that_only_the_best_names_is_not_imported(home, tmp_path, monkeypatch):
    raw, folder = home
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    content = yaml.safe_load((folder / "best.yaml").read_text())
    content["method"] = {"name": "planted:Rule"}
    with pytest.raises(UserError, match="'planted:Rule', which is user code"):
        spec_from_best(raw, read_best(write_best_file(tmp_path / "best.yaml", content)))
    with pytest.raises(SystemExit, match="imported"):  # once the user's own spec names it, it is
        spec_from_best({**raw, "method": {"name": "planted:Rule"}}, read_best(tmp_path / "best.yaml"))


def test_run_from_best_trains_one_cell_and_compares(home, tmp_path):
    raw, folder = home
    path, out = tmp_path / "other.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump({**raw, "name": "other", "training": {**raw["training"], "lr": 0.02}}))
    status, said, _ = run_command(
        "run", path, "--from-best", folder / "best.yaml", "--out", out, "--executor", "inline"
    )
    assert status == 0
    record, best = open_study(out), read_best(folder / "best.yaml")
    table = record.table()
    assert (record.name, len(table), len(record.baseline.trials)) == ("other-best", 3, 3)
    (compared,) = compare(best, table, record.grid)
    assert compared.there == best.choice()
    assert compared.here.parameters == best.choice().parameters
    assert compared.here.value == table["mean_relative_error_train"].median()
    ratio = table["final_loss_ratio_train"].median()
    assert f"training ends at {ratio:.3g} of plain training's loss" in said
    assert ("It pays here" in said) == (ratio < 1)
    assert f"{best.choice().value:.4g}" in said
    assert f"{compared.here.value:.4g}" in said


def test_a_best_that_diverges_elsewhere_is_not_said_to_pay(home):
    raw, folder = home
    best = read_best(folder / "best.yaml")
    wild = spec_from_best({**raw, "training": {**raw["training"], "lr": 50.0, "epochs": 200}}, best)
    table = pd.DataFrame(
        [{**best.choice().parameters, "seed": seed, "status": "diverged", "mean_relative_error_train": math.inf,
          "mean_relative_error_test": math.inf} for seed in wild.seeds]
    )  # fmt: skip
    (compared,) = compare(best, table, StudyGrid(wild.axes, wild.seeds))
    assert compared.here is None
    assert (
        "It is not known whether it pays here: no cell has a finite mean_relative_error on all 3 seeds"
        in compared.verdict
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["best", "{home}", "--metric", "speed"], "metric must be one of mean_relative_error, .*; got 'speed'"),
        (["best", "{home}", "--rule", "maximum"], "rule must be one of minimum, one-standard-error; got 'maximum'"),
        (
            ["best", "{home}", "--metric", "worst_relative_error", "--at", "m=7"],
            r"at\['m'\] must be one of 4, 6; got 7",
        ),
        (["run", "quick", "--from-best", "absent.yaml"], "absent.yaml cannot be read"),
        (["run", "quick", "--from-best", "{home}/version2.yaml"], "format_version must be 1, got 2"),
        (["run", "quick", "--from-best", "{home}/method.yaml"], "method.name: unknown method 'magic'"),
        (["run", "quick", "--from-best", "{home}/spec.yaml"], "format_version must be 1, got None"),
    ],
)
def test_bad_input_is_one_message_and_writes_nothing(home, tmp_path, monkeypatch, contents, arguments, message):
    _, folder = home
    content = yaml.safe_load((folder / "best.yaml").read_text())
    write_best_file(folder / "version2.yaml", {**content, "format_version": 2})
    write_best_file(folder / "method.yaml", {**content, "method": {"name": "magic"}})
    monkeypatch.chdir(tmp_path)
    before = contents(folder)
    status, _, said = run_command(*(argument.replace("{home}", str(folder)) for argument in arguments))
    assert status == 2
    assert re.search(message, said)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == []


def test_best_says_how_to_use_it_and_holds_the_evidence(home):
    raw, folder = home
    status, said, _ = run_command("best", folder, "--metric", "final_loss_ratio", "--rule", "one-standard-error")
    assert status == 0
    assert f'Accelerator.from_best(model, "{folder / "best.yaml"}")' in said
    assert f"dmd-study run SPEC --from-best {folder / 'best.yaml'}" in said
    best = read_best(folder / "best.yaml")
    assert (best.choice().metric, best.choice().rule) == ("final_loss_ratio", "one-standard-error")
    assert best.spec_hash == load_spec(raw).hash()
    assert best.evidence.training["lr"] == 0.05
    assert best.evidence.axes == raw["axes"]
    (trained,) = best.evidence.trained_with
    assert trained["replicates"] == 4 * 3 + 3
    assert trained["torch"] == torch.__version__
    assert run_command("best", folder)[0] == 0
    assert read_best(folder / "best.yaml").choice().metric == "mean_relative_error"


def test_a_document_of_a_table_alone_has_no_evidence(home, tmp_path):
    raw, folder = home
    record = open_study(folder)
    document = best_document(
        record.table(), record.grid.axes, record.grid.seeds, study="a", spec_hash="b", method=raw["method"]
    )
    assert read_best(write_best_file(tmp_path / "best.yaml", document)).evidence is None
