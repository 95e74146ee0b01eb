"""The library of a study's matrix products is settled once, is the same for all packs, and is kept on resume."""

import json
import sqlite3
import subprocess
import sys

import pytest

from study import load_spec, open_study, run, search
from study.errors import SpecError, UserError
from study.execution.eigenvalues import watch_eigenvalues
from study.execution.estimate import timing
from study.execution.offline import export_packs, import_outcomes
from study.planning.cells import plain_trainings
from study.record import _files, _rows
from study.replicates import products_choice
from study.replicates.pack_files import OutcomesFile
from study.replicates.products_choice import ProductsChoice
from study.trainer import main as train_file
from study.training import choose_products as choosing
from study.training import matrix_products

FLOAT32 = {"network.hidden": [6], "training.epochs": 8, "axes.s": [2]}
HAS_NONE = lambda: None  # noqa: E731


@pytest.fixture
def timed(monkeypatch):
    """Let every network be worth timing, and oneDNN win; the list holds the trainings that were timed."""
    shapes = []

    def choose(shape, threads):
        shapes.append(shape)
        return ProductsChoice("onednn", "it won", torch_ms=3.0, onednn_ms=2.0, samples=64)

    monkeypatch.setattr(products_choice, "MIN_STEP_FLOPS", 0)
    monkeypatch.setattr(choosing, "choose_products", choose)
    monkeypatch.setattr("study.trainer.choose_products", choose)
    return shapes


def products_of(folder):
    """Products that the packs of a record were trained with."""
    return {_rows.inspect_pack(path).provenance["products"] for path in _files.packs(folder)}


def forget_choice(folder):
    """Lose the study's choice, as when its database is made anew, or was begun before there was one."""
    with sqlite3.connect(folder / "study.db") as database:
        database.execute("DELETE FROM study_user_attributes WHERE key = 'products'")


def test_small_networks_keep_torch_and_are_not_timed(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "choose_products", None)
    with run(raw(FLOAT32), tmp_path, executor="inline", timing=False) as record:
        assert record.attributes["products"] == {
            "chosen": "torch", "reason": "the networks are too small for oneDNN to pay",
        }  # fmt: skip
        assert record.products == "torch"
    assert products_of(tmp_path) == {"torch"}


def test_all_packs_have_what_was_chosen_also_those_of_later_runs(raw, tmp_path, timed, monkeypatch):
    calls = []
    linear = matrix_products._linear
    monkeypatch.setattr(matrix_products, "_linear", lambda *given: (calls.append(1), linear(*given))[1])
    with run(raw(FLOAT32), tmp_path, executor="inline", timing=False) as record:
        assert record.attributes["products"]["chosen"] == record.products == "onednn"
        assert {row["products"] for row in record.provenance()} == {"onednn"}
    assert len(timed) == 1
    assert calls
    assert products_of(tmp_path) == {"onednn"}
    monkeypatch.setattr(choosing, "choose_products", None)  # it is not chosen again
    count = len(_files.packs(tmp_path))
    # only fresh seeds are missing, then cells and seeds
    for more in ({"confirm": 2}, {"confirm": 2, "seeds": 3, "axes.s": [2, 5]}):
        run(raw({**FLOAT32, **more}), tmp_path, executor="inline", timing=False).close()
        assert len(_files.packs(tmp_path)) > count
        count = len(_files.packs(tmp_path))
        assert products_of(tmp_path) == {"onednn"}


def test_status_says_what_was_chosen_and_why(raw, tmp_path, timed, dmd_study):
    run(raw(FLOAT32), tmp_path, executor="inline", timing=False).close()
    printed = dmd_study("status", tmp_path).out
    assert "matrix products: onednn, which took 2.0 ms for a step of 64 samples, and torch 3.0 ms" in printed


