import numpy as np
import pytest
import torch

from accel import DMD
from study.errors import UserError
from study.execution.eigenvalues import kept_eigenvalues, watch_eigenvalues


@pytest.mark.parametrize("growth", ["keep", "clip", "drop"])
def test_they_are_those_of_the_map_that_made_the_snapshots(growth):
    torch.manual_seed(0)
    truth = torch.tensor([1.1, 0.5, -0.3], dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q[:, :3]
    window = basis @ torch.stack([truth**k for k in range(5)], dim=1)
    spoiled = torch.full_like(window, torch.nan)
    combination = DMD(1e-8, growth=growth)(torch.stack([window, spoiled]), 2)
    assert combination.rank.tolist() == [3, 0]
    values, none = (kept_eigenvalues(*pair) for pair in zip(combination.eigenvalues, [3, 0], strict=True))
    # three modes from four steps, the smallest singular value some 1e-2 of the largest: rounding grows a thousandfold
    assert np.sort(values.real.numpy()) == pytest.approx(np.sort(truth.numpy()), abs=1e-11)
    assert values.imag.abs().max() < 1e-11
    assert len(none) == 0


@pytest.mark.parametrize("changes", [{}, {"method": {"name": "dmd", "candidates": [0.5, 1.0]}}])
def test_a_replicate_trained_again_shows_the_radii_that_are_recorded(small, train, changes):
    spec = small({"seeds": 1, **changes})
    (outcome,) = [o for o in train(spec) if dict(o.replicate.parameters) == {"m": 6, "s": 5, "tolerance": 1e-6}]
    frame = watch_eigenvalues(spec.to_dict(), {"m": 6, "s": 5, "tolerance": 1e-6}, 0)
    radius = np.hypot(frame["real"], frame["imag"]).groupby(frame["epoch"]).max()
    assert radius.index.tolist() == outcome.jumps.epoch.tolist() == [6, 12, 18, 24]
    # the same operator from another order of products
    assert radius.to_numpy() == pytest.approx(outcome.jumps.spectral_radius.max(axis=1), rel=1e-6)
    assert frame.groupby("epoch").size().tolist() == outcome.jumps.rank.sum(axis=1).tolist()


def test_what_has_none_or_is_not_the_packages_is_refused(small):
    spec = small().to_dict()
    cell = {"m": 6, "s": 5, "tolerance": 1e-6}
    refused = ("problem", {"name": "os:path"}), ("method", {"mode": "probe"}), ("method", {"name": "a:B"})
    for section, changed in refused:
        with pytest.raises(UserError, match="eigenvalues need the method dmd in mode train"):
            watch_eigenvalues({**spec, section: {**spec[section], **changed}}, cell, 0)
    with pytest.raises(UserError, match=r"no replicate of .* with seed 9"):
        watch_eigenvalues(spec, cell, 9)
