"""When the driver records what workers gave: never in the way of the worker's next pack, and never too late."""

from types import SimpleNamespace

import pytest

from study.execution.deadline import Deadline, OutOfTime
from study.execution.ray_trial import Recorder


class Silent:
    def started(self, replicates):
        pass


@pytest.fixture
def sweep():
    """A recorder, what it has recorded, and functions that begin and end a pack."""

    def make(deadline, *, at_once):
        packs = [SimpleNamespace(id=number, replicates=("replicate",)) for number in range(3)]
        recorded = []
        recorder = Recorder(
            packs, lambda pack, outcomes, provenance: recorded.append((pack.id, outcomes)), Silent(), deadline,
            at_once=at_once,
        )  # fmt: skip

        def end(number):
            trial = SimpleNamespace(trial_id=str(number), config={"pack": number}, last_result={})
            recorder.on_trial_start(0, [], trial)
            trial.last_result |= {"outcomes": [number], "provenance": {}}
            recorder.on_trial_complete(0, [], trial)
            assert trial.last_result == {}

        return recorder, recorded, end

    return make


def test_a_pack_is_recorded_after_its_worker_was_given_another(sweep):
    recorder, recorded, end = sweep(Deadline(None), at_once=False)
    end(0)
    recorder.on_step_end(0, [])
    assert recorded == []
    end(1)
    recorder.on_step_end(1, [])
    assert recorded == [(0, [0])]
    recorder.on_step_end(2, [])
    assert recorded == [(0, [0]), (1, [1])]
    recorder.on_step_end(3, [])
    assert len(recorded) == 2


def test_where_the_next_pack_depends_on_it_a_pack_is_recorded_at_once(sweep):
    recorder, recorded, end = sweep(Deadline(None), at_once=True)
    end(0)
    recorder.on_step_end(0, [])
    assert recorded == [(0, [0])]


@pytest.mark.parametrize(
    "rest", [lambda recorder: recorder.on_experiment_end([]), lambda recorder: recorder.record_rest()]
)
def test_what_has_ended_is_recorded_when_the_sweep_ends(sweep, rest):
    recorder, recorded, end = sweep(Deadline(None), at_once=False)
    end(0)
    recorder.on_step_end(0, [])
    end(1)
    recorder.on_experiment_end([])
    assert recorded == [(0, [0]), (1, [1])]


def test_a_sweep_that_is_stopped_in_time_leaves_nothing_behind(sweep, monkeypatch):
    """As `on_ray` stops it: what it raises ends Tune, which then says nothing of an end."""
    deadline = Deadline(1000.0)
    monkeypatch.setattr(Deadline, "allows_another", False)
    recorder, recorded, end = sweep(deadline, at_once=False)
    end(0)
    with pytest.raises(OutOfTime):
        recorder.on_step_end(0, [])
    recorder.record_rest()
    assert recorded == [(0, [0])]