@pytest.mark.parametrize("before", ["onednn", "torch"])
def test_a_lost_choice_is_told_by_the_packs(raw, tmp_path, timed, monkeypatch, before):
    """A record that is older than the choice holds packs that do not name their products: torch made them."""
    if before == "torch":
        monkeypatch.setattr("study.execution.run.settle_products", lambda record, spec, execute: spec)
    run(raw(FLOAT32), tmp_path, executor="inline", timing=False).close()
    monkeypatch.undo()
    forget_choice(tmp_path)
    monkeypatch.setattr(choosing, "choose_products", None)
    monkeypatch.setattr(products_choice, "MIN_STEP_FLOPS", 0)
    run(raw({**FLOAT32, "seeds": 3}), tmp_path, executor="inline", timing=False).close()
    assert products_of(tmp_path) == {before}


def test_a_study_is_not_resumed_where_its_products_are_missing(raw, tmp_path, timed, monkeypatch, dmd_study, contents):
    folder, spec = tmp_path / "out", tmp_path / "small.yaml"
    spec.write_text(json.dumps(raw(FLOAT32)))
    run(spec, folder, executor="inline", timing=False).close()
    before = contents(folder / "packs")
    monkeypatch.setattr(matrix_products, "onednn_product", HAS_NONE)
    refused = dmd_study("run", spec, "--out", folder, "--executor", "inline", "--set", "seeds=3")
    assert refused.status == 2
    assert "was begun with matrix products of oneDNN, which all its packs must have" in refused.err
    assert "begin the study in a new folder" in refused.err
    assert "training.products=torch" in refused.err
    assert contents(folder / "packs") == before
    # what the message proposes
    elsewhere = dmd_study(
        "run",
        spec,
        "--out",
        tmp_path / "new",
        "--executor",
        "inline",
        "--set",
        "training.products=torch",
        "--no-timing",
    )
    assert elsewhere.status == 0
    assert products_of(tmp_path / "new") == {"torch"}
    # nothing is left to train there: nothing needs oneDNN
    run(spec, folder, executor="inline", timing=False).close()


def test_onednn_is_refused_where_there_is_none(raw, tmp_path, monkeypatch, dmd_study):
    spec = tmp_path / "small.yaml"
    spec.write_text(json.dumps(raw({**FLOAT32, "training.products": "onednn"})))
    monkeypatch.setattr(matrix_products, "onednn_product", HAS_NONE)
    refused = dmd_study("run", spec, "--out", tmp_path / "out", "--executor", "inline")
    assert refused.status == 2
    assert "training.products: onednn is not available here" in refused.err
    assert not _files.packs(tmp_path / "out")


@pytest.mark.parametrize("products", ["torch", "onednn"])
def test_what_the_spec_names_is_not_timed(raw, tmp_path, monkeypatch, products):
    monkeypatch.setattr(choosing, "choose_products", None)
    spec = raw({**FLOAT32, "training.products": products})
    with run(spec, tmp_path, executor="inline", timing=False) as record:
        assert "products" not in record.attributes
    assert products_of(tmp_path) == {products}


@pytest.mark.parametrize("key", [{"training.dtype": "float64"}, {"training.precision": "bf16"}])
def test_trainings_that_only_torch_has_products_for_leave_nothing_to_choose(raw, tmp_path, timed, key):
    with run(raw({**FLOAT32, **key}), tmp_path, executor="inline", timing=False) as record:
        assert "products" not in record.attributes
    assert products_of(tmp_path) == {"torch"}
    assert not timed


def test_a_loss_of_the_problems_own_keeps_torch(raw, tmp_path, timed, monkeypatch):
    """It may differentiate the network in ways that layers of oneDNN do not know."""
    (tmp_path / "own_loss.py").write_text(
        "from problems.quadratic import Quadratic\n"
        "class OwnLoss(Quadratic):\n"
        "    def loss(self, network, inputs, targets):\n"
        "        return (network(inputs) - targets).square().mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with run(
        raw({**FLOAT32, "problem": {"name": "own_loss:OwnLoss"}}), tmp_path / "out", executor="inline", timing=False
    ) as record:
        assert "products" not in record.attributes
    assert products_of(tmp_path / "out") == {"torch"}
    assert not timed


