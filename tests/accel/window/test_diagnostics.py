"""What the reports say about a window, against windows where it is known."""

import numpy as np
import pytest
import torch
from torch import nn

from accel import DMD, Accelerator


def report_on(w, dtype, rule, s=5):
    """The report on a window whose columns are the snapshots, as one group."""
    model = nn.ParameterList([nn.Parameter(torch.zeros(w.shape[0], dtype=dtype))])
    accelerator = Accelerator(model, rule, m=w.shape[1], s=s)
    for column in w.T:
        with torch.no_grad():
            model[0].copy_(torch.from_numpy(column.copy()))
        accelerator.record()
    proposal = accelerator.propose()
    return proposal.groups[0], accelerator.predict(proposal)


def smooth(moved, n=20_000, m=14):
    """Weights that move by the given part of their size, in three modes."""
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((n, 4)))[0]
    k = np.arange(m)
    return q @ np.stack([np.ones(m), *(moved * np.array([0.9, 0.5, 0.2])[:, None] ** k)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("m", [6, 14])
def test_resolution_is_where_rounding_of_the_weights_begins(dtype, m):
    w = smooth(0.1, m=m)
    stored = torch.from_numpy(w).to(dtype).double().numpy()
    sigma = np.linalg.svd(stored[:, :-1], compute_uv=False)
    report, _ = report_on(w, dtype, DMD(0.0))
    # The true rank is 4; what follows is rounding noise. The resolution is above it, by no more than it has to be.
    assert sigma[4] / sigma[0] < report.resolution < 3 * sigma[4:].mean() / sigma[0]
    assert report.rank == m - 1


@pytest.mark.parametrize(("tolerance", "rank"), [(1e-10, 13), (1e-5, 4)])
def test_noise_modes_are_those_that_only_rounding_put_there(tolerance, rank):
    report, _ = report_on(smooth(0.1), torch.float32, DMD(tolerance))
    assert (report.rank, report.noise_modes) == (rank, rank - 4)


def test_float64_weights_resolve_to_the_rounding_of_the_decomposition():
    report, _ = report_on(smooth(1e-4), torch.float64, DMD(1e-10))
    assert report.resolution == 14 * np.finfo(np.float64).eps
    assert (report.rank, report.noise_modes) == (4, 0)


def test_long_steps_of_float32_weights_hide_what_one_pass_cannot_square():
    # Steps as long as the weights: sqrt(m eps) of their changes is more than the rounding of the weights.
    w = np.random.default_rng(0).standard_normal((1000, 8))
    report, _ = report_on(w, torch.float32, DMD())
    changes = np.linalg.norm(np.diff(w, n=2), axis=0).max()
    largest = np.linalg.svd(w[:, :-1], compute_uv=False)[0]
    assert report.resolution == pytest.approx((8 * 2.2e-16) ** 0.5 * changes / largest, rel=0.02)


@pytest.mark.parametrize("s", [1, 40])
def test_relative_move_is_the_length_of_the_jump(s):
    w = smooth(0.1)
    report, prediction = report_on(w, torch.float64, DMD(1e-8), s)
    move = np.linalg.norm(prediction.numpy() - w[:, -1]) / np.linalg.norm(w[:, -1])
    assert move > 1e-4
    assert report.relative_move == pytest.approx(move, rel=1e-8)


def noisy(seed, n=50, m=9):
    """A decaying spiral under noise, which no linear operator follows exactly."""
    rng = np.random.default_rng(seed)
    k = np.arange(m)
    q = np.linalg.qr(rng.standard_normal((n, 4)))[0]
    modes = [np.ones(m), 0.9**k * np.cos(0.7 * k), 0.9**k * np.sin(0.7 * k), 0.4**k]
    return q @ np.stack(modes) + 0.05 * rng.standard_normal((n, m))


def reduced(w, rank):
    u, sigma, vh = np.linalg.svd(w[:, :-1], full_matrices=False)
    return u[:, :rank], sigma[:rank], vh[:rank].T


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_residual_is_that_of_the_n_dimensional_ritz_pairs(seed, rank):
    w = noisy(seed)
    report, _ = report_on(w, torch.float64, DMD(rank=rank))
    u, sigma, v = reduced(w, rank)
    eigenvalues, y = np.linalg.eig(u.T @ w[:, 1:] @ v / sigma)
    residuals = np.linalg.norm((w[:, 1:] @ v / sigma) @ y - u @ y * eigenvalues, axis=0)
    assert residuals.max() > 1e-2
    assert report.residual == pytest.approx(residuals.max(), rel=1e-9)  # float64, conditions of at most 1e3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_inconsistency_is_the_index_of_forward_and_backward_fits(seed, rank):
    w = noisy(seed)
    report, _ = report_on(w, torch.float64, DMD(rank=rank))
    u = reduced(w, rank)[0]
    x, later = (u.T @ w[:, :-1]).T, (u.T @ w[:, 1:]).T
    forwards, backwards = np.linalg.pinv(x) @ later, np.linalg.pinv(later) @ x
    index = np.linalg.eigvals(np.eye(rank) - forwards @ backwards).real.max()
    assert 1e-3 < index < 1
    assert report.inconsistency == pytest.approx(index, rel=1e-8)


def test_an_exactly_linear_trajectory_has_no_residual_and_is_consistent():
    report, _ = report_on(smooth(0.1), torch.float64, DMD(1e-9))
    assert report.rank == 4
    assert report.residual < 1e-9  # rounding of 1e-16 over a least mode of 1e-4
    assert report.inconsistency < 1e-9


def test_all_modes_kept_are_consistent_whatever_the_data():
    report, _ = report_on(np.random.default_rng(0).standard_normal((50, 6)), torch.float64, DMD())
    assert report.rank == 5
    assert report.inconsistency < 1e-12
    assert report.residual > 0.1


def test_a_subspace_that_is_left_altogether_is_fully_inconsistent():
    # coordinates 1, 1, -1: (1, 1) before each step and (1, -1) after it are orthogonal
    report, _ = report_on(np.array([[1.0, 1.0, -1.0], [0.0, 0.0, 0.0]]), torch.float64, DMD(rank=1))
    assert report.inconsistency == pytest.approx(1, abs=1e-12)


def test_diagnostics_of_many_small_groups_are_those_of_each_alone():
    w = np.stack([noisy(seed, n=4)[:, :6] for seed in range(5)])  # fewer weights than snapshots
    model = nn.Linear(3, 5).double()
    accelerator = Accelerator(model, DMD(rank=2), m=6, s=3, group="node")
    for k in range(6):
        with torch.no_grad():
            model.weight.copy_(torch.from_numpy(w[:, :3, k]))
            model.bias.copy_(torch.from_numpy(w[:, 3, k]))
        jump = accelerator.step()
    for group, window in zip(jump.groups, w, strict=True):
        alone, _ = report_on(window, torch.float64, DMD(rank=2), 3)
        for field in ("rank", "spectral_radius", "relative_move", "residual", "inconsistency", "resolution"):
            assert getattr(group, field) == pytest.approx(getattr(alone, field), rel=1e-7), field


def test_a_window_that_is_not_finite_has_no_diagnostics():
    w = noisy(0)
    w[0, 3] = np.inf
    report, _ = report_on(w, torch.float64, DMD())
    assert np.isnan([report.residual, report.inconsistency, report.resolution]).all()
    assert (report.rank, report.noise_modes) == (0, 0)
