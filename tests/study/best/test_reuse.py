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
from study.analysis.statistics.answer import answer
from study.analysis.statistics.best_document import best_document
from study.best.file import read_best, write_best_file
from study.best.reuse import differences_in_training, reused, spec_from_best
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
LOWEST_ERROR = {"metric": "mean_relative_error", "rule": "minimum"}


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
    """A user's own loop; its loss after each number of epochs, its jumps, and the accelerator."""
    accelerator = None if best is None else Accelerator.from_best(model, best, optimizer=optimizer, **chosen)
    losses, jumps = [], []

    def loss():
        return nn.functional.mse_loss(model(x), y)

    for _ in range(epochs):
        optimizer.zero_grad()
        losses.append(loss())
        losses[-1].backward()
        optimizer.step()
        jump = accelerator.step(loss) if accelerator else None
        jumps += [jump] if jump else []
    return [each.item() for each in (*losses, loss())], jumps, accelerator


def row_of(table, accelerator, seed):
    at = (table["m"] == accelerator.m) & (table["s"] == accelerator.s) & (table["seed"] == seed)
    (row,) = table[at & (table["tolerance"] == accelerator.rule.tolerance)].to_dict("records")
    return row


def test_a_plain_loop_with_the_best_repeats_the_studys_numbers(home):
    """With the recommended cell, whose last jump is right at the end: the final loss is the one before it."""
    raw, folder = home
    spec, table = load_spec(raw), open_study(folder).table()
    for seed in spec.seeds:
        trained = next(r for r in replicates(spec) if r.seed == seed)
        task = make_tasks(spec, [trained])[trained.task]
        model = build_network(task, trained.recipe, seed)
        x, y = torch.tensor(task.train_inputs), torch.tensor(task.train_targets)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        losses, jumps, accelerator = train_plainly(model, optimizer, x, y, 24, folder / "best.yaml")
        row = row_of(table, accelerator, seed)
        ratios = [jump.ratio for jump in jumps]
        # float64, the same operations; products of another shape may be summed in another order
        assert losses[-1] == pytest.approx(row["end_loss_train"], rel=1e-9)
        assert jumps[-1].loss_before == pytest.approx(row["final_loss_train"], rel=1e-9)
        assert (jumps[-1].step, row["final_epoch"]) == (24, 24)
        assert jumps[-1].loss_before != losses[-1]
        assert sum(ratios) / len(ratios) == pytest.approx(row["mean_relative_error_train"], rel=1e-9)
        assert len(ratios) == row["jumps"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "choice", "rel"),
    [
        # the recommendation: measured 3e-3 of the loss and 8e-5 of the error: training is on the edge of chaos
        (None, None, 5e-2),
        # measured 2e-7 of the loss and 6e-9 of the error after 200 jumps: rounding, which training magnifies
        ("final_loss_ratio", "one-standard-error", 1e-4),
        # measured 8e-3 and 3e-4: as above
        ("mean_relative_error", "minimum", 5e-2),
    ],
)
@pytest.mark.filterwarnings("ignore:.*the study recommends to leave the accelerator off")
def test_a_plain_loop_with_the_best_of_quick_repeats_its_table(metric, choice, rel):
    data = Pollutant(samples=200, nodes_x=30, nodes_y=10).data()
    x, y = (torch.tensor(part, dtype=torch.float32) for part in (data.train_inputs, data.train_targets))
    table = pd.read_csv(RESULTS / "table.csv")
    errors, final_ratios = [], []
    for seed in range(3):
        curves = []
        for best in (None, RESULTS / "best.yaml"):
            model = _dense([x.shape[1], 20, 40, y.shape[1]], seed)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            losses, jumps, accelerator = train_plainly(model, optimizer, x, y, 400, best, metric=metric, choice=choice)
            curves.append(losses)
        row = row_of(table, accelerator, seed)
        assert losses[-1] == pytest.approx(row["end_loss_train"], rel=rel)
        # fewer than m steps follow the last jump, so that the final loss is the one before it
        assert jumps[-1].step == row["final_epoch"]
        assert jumps[-1].loss_before == pytest.approx(row["final_loss_train"], rel=rel)
        # plain training's loss so few epochs before its end: raised by its mean progress in the second half
        plain = curves[0][400] * (curves[0][200] / curves[0][400]) ** ((400 - jumps[-1].step) / 200)
        final_ratios.append(jumps[-1].loss_before / plain)
        assert final_ratios[-1] == pytest.approx(row["final_loss_ratio_train"], rel=rel)
        errors.append(sum(jump.ratio for jump in jumps) / len(jumps))
        assert errors[-1] == pytest.approx(row["mean_relative_error_train"], rel=rel)
    if metric is None:  # its value is that of fresh seeds
        return
    chosen = yaml.safe_load((RESULTS / "best.yaml").read_text())["other_choices"][metric][choice]
    ratio = sorted(final_ratios)[1]
    assert ratio == pytest.approx(chosen["final_loss_ratio"], rel=rel)
    assert {"final_loss_ratio": ratio, "mean_relative_error": sorted(errors)[1]}[metric] == pytest.approx(
        chosen["value"], rel=rel
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
    "sample": 50,
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


def made_up(spec, parameters, **changes):
    """A document that recommends these parameters of a study with this spec."""
    recommendation = dict.fromkeys(("at_equal_steps", "at_equal_time", "time_of_an_epoch", "test_ratio", "overhead"))
    recommendation |= {"parameters": parameters, "trained_with": dict(spec.sections["training"])}
    recommendation |= {"best_plain_training": {}, "plain_training_varied": {}, "smallest_effect": 0.02, "of_cells": 1}
    return {
        "format_version": 2,
        "study": "one",
        "spec_hash": "x",
        "written_by": "test",
        "recommended": "on",
        "answer": ["Yes."],
        "recommendation": recommendation,
        "method": dict(spec.sections["method"]),
        "other_choices": {},
    } | changes


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
    path = write_best_file(tmp_path / "best.yaml", made_up(spec, dict(replicate.parameters)))

    model = nn.Linear(8, 8)
    home = Accelerator.from_best(model, path, optimizer=torch.optim.SGD(model.parameters(), lr=0.05)).options
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
    cell = best.parameters()
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
    content["method"]["rank"] = 2
    parameters = {"m": 4, "method.s": 2, "training.lr": 0.5}
    content["recommendation"] = {"unavailable": "it was a probe"}
    content["other_choices"]["mean_relative_error"]["minimum"]["parameters"] = parameters
    content["chosen"] = LOWEST_ERROR
    spec = spec_from_best(raw, read_best(write_best_file(tmp_path / "best.yaml", content)))
    assert spec.sections["method"]["mode"] == "train"
    assert dict(spec.axes) == {"m": (4,), "s": (2,)}
    assert spec.sections["training"]["lr"] == 0.05
    content["chosen"] = None
    with pytest.raises(UserError, match="the best file of small holds no choice of parameters: it was a probe"):
        spec_from_best(raw, read_best(write_best_file(tmp_path / "best.yaml", content)))


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


def run_elsewhere(home, tmp_path, *options, best=None, **changes):
    """Run the other study of `home` with the best of the first; the printed, and the record."""
    raw, folder = home
    path, out = tmp_path / "other.yaml", tmp_path / "out"
    training = {**raw["training"], "lr": 0.02, **changes.pop("training", {})}
    if "training.lr" in changes.get("axes", {}):
        del training["lr"]
    path.write_text(yaml.safe_dump({**raw, "name": "other", "training": training} | changes))
    best = best or folder / "best.yaml"
    printed = run_command("run", path, "--from-best", best, "--out", out, "--executor", "inline", *options)
    assert printed.status == 0, printed.err
    return printed, open_study(out)


def cells_of(text):
    """The rows of a table that is printed with frames, each a list of its cells."""
    rows = [line.rstrip()[1:-1].split("│") for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in rows]


def test_run_from_best_trains_one_cell_and_compares(home, tmp_path):
    _, folder = home
    printed, record = run_elsewhere(home, tmp_path)
    best, table = read_best(folder / "best.yaml"), record.table()
    assert (record.name, len(table), len(record.baseline.trials)) == ("other-best", 3, 3)
    (result,) = reused(table, record.grid)
    assert (result.at, result.why) == ({}, "")
    assert result.here.parameters == best.parameters()
    ratio = table["final_loss_ratio_train"].median()
    assert result.here.value == ratio
    test, overhead = table["final_loss_ratio_test"].median(), table["overhead"].median()
    assert cells_of(printed.out) == [["all", f"{ratio:.4g}", f"{test:.4g}", f"{overhead:.4g}"]]
    assert "other-best: the parameters of small (recommended: not known)" in printed.out
    *_, there, here = printed.out.splitlines()
    assert there == f"There: {open_study(folder).answer()}"
    assert here == f"Here: {record.answer()}"
    assert there != here
    assert printed.out.splitlines()[0] == "other-best: 3 replicates: 3 finished"
    warned = [line for line in printed.err.splitlines() if line.startswith("Warning")]
    assert warned == ["Warning: training.lr: chosen with 0.05, trained here with 0.02"]


def test_a_best_that_is_off_is_told_before_anything_is_trained(home, tmp_path):
    """Its words may be anybody's: they are text, and so are those of the table."""
    raw, folder = home
    content = yaml.safe_load((folder / "best.yaml").read_text())
    name = "[bold]small[/nothing]"
    content |= {"recommended": "off", "study": name, "answer": ["No, [/] plain training wins.", "More."]}
    path = write_best_file(tmp_path / "best.yaml", content)
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(raw))
    expected = f"Warning: {name} recommends to leave it off. No, [/] plain training wins."
    dry = run_command("run", tmp_path / "other.yaml", "--from-best", path, "--dry-run")
    assert (dry.status, dry.err) == (0, f"{expected}\n")
    silent = write_best_file(tmp_path / "silent.yaml", {**content, "answer": []})
    dry = run_command("run", tmp_path / "other.yaml", "--from-best", silent, "--dry-run")
    assert dry.err == f"Warning: {name} recommends to leave it off.\n"
    printed, record = run_elsewhere(home, tmp_path, best=path, axes={**raw["axes"], "training.lr": [0.02, 0.05]})
    assert printed.err.startswith(f"{expected}\nWarning: training.lr: chosen with 0.05, trained here with 0.02, 0.05\n")
    assert f"the parameters of {name} (recommended: off)" in " ".join(printed.out.split())
    assert "There: No, [/] plain training wins. More.\n" in printed.out
    table = record.table()
    medians = [f"{rows['final_loss_ratio_train'].median():.4g}" for _, rows in table.groupby("training.lr")]
    shown = cells_of(printed.out)
    assert [row[:2] for row in shown] == [["training.lr = 0.02", medians[0]], ["training.lr = 0.05", medians[1]]]
    assert medians[0] != medians[1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"training.lr": 0.02}, ["training.lr: chosen with 0.05, trained here with 0.02"]),
        ({"training.optimizer": "adam"}, ["training.optimizer: chosen with sgd, trained here with adam"]),
        ({"training.batch": 16}, ["training.batch: chosen with full, trained here with 16"]),
        ({"training.epochs": 30, "training.dtype": "float32"}, []),  # which the parameters do not hang on
        (
            {"axes": {"m": [4], "training.lr": [0.05, 0.1]}},
            ["training.lr: chosen with 0.05, trained here with 0.05, 0.1"],
        ),
        ({"axes": {"m": [4], "training.lr": [0.05]}}, []),
    ],
)
def test_a_training_unlike_that_of_the_study_is_told(home, changes, expected):
    raw, folder = home
    axes = changes.get("axes", raw["axes"])
    training = raw["training"] | {key.partition(".")[2]: value for key, value in changes.items() if "." in key}
    if "training.lr" in axes:
        del training["lr"]
    best = read_best(folder / "best.yaml")
    other = spec_from_best({**raw, "axes": axes, "training": training}, best)
    assert differences_in_training(best, other) == expected


