"""What a run must never do to a record: mix it with another, change it when refused, or leave it worse than it was."""

from dataclasses import dataclass, field

import pytest
import torch
import yaml
from filelock import FileLock

from accel import Combination
from problems import Data
from problems.quadratic import Quadratic
from study import load_spec, open_study, run
from study.errors import SpecError, UserError

SPEC = {
    "name": "kept",
    "problem": {"name": "quadratic"},
    "network": {"hidden": []},
    "training": {"optimizer": "sgd", "lr": 0.1, "epochs": 8},
    "axes": {"m": [2, 4], "s": [5], "tolerance": [1e-6]},
}


def inline(folder, spec=SPEC, **options):
    return run(spec, folder, executor="inline", **options)


def test_a_second_run_at_the_same_time_is_refused(tmp_path):
    inline(tmp_path)
    with FileLock(tmp_path / ".lock"), pytest.raises(UserError, match="being written to by another run"):
        inline(tmp_path, overrides={"seeds": 2})
    assert len(inline(tmp_path, overrides={"seeds": 2}).table()) == 4


def test_a_storage_is_one_folders_own(tmp_path):
    url = f"sqlite:///{tmp_path}/shared.db"
    inline(tmp_path / "one", storage=url)
    with pytest.raises(UserError, match="whose rows are in another folder"):
        inline(tmp_path / "two", storage=url)
    assert not (tmp_path / "two").exists()
    with pytest.raises(UserError, match="it was run with another storage"):
        inline(tmp_path / "one")
    inline(tmp_path / "own")
    with pytest.raises(UserError, match=r"has its record in study\.db"):
        inline(tmp_path / "own", storage=url)
    assert len(inline(tmp_path / "one", storage=url, overrides={"seeds": 2}).table()) == 4


@pytest.mark.parametrize("name", ["res?1", "sp%20ace", "sp ace", "a#b&c=d", "naïve"])
def test_a_folder_may_have_any_name(tmp_path, name):
    inline(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert len(open_study(tmp_path / name).table()) == 2


def test_a_refused_run_leaves_the_record_as_it_was(tmp_path, monkeypatch):
    inline(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = (tmp_path / "spec.yaml").read_text()
    with pytest.raises(UserError, match=r"resources\.gpu"):
        inline(tmp_path, overrides={"seeds": 5, "resources.gpu": 1})
    assert (tmp_path / "spec.yaml").read_text() == before
    assert open_study(tmp_path).grid.seeds == (0,)


def test_overrides_beside_a_loaded_spec_are_refused(tmp_path):
    with pytest.raises(UserError, match="pass them to load_spec"):
        inline(tmp_path, load_spec(SPEC), overrides={"seeds": 2})


BROKEN = {"rule": True}


@dataclass(frozen=True)
class Fragile:
    """A rule that can be mended."""

    def __call__(self, window, s):
        if BROKEN["rule"]:
            raise RuntimeError("the rule is broken")
        newest = torch.zeros(window.shape[0], window.shape[2], dtype=torch.float64)
        newest[:, -1] = 1
        ones = torch.ones(window.shape[0], dtype=torch.float64)
        return Combination(newest, ones.long(), ones)


def test_failed_replicates_say_why_and_are_trained_again_when_asked(tmp_path, monkeypatch):
    spec = {**SPEC, "method": {"name": f"{__name__}:Fragile"}, "axes": {"m": [2, 4], "s": [5]}}
    monkeypatch.setitem(BROKEN, "rule", True)
    record = inline(tmp_path, spec)
    assert dict(record.statuses()) == {"failed": 2}
    assert record.failures() == {"RuntimeError: the rule is broken": 2}
    monkeypatch.setitem(BROKEN, "rule", False)
    assert dict(inline(tmp_path, spec).statuses()) == {"failed": 2}
    record = inline(tmp_path, spec, retry_failed=True)
    assert dict(record.statuses()) == {"finished": 2}
    assert list(record.table()["status"]) == ["finished"] * 2


def test_a_pack_that_cannot_be_read_is_trained_again(tmp_path):
    before = inline(tmp_path).table()
    damaged = tmp_path / "packs" / f"{before['pack'][0]}.parquet"
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.warns(UserWarning, match=damaged.name):
        record = inline(tmp_path)
    after = record.table()
    assert after["final_loss_train"].tolist() == before["final_loss_train"].tolist()
    assert dict(record.statuses()) == {"finished": 2}


@dataclass(frozen=True)
class Named:
    """A rule whose field is a column of the table."""

    seed: int = 0
    final_loss_train: float = 0.0


def test_a_rules_field_must_not_be_a_column_of_the_table():
    spec = {**SPEC, "method": {"name": f"{__name__}:Named"}, "axes": {"m": [2], "s": [5]}}
    with pytest.raises(SpecError, match="must not have fields called final_loss_train, seed"):
        load_spec(spec)


@dataclass(frozen=True)
class Dropping:
    """The quadratic's data under a network that draws noise and keeps statistics while it trains."""

    data_of: Quadratic = field(default=Quadratic(), init=False)

    def sizes(self):
        return self.data_of.sizes()

    def data(self, progress=None) -> Data:
        return self.data_of.data()

    def network(self):
        return torch.nn.Sequential(
            torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 4)
        )


def test_judging_leaves_no_trace_in_training(tmp_path):
    spec = {
        "name": "dropping",
        "problem": {"name": f"{__name__}:Dropping"},
        "training": {"epochs": 12},
        "method": {"name": "dmd", "tolerance": 1e-6, "accept": "improve", "margin": 0.999},
        "axes": {"m": [3], "s": [2, 4]},
    }
    baseline, *cells = inline(tmp_path, spec).details()
    for cell in cells:
        assert cell["jump_accepted"] == [False] * 4
        # every jump was evaluated and rejected: training went on as if there had been none
        assert cell["curve_train"].tolist() == baseline["curve_train"].tolist()


def test_the_spec_that_a_folder_shows_can_be_run(tmp_path):
    inline(tmp_path / "one")
    again = load_spec(tmp_path / "one" / "spec.yaml")
    assert again.hash() == load_spec(SPEC).hash()
    assert yaml.safe_load((tmp_path / "one" / "spec.yaml").read_text())["axes"]["m"] == [2, 4]
