"""Whatever dies, `run` again trains exactly what the record lacks: real processes, really killed."""

import os

import pandas as pd
import pytest

from tests.faults import _faults
from tests.faults._nodes import Nodes
from tests.faults._sweep import Sweep

pytestmark = pytest.mark.slow
long = pytest.mark.long


@pytest.fixture
def nodes():
    """A cluster of one node with two CPUs; a test may add others."""
    started = Nodes(head_cpus=2)
    yield started
    started.stop()


@pytest.fixture
def sweep(nodes, tmp_path):
    """Make a sweep on the cluster; ended with the test."""
    made = []

    def make(cells, seconds, pack, **rule):
        options = ("--address", nodes.address)
        made.append(Sweep(tmp_path, cells, seconds, pack, nodes.environment, options, rule))
        return made[0]

    yield make
    for each in made:
        each.stop()


def check_whole(sweep, pack):
    """Every replicate is recorded once; with packs of one, with the numbers of an undisturbed run."""
    assert sweep.recorded() == set(range(sweep.cells))
    assert sweep.recorded_twice() == {}
    undisturbed = sweep.undisturbed()
    found = sweep.comparable()
    if pack == 1:
        pd.testing.assert_frame_equal(found, undisturbed, check_exact=True)
    else:
        keys = ["m", "s", "number", "seed", "status"]
        pd.testing.assert_frame_equal(found[keys], undisturbed[keys])


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("pack", "kills", "cells"), [(1, 20, 160), pytest.param(5, 6, 80, marks=long)])
def test_a_driver_killed_again_and_again_loses_nothing_and_trains_nothing_twice(sweep, pack, kills, cells):
    slow = sweep(cells=cells, seconds=0.5, pack=pack)
    known: dict[int, tuple[str, str, float]] = {}

    def check():
        rows = slow.rows()
        assert {number: rows[number] for number in known} == known  # the very same: not trained again
        known.update(rows)

    result = _faults.kill_driver(slow, kills, seed=pack, after_each=check)
    assert result.injected == kills
    check()
    assert result.lost == 0
    # a pack that had ended, and was on its way to the record when the driver died, is trained again
    assert result.trained_twice <= kills * 2 * pack
    check_whole(slow, pack)


@pytest.mark.parametrize("pack", [1, pytest.param(5, marks=long)])
def test_a_worker_that_is_killed_is_replaced(sweep, pack):
    slow = sweep(cells=40, seconds=1.0, pack=pack)
    result = _faults.kill_workers(slow, times=2, seed=pack)
    assert (result.injected, result.lost) == (2, 0)
    assert 1 <= result.begun_again <= 2 * pack
    assert result.trained_twice <= 2 * (pack - 1)  # of a pack that is lost, those that had ended are lost too
    check_whole(slow, pack)


@pytest.mark.parametrize(("kind", "pack"), [pytest.param("raylet killed", 1, marks=long), ("node removed", 4)])
def test_a_node_that_is_lost_in_mid_pack_is_done_without(tmp_path, kind, pack):
    nodes = Nodes(head_cpus=0)
    slow = None
    try:
        lost, _ = nodes.add(), nodes.add()
        slow = Sweep(tmp_path, 50, 1.0, pack, nodes.environment, ("--address", nodes.address, "--nodes", "3"))
        result = _faults.lose_node(slow, nodes, lost, kind)
    finally:
        if slow is not None:
            slow.stop()
        nodes.stop()
    assert (result.injected, result.lost) == (1, 0)
    assert 1 <= result.begun_again <= pack
    check_whole(slow, pack)


@pytest.mark.parametrize("pack", [pytest.param(1, marks=long), 4])
def test_a_pack_that_kills_its_worker_every_time_fails_and_the_sweep_goes_on(sweep, pack):
    slow = sweep(cells=12, seconds=0.2, pack=pack, deadly=5)
    slow.start()
    said = slow.finish()
    assert "Traceback" not in said
    assert "Warning: lost the worker of a " in said
    failed = {number for number, (status, _, _) in slow.rows().items() if status == "failed"}
    assert 5 in failed
    assert len(failed) <= pack
    assert slow.recorded() == set(range(12)) - failed
    assert slow.recorded_twice() == {}
    table = slow.record().table()
    (reason,) = set(table[table["status"] == "failed"]["reason"])
    assert reason.startswith("lost its worker 3 times: ")
    assert sum(entry.number == 5 for entry in slow.entries("begin")) == 3
    assert list(slow.record().failures().values()) == [len(failed)]

    begun = len(slow.entries("begin"))
    slow.start()
    slow.finish()
    assert len(slow.entries("begin")) == begun  # what failed is trained again only if asked for


def test_a_second_driver_is_refused_while_the_first_one_runs(sweep):
    slow = sweep(cells=20, seconds=1.0, pack=1)
    slow.start()
    slow.wait_for("begin", 1)
    first = slow.process
    slow.start()
    _, said = slow.process.communicate(timeout=120)
    assert slow.process.returncode == 2
    assert f"is being written to by process {first.pid} on {os.uname().nodename} since " in said
    first.kill()
    first.communicate()
    slow.start()
    slow.finish()
    check_whole(slow, 1)