def test_a_choice_with_a_rate_of_its_own_is_compared_with_that(home, tmp_path):
    raw, folder = home
    content = yaml.safe_load((folder / "best.yaml").read_text()) | {"chosen": LOWEST_ERROR}
    content["other_choices"]["mean_relative_error"]["minimum"]["parameters"]["training.lr"] = 0.5
    best = read_best(write_best_file(tmp_path / "best.yaml", content))
    assert differences_in_training(best, spec_from_best(raw, best)) == [
        "training.lr: chosen with 0.5, trained here with 0.05"
    ]
    content["evidence"] = None  # a file that was made from a table alone
    best = read_best(write_best_file(tmp_path / "best.yaml", content))
    assert differences_in_training(best, spec_from_best(raw, best)) == []


def test_a_best_that_diverges_elsewhere_is_not_known(home, tmp_path):
    raw, folder = home
    best = read_best(folder / "best.yaml")
    wild = spec_from_best({**raw, "training": {**raw["training"], "lr": 50.0, "epochs": 200}}, best)
    table = pd.DataFrame(
        [{**best.parameters(), "seed": seed, "status": "diverged", "final_loss_ratio_train": math.inf,
          "final_loss_ratio_test": math.inf} for seed in wild.seeds]
    )  # fmt: skip
    (result,) = reused(table, StudyGrid(wild.axes, wild.seeds))
    assert (result.at, result.here) == ({}, None)
    assert result.why.startswith("no cell has a finite final_loss_ratio on all 3 seeds")

    # the second rate diverges, and the first does not
    axes = {**raw["axes"], "training.lr": [0.02, 50.0]}
    printed, record = run_elsewhere(home, tmp_path, axes=axes, training={"epochs": 200})
    assert "3 diverged" in record.progress()
    calm, wild = reused(record.table(), record.grid)
    assert (calm.at, calm.why) == ({"training.lr": 0.02}, "")
    assert (wild.at, wild.here) == ({"training.lr": 50.0}, None)
    first, *others = cells_of(printed.out)
    assert first[:2] == ["training.lr = 0.02", f"{calm.here.value:.4g}"]
    assert others[0][::2] == ["training.lr = 50.0", "-"]
    assert " ".join(row[1] for row in others) == f"not known: {wild.why}"
    assert f"Here: {record.answer()}" in printed.out


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
        (
            ["run", "quick", "--from-best", "{home}/version1.yaml"],
            "format_version must be 2, got 1.*`dmd-study best DIR`",
        ),
        (["run", "quick", "--from-best", "{home}/method.yaml"], "method.name: unknown method 'magic'"),
        (["run", "quick", "--from-best", "{home}/spec.yaml"], "format_version must be 2, got None"),
        (["run", "quick", "--from-best", "{home}/none.yaml"], "best file of small holds no choice of parameters: why"),
    ],
)
def test_bad_input_is_one_message_and_writes_nothing(home, tmp_path, monkeypatch, contents, arguments, message):
    _, folder = home
    content = yaml.safe_load((folder / "best.yaml").read_text())
    write_best_file(folder / "version1.yaml", {**content, "format_version": 1})
    write_best_file(folder / "none.yaml", {**content, "recommendation": {"unavailable": "why"}})
    write_best_file(folder / "method.yaml", {**content, "method": {"name": "magic"}})
    monkeypatch.chdir(tmp_path)
    before = contents(folder)
    status, _, told = run_command(*(argument.replace("{home}", str(folder)) for argument in arguments))
    assert status == 2
    assert re.search(message, told)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == []


