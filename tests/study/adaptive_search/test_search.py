"""Adaptive search: what is asked for, pruned, recorded and gone on with."""

import itertools
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml

from study import open_study, run
from study.adaptive_search import SAMPLERS, search
from study.adaptive_search._ask import OPTUNA, Asker
from study.adaptive_search._history import CAP, MIN_REPLICATES_TO_PRUNE, History
from study.adaptive_search._refine import Refiner
from study.adaptive_search._space import Space
from study.errors import SpecError, UserError
from study.planning.cells import cells, replicates
from study.planning.tasks import make_tasks
from study.replicates.metrics import value_so_far
from study.replicates.replicate import Pack, Stop
from study.training.packs import train_pack

AXES = {"m": {"from": 3, "to": 8}, "s": [2, 5, 9], "tolerance": {"from": 1e-8, "to": 1e-2, "log": True}}


@pytest.fixture
def searched(raw, tmp_path):
    """Search the small study in this process, into a folder; returns its record, opened afresh."""

    def go(trials, changes=None, folder=None, **options):
        folder = folder or tmp_path / "out"
        spec = raw({"axes": AXES, "design": "search", **(changes or {})})
        search(spec, folder, trials=trials, executor="inline", **options)
        return open_study(folder)

    return go


@pytest.fixture
def trained(monkeypatch):
    """Names of the replicates that are trained from now on."""
    import study.training.packs

    names = []
    train = study.training.packs.train_pack

    def noted(pack, *arguments, **options):
        names.extend((own.extrapolation is None, str(own.parameters), own.seed) for own in pack.replicates)
        return train(pack, *arguments, **options)

    monkeypatch.setattr(study.training.packs, "train_pack", noted)
    return names


def packs(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "packs").glob("*.parquet")}


# the loop


def test_a_search_trains_every_cell_that_is_asked_for_once_and_goes_on_where_it_ended(searched, tmp_path, trained):
    record = searched(6)
    table = record.table()
    assert len(record.grid.cells) == 6
    assert len(table) == 12
    assert sorted(set(table["seed"])) == [0, 1]
    assert table["tolerance"].between(1e-8, 1e-2).all()
    assert set(table["m"]) <= set(range(3, 9))
    assert set(table["s"]) <= {2, 5, 9}
    assert record.table()["final_loss_ratio_train"].notna().any()  # the baselines are there
    assert len(set(trained)) == len(trained) == 12 + 2
    before = packs(tmp_path / "out")
    trained.clear()

    searched(6)
    assert trained == []
    assert len(searched(8).grid.cells) == 8
    assert len(trained) == 4
    assert {name: at for name, at in packs(tmp_path / "out").items() if name in before} == before


