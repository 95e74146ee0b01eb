"""Two outcomes of one training that must be alike, compared with numpy only."""

import dataclasses

import numpy as np

# sums of up to 64 products in another order: 1e-16 of the losses, which a first jump enlarges a thousandfold
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def assert_alike(outcome, expected, jumps):
    """Compare curves to the end of the first jumps, and what those jumps were."""
    assert outcome.replicate == expected.replicate
    assert outcome.groups == expected.groups
    assert outcome.losses.train_epoch.tolist() == expected.losses.train_epoch.tolist()
    until = expected.jumps.epoch[jumps] if len(expected.jumps.epoch) > jumps else expected.epoch
    for split in ("train", "test"):
        early = getattr(expected.losses, f"{split}_epoch") < until
        curves = (getattr(o.losses, split)[early] for o in (outcome, expected))
        np.testing.assert_allclose(*curves, **CLOSE, err_msg=split)
    assert outcome.jumps.outcome[:jumps].tolist() == expected.jumps.outcome[:jumps].tolist()
    for name in {column.name for column in dataclasses.fields(expected.jumps)} - {"outcome"}:
        columns = (getattr(o.jumps, name)[:jumps] for o in (outcome, expected))
        np.testing.assert_allclose(*columns, **CLOSE, err_msg=name)