def test_best_says_how_to_use_it_and_holds_the_evidence(home):
    raw, folder = home
    status, printed, _ = run_command("best", folder, "--metric", "mean_relative_error", "--rule", "one-standard-error")
    assert status == 0
    assert f'Accelerator.from_best(model, "{folder / "best.yaml"}", optimizer=optimizer)' in printed
    assert f"dmd-study run SPEC --from-best {folder / 'best.yaml'}" in printed
    best = read_best(folder / "best.yaml")
    assert best.chosen.model_dump() == {"metric": "mean_relative_error", "rule": "one-standard-error"}
    assert best.why_chosen == "mean_relative_error, one-standard-error"
    (marked,) = [line for line in printed.splitlines() if line.startswith("* ") and not line.startswith("* is")]
    assert marked.split()[1] == "one-standard-error:"
    cell = ", ".join(f"{axis} = {value}" for axis, value in best.parameters().items())
    assert f" {cell}: mean_relative_error " in marked
    assert best.spec_hash == load_spec(raw).hash()
    assert best.evidence.training["lr"] == 0.05
    assert best.evidence.axes == raw["axes"]
    (trained,) = best.evidence.trained_with
    assert trained["replicates"] == 4 * 3 + 3
    assert trained["torch"] == torch.__version__
    status, printed, _ = run_command("best", folder)
    assert status == 0
    best = read_best(folder / "best.yaml")
    assert (best.chosen, best.recommended) == (None, "not known")
    assert best.parameters() == open_study(folder).recommendation().cell
    cell = ", ".join(f"{axis} = {value}" for axis, value in best.parameters().items())
    assert printed.splitlines()[0] == f"* recommended: not known: {cell}"
    assert "  lowest error per jump (mean_relative_error):" in printed.splitlines()
    assert printed.splitlines()[-1] == str(open_study(folder).answer()) == " ".join(best.answer)


def test_a_document_of_a_table_alone_has_no_evidence(home, tmp_path):
    raw, folder = home
    record = open_study(folder)
    data = record.study_data()
    document = best_document(data, answer(data), spec_hash="b", method=raw["method"])
    best = read_best(write_best_file(tmp_path / "best.yaml", document))
    assert (best.evidence, best.trained_with["lr"]) == (None, 0.05)