def test_a_search_that_is_interrupted_goes_on_with_what_it_had_begun(searched, tmp_path, monkeypatch):
    import study.training.packs

    left, train = [5], study.training.packs.train_pack

    def interrupted(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("study.training.packs.train_pack", interrupted)
        with pytest.raises(KeyboardInterrupt):
            searched(8)
    # a baseline, a cell and a half, each replicate a pack
    begun = open_study(tmp_path / "out")
    assert len(begun.done()) == 5
    half = [cell for cell in begun.grid.cells if (begun.table()["tolerance"] == cell["tolerance"]).sum() == 1]
    assert len(half) == 1
    before = packs(tmp_path / "out")
    record = searched(8)
    assert len(record.grid.cells) == 8
    assert len(record.table()) == 16
    assert {name: at for name, at in packs(tmp_path / "out").items() if name in before} == before


def test_a_pack_is_filled_with_as_many_cells_as_it_takes(searched, packs_trained) -> None:
    """Samplers that learn nothing fill it; the others are asked for an eighth of the search at most."""
    changes = {"resources": {"pack": 10}, "seeds": 2}
    searched(11, changes, sampler="random")
    # two packs for five cells and the baselines, then a full one
    assert [cells_in(pack) for pack in packs_trained][-2:] == [5, 1]
    assert max(len(pack.replicates) for pack in packs_trained) <= 10
    assert sum(len(pack.replicates) for pack in packs_trained) == 11 * 2 + 2
    packs_trained.clear()
    searched(35, changes, sampler="tpe")
    assert [cells_in(pack) for pack in packs_trained] == [4] * 6
    packs_trained.clear()
    searched(43, changes, sampler="refine")
    assert cells_in(packs_trained[0]) == 5


@pytest.mark.parametrize(("trials", "expected"), [(7, [1] * 7), (16, [2] * 8)])
def test_a_short_search_learns_between_its_packs(searched, packs_trained, trials, expected) -> None:
    searched(trials, {"resources": {"pack": 32}}, sampler="tpe", prune=False)
    assert [cells_in(pack) for pack in packs_trained] == expected


def test_the_same_search_asks_for_the_same_cells(searched, tmp_path) -> None:
    """And another number of trials asks for others, since it learns at other times."""

    def asked(trials, place):
        record = searched(trials, {"resources": {"pack": 32}}, tmp_path / place, sampler="tpe", sampler_seed=3)
        return sorted(map(str, record.grid.cells))

    first = asked(32, "first")
    assert asked(32, "second") == first
    assert not set(asked(16, "shorter")) <= set(first)


@pytest.fixture
def packs_trained(monkeypatch):
    """Packs that are trained from now on."""
    import study.training.packs

    seen: list[Pack] = []
    train = study.training.packs.train_pack
    monkeypatch.setattr(
        study.training.packs, "train_pack", lambda pack, *others: seen.append(pack) or train(pack, *others)
    )
    return seen


def cells_in(pack) -> int:
    return len({str(replicate.parameters) for replicate in pack.replicates if not replicate.is_baseline})


def test_a_grid_is_what_a_search_begins_with_and_a_run_trains_what_it_lacks(raw, searched, tmp_path, trained):
    grid = {"axes": {"m": [4, 6], "s": [2, 5], "tolerance": [1e-6]}}
    run(raw(grid), tmp_path / "out", executor="inline")
    trained.clear()
    record = searched(7, prune=False)
    assert len(trained) == 2 * (7 - 4)
    assert {(4, 2), (4, 5), (6, 2), (6, 5)} <= {(cell["m"], cell["s"]) for cell in record.grid.cells}
    trained.clear()
    run(raw(grid), tmp_path / "out", executor="inline")
    assert trained == []
    assert len(open_study(tmp_path / "out").table()) == 8  # of the grid alone


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_searches(searched, sampler):
    axes = {"m": [3, 5, 8], "s": [2, 9], "tolerance": [1e-6]}
    start = 2 if sampler == "refine" else 0
    record = searched(3, {"axes": axes, "seeds": 1}, sampler="random") if start else None
    record = searched(5, {"axes": axes, "seeds": 1}, sampler=sampler)
    assert len(record.grid.cells) == 5
    assert set(record.table()["status"]) <= {"finished", "pruned"}


def test_learning_rates_are_searched_each_with_its_own_baselines(searched):
    axes = {"m": [4, 6], "s": [2, 5], "tolerance": [1e-6], "training.lr": {"from": 1e-3, "to": 0.1, "log": True}}
    record = searched(4, {"axes": axes, "training.lr": None}, metric="final_loss_ratio", prune=False)
    table = record.table()
    rates = set(table["training.lr"])
    assert len(rates) > 1
    assert len(record.baseline.trials) == 2 * len(rates)
    assert table["final_loss_ratio_train"].notna().all()


# pruning


def test_hopeless_replicates_are_pruned_with_their_epoch_and_a_run_trains_them(raw, searched, tmp_path):
    axes = {"m": {"from": 3, "to": 7}, "s": [1, 5, 30], "tolerance": [1e-6]}
    record = searched(12, {"axes": axes, "seeds": 1}, sampler="random")
    table = record.table()
    pruned = table[table["status"] == "pruned"]
    assert 0 < len(pruned) < len(table) - MIN_REPLICATES_TO_PRUNE
    assert set(pruned["epoch"]) <= {6, 12}  # a quarter and a half of 24
    assert pruned["mean_relative_error_train"].isna().all()
    assert pruned["final_loss_ratio_train"].isna().all()
    trials = [t for t in record.study.trials if t.user_attrs["status"] == "pruned"]
    assert len(trials) == len(pruned)
    assert all(t.state == optuna.trial.TrialState.FAIL and t.user_attrs["epoch"] in (6, 12) for t in trials)

    whole = {"axes": {**axes, "m": list(range(3, 8))}, "seeds": 1}
    record = run(raw(whole), tmp_path / "out", executor="inline")
    again = open_study(tmp_path / "out").table()
    assert set(again["status"]) == {"finished"}
    assert len(again) == 15
    assert record.statuses().to_dict() == {"finished": 15}


def test_what_is_pruned_was_worse_than_the_median_of_those_before_it(searched):
    """Recomputed from the record: every pruned replicate at its epoch, none of the others at an epoch it passed."""
    axes = {"m": {"from": 3, "to": 8}, "s": [1, 2, 5, 9, 30], "tolerance": [1e-6]}
    record = searched(18, {"axes": axes, "seeds": 1}, sampler="random")
    rows = {(row["cell"]["m"], row["cell"]["s"]): row for row in record.details() if row["kind"] == "cell"}
    earlier, checked = [], 0
    for cell in record.grid.cells:  # in the order that they ended, one after the other
        row = rows[cell["m"], cell["s"]]
        for rung in (6, 12):
            known = [value for other in earlier if not math.isnan(value := so_far(other, rung))]
            if len(known) < MIN_REPLICATES_TO_PRUNE or math.isnan(so_far(row, rung)):
                continue
            checked += 1
            hopeless = so_far(row, rung) > np.median(known)
            assert hopeless == (row["status"] == "pruned" and row["epoch"] == rung)
        earlier.append(row)
    assert checked > 10


def so_far(row, rung):
    """Mean of the ratios of the jumps until an epoch, by hand; nan where it did not get there, or had none by then."""
    ratios = [
        after / before
        for epoch, before, after in zip(
            row["jump_epoch"], row["jump_train_before"], row["jump_train_after"], strict=True
        )
        if epoch <= rung
    ]
    return sum(ratios) / len(ratios) if ratios and row["epoch"] >= rung else math.nan


def test_a_replicate_that_is_pruned_leaves_the_others_of_its_stack_alone(small):
    from dataclasses import replace

    spec = small({"axes.m": [4], "axes.s": [2, 5], "training.dtype": "float64"})
    several = replicates(spec)
    tasks = make_tasks(spec, several)
    free = train_pack(Pack("a", tuple(several), 1, "cpu"), tasks, {})
    bound = float(np.interp(9, free[1].losses.train_epoch, free[1].losses.train))
    stops = (Stop(10, "final_loss", bound * 2), Stop(16, "final_loss", 0.0))
    stopped = [replace(several[0], stops=stops[:1]), replace(several[1], stops=stops), *several[2:]]
    found = train_pack(Pack("a", tuple(stopped), 1, "cpu"), tasks, {})
    assert [own.status for own in found] == ["finished", "pruned", "finished", "finished"]
    assert (found[1].epoch, found[1].steps, len(found[1].jumps.epoch)) == (16, 16, 4)
    assert found[1].flops.training == free[1].flops.training * 16 / 24
    np.testing.assert_array_equal(found[1].losses.train, free[1].losses.train[:16])
    for one, other in zip(found, free, strict=True):
        if one.status == "finished":
            # float64; a product of three instead of four may be summed in another order
            np.testing.assert_allclose(one.losses.train, other.losses.train, rtol=1e-12)


def test_value_so_far():
    curve = ([0, 1, 2, 3], [8.0, 4.0, 2.0, 1.0])
    jumps = ([2, 4, 6], [2.0, 1.0, math.nan], [1.0, 3.0, math.nan])
    assert value_so_far("final_loss_ratio", 2, *curve, *jumps) == 2.0
    assert value_so_far("mean_relative_error", 1, *curve, *jumps) is not None
    assert math.isnan(value_so_far("mean_relative_error", 1, *curve, *jumps))
    assert value_so_far("mean_relative_error", 3, *curve, *jumps) == 0.5
    assert value_so_far("mean_relative_error", 9, *curve, *jumps) == (0.5 + 3) / 2  # the last was rejected unseen
    assert value_so_far("worst_relative_error", 9, *curve, *jumps) == 3.0


# what the sampler is told


def row(kind="cell", m=4, seed=0, status="finished", error=0.5, loss=1.0, overhead=1.1, at=10, **cell):
    return {
        "kind": kind, "cell": {"m": m, **cell} if kind == "cell" else cell, "seed": seed, "status": status, "epoch": 10,
        "mean_relative_error_train": error, "final_loss_train": loss, "overhead": overhead,
        "final_epoch": at, "curve_train_epoch": [0, 5, 10], "curve_train": [2.0, 2 * loss, loss],
        "jump_epoch": [4], "jump_train_before": [1.0], "jump_train_after": [error],
    }  # fmt: skip


def test_a_cell_is_its_median_seed_and_what_did_not_finish_is_as_bad_as_can_be():
    history = History("mean_relative_error", (0, 1, 2), [5])
    for seed, error in enumerate((0.5, 0.9, 0.7)):
        history.add(row(seed=seed, error=error, overhead=1.1 + seed / 10))
        history.add(row(m=5, seed=seed, error=error, status=("finished", "diverged", "pruned")[seed]))
        history.add(row(m=6, seed=seed, error=error, status=("finished", "finished", "failed")[seed]))
        history.add(row(m=7, seed=seed, error=1e9))
    assert history.values({"m": 4}) == (pytest.approx(math.log(0.7)), pytest.approx(1.2))
    assert history.values({"m": 5})[0] == history.values({"m": 7})[0] == math.log(CAP)
    assert history.values({"m": 6}) is None
    assert history.ended({"m": 4}, compared=False)
    assert not history.ended({"m": 8}, compared=False)


def test_a_loss_is_compared_with_the_baseline_of_its_own_training():
    history = History("final_loss_ratio", (0,), [5])
    rate = {"training.lr": 0.1}
    history.add(row(loss=1.0, **rate))
    assert history.ended({"m": 4, **rate}, compared=False)
    assert not history.ended({"m": 4, **rate}, compared=True)
    history.add(row("baseline", loss=4.0, **rate))
    history.add(row("baseline", loss=100.0, **{"training.lr": 0.2}))
    assert history.ended({"m": 4, **rate}, compared=True)
    assert history.values({"m": 4, **rate})[0] == pytest.approx(math.log(1 / 4))
    history.add(row("baseline", loss=math.nan, status="diverged", **rate))
    assert history.values({"m": 4, **rate}) is None


def test_a_loss_is_compared_with_the_baseline_after_as_many_epochs():
    history = History("final_loss_ratio", (0,), [5])
    history.add(row("baseline", loss=4.0) | {"curve_train_epoch": [0, 5, 8, 10], "curve_train": [9.0, 8.0, 6.0, 4.0]})
    for m, at in ((4, 10), (5, 8), (6, 9)):
        history.add(row(m=m, loss=1.0, at=at))
    losses = [math.exp(-history.values({"m": m})[0]) for m in (4, 5, 6)]
    assert losses == pytest.approx([4, 6, math.sqrt(4 * 6)], rel=1e-12)  # halfway, on a line of the logarithm
    history.add(row("baseline", loss=0.0))
    assert history.values({"m": 5}) is None  # nothing can be compared with zero


def test_a_search_is_told_the_ratios_of_the_table(searched, monkeypatch):
    told = {}
    tell = Asker.tell
    monkeypatch.setattr(
        Asker, "tell", lambda asker, cell, values: told.update({str(cell): values[0]}) or tell(asker, cell, values)
    )
    axes = {"m": [5, 7, 9, 12], "s": [2, 9], "tolerance": [1e-6]}  # windows that divide the 24 epochs, or do not
    record = searched(6, {"axes": axes, "seeds": 1, "training.epochs": 25}, metric="final_loss_ratio", prune=False)
    table = record.table()
    assert len(set(table["final_epoch"])) > 2
    ratios = {str({axis: row[axis] for axis in axes}): row["final_loss_ratio_train"] for _, row in table.iterrows()}
    assert told == {cell: pytest.approx(math.log(ratio), rel=1e-12) for cell, ratio in ratios.items()}


def test_stops_are_medians_of_the_same_seed_and_training():
    history = History("mean_relative_error", (0, 1), [5, 8])
    for m in range(MIN_REPLICATES_TO_PRUNE):
        history.add(row(m=m, error=m / 10))
        history.add(row(m=m, error=0.9, seed=1) if m else row(m=m, error=0.9, seed=1, status="failed"))
    assert history.stops({"m": 9}, 0) == (Stop(5, "mean_relative_error", 0.2), Stop(8, "mean_relative_error", 0.2))
    assert history.stops({"m": 9}, 1) == ()  # one too few
    assert history.stops({"m": 9, "training.lr": 0.1}, 0) == ()


# which cells


@pytest.mark.parametrize("sampler", OPTUNA)
def test_a_sampler_asks_for_every_cell_once_and_then_for_none(small, sampler):
    spec = small({"axes": {"m": [8, 4], "s": [2, 40], "tolerance": [1e-6], "group": ["layer", "model"]}})
    asker, found = Asker(Space(spec), sampler, seed=3), []
    while (cell := asker.ask()) is not None:
        found.append(tuple(cell.values()))
        asker.tell(cell, (math.log(abs(cell["m"] - 6) + 0.1), 1 + 1 / cell["m"]))
    assert sorted(found) == sorted(tuple(cell.values()) for cell in cells(spec))


def test_a_model_finds_a_valley_sooner_than_chance(small):
    """A bowl with its bottom at (17, 63) of 39 x 99 cells: 40 asked for, four samplers' seeds, against random ones."""
    spec = small({"design": "search", "training.epochs": 200,
                  "axes": {"m": {"from": 2, "to": 40}, "s": {"from": 2, "to": 100}, "tolerance": [1e-6]}})  # fmt: skip
    lowest = {}
    for name, seed in itertools.product(("tpe", "random"), range(4)):
        asker, values = Asker(Space(spec), name, seed), []
        for _ in range(40):
            cell = asker.ask()
            values.append(((cell["m"] - 17) / 39) ** 2 + ((cell["s"] - 63) / 99) ** 2)
            asker.tell(cell, (values[-1], 1.0))
        lowest.setdefault(name, []).append(min(values))
    assert np.median(lowest["tpe"]) < np.median(lowest["random"]) / 2


def test_what_is_asked_for_does_not_depend_on_hash_or_time_but_on_the_seed(small):
    spec = small({"axes": AXES, "design": "search"})
    one, two, other = (Asker(Space(spec), "tpe", seed).ask() for seed in (1, 1, 2))
    assert one == two != other


def test_cells_are_parameters_and_back(small):
    axes = {"m": {"from": 2, "to": 20, "log": True}, "s": [9, 2, 5], "group": ["layer", "node"], "form": ["state"],
            "tolerance": {"from": 1e-8, "to": 1e-2, "log": True}}  # fmt: skip
    space = Space(small({"axes": axes, "design": "search"}))
    assert math.isinf(space.size)
    generator = np.random.default_rng(0)
    for _ in range(50):
        parameters = space.random(generator)
        cell = space.cell(parameters)
        assert list(cell) == list(axes)
        assert 2 <= cell["m"] <= 20
        assert float(f"{cell['tolerance']:.6g}") == cell["tolerance"]
        assert space.cell(space.parameters(cell)) == cell
    assert space.parameters({**cell, "s": 7}) is None
    ranks = [space.parameters({**cell, "s": s})["s"] for s in (2, 5, 9)]
    assert ranks == [0, 1, 2]  # by size, not as written


def test_refinement_looks_at_the_steepest_place_and_at_the_optimum_by_turns(small):
    spec = small({"axes": {"s": [1, 9, 17, 25], "m": [4], "tolerance": [1e-6, 1e-4]}})
    refiner = Refiner(spec)
    values = {1: 0.0, 9: -1.0, 17: 0.5, 25: 0.6}
    for cell in cells(spec):
        refiner.tell(cell, (values[cell["s"]] + (0.1 if cell["tolerance"] == 1e-4 else 0), 1.0))
    asked = [refiner.ask() for _ in range(4)]
    assert asked[0] == {"s": 13, "m": 4, "tolerance": 1e-6}  # between -1 and 0.5
    assert asked[1]["tolerance"] == 1e-5  # half of a logarithmic axis, at the lowest
    assert asked[1]["s"] == 9
    assert asked[2] == {"s": 13, "m": 4, "tolerance": 1e-4}
    assert asked[3]["s"] == 5
    refiner.tell(asked[0], (-2.0, 1.0))
    assert refiner.ask() == {"s": 15, "m": 4, "tolerance": 1e-6}  # 13 to 17 is the steepest now


def test_refinement_ends_where_nothing_lies_between(small):
    spec = small({"axes": {"m": [4, 6], "s": [2, 3], "tolerance": [1e-6]}})
    refiner = Refiner(spec)
    for cell in cells(spec):
        refiner.tell(cell, (float(cell["m"]), 1.0))
    asked = list(iter(refiner.ask, None))
    assert sorted((cell["m"], cell["s"]) for cell in asked) == [(5, 2), (5, 3)]


def test_a_refined_grid_is_in_the_table(raw, searched, tmp_path):
    axes = {"m": [4, 8], "s": [2, 10], "tolerance": [1e-6]}
    run(raw({"axes": axes, "seeds": 1}), tmp_path / "out", executor="inline")
    record = searched(7, {"axes": axes, "seeds": 1}, sampler="refine", prune=False)
    table = record.table()
    between = table[~(table["m"].isin([4, 8]) & table["s"].isin([2, 10]))]
    assert len(between) == 3
    assert (between["m"].between(4, 8) & between["s"].between(2, 10)).all()


# bad input


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"sampler": "magic"}, "sampler must be one of tpe, gp, qmc, random, nsga2, refine; got 'magic'"),
        ({}, {"metric": "overhead"}, "metric must be one of mean_relative_error, .*; got 'overhead'"),
        ({}, {"trials": 0}, "trials must be at least 1, got 0"),
        ({"method.mode": "probe"}, {}, "a probe judges all cells along one training"),
        ({"axes": {"m": [4], "s": [2], "tolerance": [1e-6]}}, {}, "a search must have several cells, but every"),
        (
            {"axes.training.lr": [0.1, 0.2], "training.lr": None},
            {},
            "these axes vary: training.lr; use --metric final",
        ),
        ({"design": "grid", "axes": {"m": [4, 5], "s": [2], "tolerance": [1e-6]}}, {}, "design must be search"),
        ({}, {"executor": "slurm"}, "executor must be ray or inline"),
    ],
)
def test_a_search_that_cannot_be_says_why(raw, tmp_path, changes, options, message):
    spec = raw({"axes": AXES, "design": "search", **changes})
    with pytest.raises(UserError, match=message):
        search(spec, tmp_path / "out", **{"trials": 3, "executor": "inline", **options})