def test_of_mixed_trainings_those_that_can_have_it(raw, tmp_path, timed):
    spec = raw({**FLOAT32, "axes.training.dtype": ["float32", "float64"]})
    run(spec, tmp_path, executor="inline", timing=False).close()
    assert products_of(tmp_path) == {"torch", "onednn"}
    assert [shape.recipe.dtype for shape in timed] == ["float32"]


def test_a_search_settles_them_too(raw, tmp_path, timed):
    spec = raw({**FLOAT32, "design": "search"})
    search(spec, tmp_path, trials=2, sampler="random", executor="inline", timing=False).close()
    assert products_of(tmp_path) == {"onednn"}
    search(spec, tmp_path, trials=2, sampler="random", executor="inline", timing=False).close()
    assert len(timed) == 1


def test_the_estimate_times_steps_as_they_will_be(small, timed):
    assert ("products", "onednn") in timing(small(FLOAT32))
    assert "products" not in dict(timing(small({**FLOAT32, "training.dtype": "float64"})))


def test_eigenvalues_are_those_of_the_studys_own_products(small, monkeypatch):
    calls = []
    linear = matrix_products._linear
    monkeypatch.setattr(matrix_products, "_linear", lambda *given: (calls.append(1), linear(*given))[1])
    cell = {"m": 4, "s": 2, "tolerance": 1e-6}
    spec = small(FLOAT32).to_dict()
    watch_eigenvalues(spec, cell, 0, "torch")
    assert not calls
    assert len(watch_eigenvalues(spec, cell, 0, "onednn"))
    assert calls
    monkeypatch.setattr(matrix_products, "onednn_product", HAS_NONE)  # a reading command draws it nevertheless
    assert len(watch_eigenvalues(spec, cell, 0, "onednn"))
    assert len(watch_eigenvalues(small({**FLOAT32, "training.products": "onednn"}).to_dict(), cell, 0))


# files of packs


@pytest.fixture
def files(raw, tmp_path):
    packs, out = tmp_path / "packs.npz", tmp_path / "out.npz"
    export_packs(raw({**FLOAT32, "resources": {"pack": 2}}), packs)
    return packs, out


def test_the_trainer_settles_what_a_file_leaves_open(files, tmp_path, timed):
    packs, out = files
    assert train_file([str(packs), "--out", str(out), "--time-limit", "1e-9"]) == 124
    assert train_file([str(packs), "--out", str(out)]) == 0
    file = OutcomesFile.read(out)
    assert file.products["chosen"] == "onednn"
    assert {pack.products for pack, _, _ in file.ended.values()} == {"onednn"}
    record, spec = import_outcomes(out, tmp_path / "study")
    assert record.attributes["products"]["chosen"] == record.products == "onednn"
    assert products_of(record.folder) == {"onednn"}
    record.close()
    # what the study lacks is exported as its packs were trained
    longer = load_spec({**spec.to_dict(), "seeds": 3})
    later = export_packs(longer, tmp_path / "more.npz", done=tmp_path / "study")
    assert {pack.products for pack in later.packs} == {"onednn"}


def test_the_trainer_goes_on_as_it_began(files, timed, monkeypatch):
    packs, out = files
    train_file([str(packs), "--out", str(out)])
    ended = OutcomesFile.read(out)
    first = dict(list(ended.ended.items())[:1])
    OutcomesFile(ended.study, first, ended.products).write(out)
    monkeypatch.setattr("study.trainer.choose_products", None)
    assert train_file([str(packs), "--out", str(out)]) == 0
    assert {pack.products for pack, _, _ in OutcomesFile.read(out).ended.values()} == {"onednn"}