def test_a_grid_is_run_and_a_range_is_searched(raw, tmp_path):
    with pytest.raises(SpecError, match="a range has no values to run through"):
        run(raw({"axes": AXES}), tmp_path / "out", executor="inline")
    with pytest.raises(UserError, match="has design: search, which has no grid"):
        run(raw({"axes": AXES, "design": "search"}), tmp_path / "out", executor="inline")
    assert not (tmp_path / "out").exists()


# on Ray, and by the command


def command(spec, folder, trials, *more):
    arguments = ["search", spec, "--trials", trials, "--out", folder, *more]
    return [sys.executable, "-m", "study.cli", *map(str, arguments)]


@pytest.mark.slow
def test_kill_9_of_a_search_on_ray_loses_no_recorded_replicate_and_the_next_goes_on(
    raw, tmp_path: Path, environment: dict[str, str]
) -> None:
    spec, folder = tmp_path / "spec.yaml", tmp_path / "out"
    spec.write_text(yaml.safe_dump(raw({"axes": AXES, "training.epochs": 600, "training.lr": 0.01})))
    process = subprocess.Popen(
        command(spec, folder, 12), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        deadline_s = time.monotonic() + 240
        while len(packs(folder)) < 7:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline_s, "the search did not get going"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = packs(folder)
    recorded = set(open_study(folder).done())
    done = subprocess.run(
        command(spec, folder, 12), capture_output=True, text=True, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    record = open_study(folder)
    assert recorded <= set(record.done())
    assert {name: at for name, at in packs(folder).items() if name in before} == before
    assert len(record.grid.cells) == 12
    assert len(record.study.trials) == len(record.table()) == 24
    assert "Lowest mean_relative_error" in done.stdout
    assert (folder / "best.yaml").exists()


@pytest.mark.slow
def test_a_time_limit_ends_a_search_with_its_own_status(raw, tmp_path: Path, environment: dict[str, str]) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(raw({"axes": AXES, "training.epochs": 3000, "training.lr": 0.01})))
    done = subprocess.run(
        command(spec, tmp_path / "out", 500, "--executor", "inline", "--time-limit", "8s"),
        capture_output=True, text=True, env=environment, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 124, done.stderr
    assert "of 500 cells; run the same command again" in done.stderr