def test_the_trainer_makes_no_choice_for_outcomes_that_were_begun_without_one(files, timed):
    packs, out = files
    train_file([str(packs), "--out", str(out)])
    ended = OutcomesFile.read(out)
    OutcomesFile(ended.study, dict(list(ended.ended.items())[:1])).write(out)
    timed.clear()
    assert train_file([str(packs), "--out", str(out)]) == 0
    assert timed == []
    later = list(OutcomesFile.read(out).ended.values())[1:]
    assert {pack.products for pack, _, _ in later} == {"torch"}


def test_the_trainer_refuses_what_it_cannot_go_on_with(files, timed, monkeypatch, capsys):
    packs, out = files
    train_file([str(packs), "--out", str(out)])
    monkeypatch.setattr("study.trainer.has_onednn", lambda: False)
    assert train_file([str(packs), "--out", str(out)]) == 2
    assert "must train with matrix products of oneDNN, but torch has none here" in capsys.readouterr().err


def test_outcomes_with_other_products_are_not_mixed_in(raw, files, tmp_path, timed):
    packs, out = files
    train_file([str(packs), "--out", str(out)])
    folder = tmp_path / "study"
    run(raw({**FLOAT32, "seeds": 1}), folder, executor="inline", timing=False).close()
    forget_choice(folder)
    for path in _files.packs(folder):
        path.unlink()
    with open_study(folder) as record:
        assert record.products == "torch"  # of packs that cannot be read
    with pytest.raises(UserError, match=r"was trained with matrix products of onednn, but .* has those of torch"):
        import_outcomes(out, folder)


# mistakes in a spec


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training.dtype": "float64"}, "training.dtype is float64"),
        ({"training.precision": "tf32"}, "training.precision is tf32"),
        ({"axes.training.precision": ["full", "bf16"]}, "training.precision is bf16"),
        ({"baseline": {"training.dtype": ["float64"]}}, "training.dtype is float64"),
        ({"resources": {"gpu": 0.5}}, "resources.gpu is 0.5"),
        ({"problem": {"name": "xor"}, "network": None}, "Xor brings its own network and Xor brings its own loss"),
    ],
)
def test_onednn_is_a_mistake_where_it_has_no_products(raw, changes, reason):
    with pytest.raises(SpecError) as raised:
        load_spec(raw({**changes, "training.products": "onednn"}))
    assert f"and full precision on the CPU, but {reason}; use torch or auto" in str(raised.value)
    load_spec(raw({**changes, "training.products": "torch"}))
    spec = load_spec(raw(changes))
    assert any(each.recipe.products == "torch" for each in plain_trainings(spec))


@pytest.mark.parametrize("where", ["axes", "baseline"])
def test_they_do_not_vary_within_a_study(raw, where):
    with pytest.raises(SpecError, match=f"{where}.training.products: unknown key"):
        load_spec(raw({f"{where}.training.products": ["torch", "onednn"]}))


# on Ray

ON_RAY = """
import os
import ray
from study import load_spec, run
from study.execution.deadline import Deadline
from study.execution.ray_tune import on_ray
from study.replicates import products_choice

products_choice.MIN_STEP_FLOPS = 0
spec = load_spec("small.yaml")
with on_ray(spec, Deadline()) as execute:
    print("started here:", execute.call(lambda: os.getpid()) == os.getpid())
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=40, configure_logging=False)
with on_ray(spec, Deadline()) as execute:
    print("in a worker:", execute.call(lambda: os.getpid()) != os.getpid())
print("timed:", run(spec, "out", timing=False).attributes["products"]["torch_ms"] > 0)
ray.shutdown()
"""


@pytest.mark.slow
def test_products_are_timed_where_packs_train(raw, tmp_path, environment):
    (tmp_path / "small.yaml").write_text(json.dumps(raw({**FLOAT32, "seeds": 1})))
    done = subprocess.run(
        [sys.executable, "-c", ON_RAY],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["started here: True", "in a worker: True", "timed: True"]
