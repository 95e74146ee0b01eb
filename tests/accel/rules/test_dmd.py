"""The DMD rule against textbook DMD, PyDMD, and what theory says."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch

from accel import DMD, Rule

OPTIONS = list(
    itertools.product(
        ["state", "displacement"], ["least_squares", "literal"], ["projected", "exact"], ["keep", "clip", "drop"]
    )
)


def noisy_spiral(rng, m=7, n=60):
    """A window whose operator has decaying, growing and complex eigenvalues, and noise at 1e-3 of its size."""
    k = np.arange(m)
    q = np.linalg.qr(rng.standard_normal((n, 5)))[0]
    modes = [np.ones(m), 1.1**k * np.cos(0.9 * k), 1.1**k * np.sin(0.9 * k), 0.3 * (-1.2) ** k, 0.5**k]
    return q @ np.stack(modes) + 1e-3 * rng.standard_normal((n, m))


def white_noise(rng, m=7, n=60):
    return rng.standard_normal((n, m))


def predict(rule, w, s, factor):
    return w @ rule(factor(w), s).coefficients[0].numpy()


@pytest.mark.parametrize(("form", "amplitudes", "modes", "growth"), OPTIONS)
@pytest.mark.parametrize("trajectory", [noisy_spiral, white_noise])
@pytest.mark.parametrize("tolerance", [1e-10, 0.2])
def test_equals_textbook_dmd(form, amplitudes, modes, growth, trajectory, tolerance, textbook, factor):
    options = {"form": form, "amplitudes": amplitudes, "modes": modes, "growth": growth}
    for seed in range(3):
        w = trajectory(np.random.default_rng(seed))
        expected = textbook(w, 9, tolerance, **options)
        # Two orders of the same float64 operations: eps times condition numbers of at most 1e5 here (sigma, Y).
        error = np.linalg.norm(predict(DMD(tolerance, **options), w, 9, factor) - expected)
        assert error <= 1e-9 * np.linalg.norm(expected)


@pytest.mark.parametrize("exact", [False, True])
def test_equals_pydmd(exact, factor):
    from pydmd import DMD as PyDMD

    w = noisy_spiral(np.random.default_rng(4))
    oracle = PyDMD(svd_rank=w.shape[1] - 1, exact=exact, opt=-1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*condition number.*")  # on every fit to weights, which drift slowly
        oracle.fit(w)
    oracle.dmd_time["tend"] += 9
    expected = oracle.reconstructed_data[:, -1].real
    error = np.linalg.norm(predict(DMD(1e-12, modes="exact" if exact else "projected"), w, 9, factor) - expected)
    assert error <= 1e-9 * np.linalg.norm(expected)


def test_counts_s_from_the_newest_snapshot(descend, factor):
    # The printed exponent s - m would predict the wrong step, and a negative power for s < m.
    for m, s in ((14, 55), (14, 5)):
        w, later = descend([0.05, 0.3], m, s)
        move = np.linalg.norm(later - w[:, -1])
        assert np.linalg.norm(predict(DMD(), w, s, factor) - later) < 1e-9 * move


def test_literal_amplitudes_erase_the_gain_that_least_squares_finds(descend, factor):
    w, later = descend([0.02, 0.05, 0.2], 14, 20)
    move = np.linalg.norm(later - w[:, -1])
    assert np.linalg.norm(predict(DMD(), w, 20, factor) - later) < 1e-6 * move
    assert np.linalg.norm(predict(DMD(amplitudes="literal"), w, 20, factor) - later) > 0.5 * move


def test_literal_amplitudes_do_not_depend_on_the_phase_of_eigenvectors(monkeypatch, factor):
    w = noisy_spiral(np.random.default_rng(1))
    rule = DMD(amplitudes="literal")
    before = predict(rule, w, 9, factor)
    eig = torch.linalg.eig

    def turned(operator):
        eigenvalues, vectors = eig(operator)
        return eigenvalues, vectors * torch.exp(1j * torch.arange(vectors.shape[-1], dtype=torch.float64))

    monkeypatch.setattr(torch.linalg, "eig", turned)
    # A phase is a rotation: nothing but rounding may change.
    np.testing.assert_allclose(predict(rule, w, 9, factor), before, rtol=0, atol=1e-12 * np.abs(before).max())


def test_projection_undoes_progress_at_large_tolerance_and_displacement_does_not(descend, factor):
    w, later = descend([0.05], 14, 20)
    tolerance = 0.9  # one mode is kept: about the mean of the window, which lies behind its newest snapshot
    assert DMD(tolerance)(factor(w), 20).rank.item() == 1
    left = np.linalg.norm(later - w[:, -1])
    assert np.linalg.norm(predict(DMD(tolerance), w, 20, factor) - later) > 1.1 * left
    assert np.linalg.norm(predict(DMD(tolerance, form="displacement"), w, 20, factor) - later) <= 1.1 * left


def test_exact_modes_lose_nothing_of_the_newest_snapshot(factor):
    # s = 0 is no jump, but it shows what the modes can represent: w_m itself, or only its projection on the older ones.
    w = white_noise(np.random.default_rng(0))
    newest = np.linalg.norm(w[:, -1])
    assert np.linalg.norm(predict(DMD(modes="exact"), w, 0, factor) - w[:, -1]) < 1e-12 * newest
    assert np.linalg.norm(predict(DMD(modes="projected"), w, 0, factor) - w[:, -1]) > 0.5 * newest


def test_a_straight_line_is_followed_exactly(factor):
    # Its operator is a Jordan block, which has too few eigenvectors; in these numbers rounding does not break the tie,
    # and a sum over eigenvectors would stand still.
    window = torch.tensor([[[1.0, 0.0, -1.0], [0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    for form in ("state", "displacement"):
        prediction = window[0] @ DMD(form=form)(window, 10).coefficients[0]
        torch.testing.assert_close(
            prediction, torch.tensor([-11.0, 12.0, 0.0], dtype=torch.float64), rtol=0, atol=1e-12
        )


def test_keeps_the_modes_above_the_tolerance(factor):
    # Orthogonal snapshots of norms 1, 1e-2, 1e-4, 1e-6 are their own singular vectors; the newest is not in W-.
    w = np.eye(10)[:, :5] * np.array([1, 1e-2, 1e-4, 1e-6, 1.0])
    for tolerance, rank in ((0.0, 4), (1e-7, 4), (1e-5, 3), (1e-3, 2), (0.1, 1), (0.999, 1)):
        assert DMD(tolerance)(factor(w), 1).rank.item() == rank
    exactly = np.eye(4)[:, :3] * np.array([1, 0.5, 1.0])
    assert DMD(0.5)(factor(exactly), 1).rank.item() == 1  # strictly greater


@pytest.mark.parametrize(("form", "amplitudes", "modes", "growth"), OPTIONS)
def test_a_fixed_rank_is_the_tolerance_that_keeps_as_many(form, amplitudes, modes, growth, factor):
    options = {"form": form, "amplitudes": amplitudes, "modes": modes, "growth": growth}
    w = noisy_spiral(np.random.default_rng(0))
    sigma = np.linalg.svd(w[:, :-1], compute_uv=False)
    for rank in range(1, 7):
        tolerance = sigma[rank] / sigma[0] if rank < 6 else 0.0  # strictly greater: exactly `rank` modes
        fixed, cut = DMD(rank=rank, **options)(factor(w), 5), DMD(tolerance * (1 + 1e-9), **options)(factor(w), 5)
        assert fixed.rank.tolist() == cut.rank.tolist() == [rank]
        assert torch.equal(fixed.coefficients, cut.coefficients)


def test_a_fixed_rank_never_keeps_rounding(factor):
    w = np.outer(np.ones(10), 0.5 ** np.arange(6))
    assert DMD(rank=4)(factor(w), 1).rank.item() == 1


def test_windows_of_fewer_weights_than_snapshots_need_no_padding():
    for options in OPTIONS:
        for weights in (1, 2, 4):
            window = torch.randn(3, weights, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            padded = torch.cat([window, torch.zeros(3, 6 - weights, 6, dtype=torch.float64)], dim=1)
            for rule in (DMD(1e-10, *options), DMD(None, *options, rank=1)):
                found, expected = rule(window, 3), rule(padded, 3)
                assert torch.equal(found.rank, expected.rank)
                torch.testing.assert_close(found.spectral_radius, expected.spectral_radius, rtol=1e-9, atol=1e-12)
                # coefficients may differ where snapshots are dependent, predictions may not
                torch.testing.assert_close(
                    (window @ found.coefficients[:, :, None]),
                    (window @ expected.coefficients[:, :, None]),
                    rtol=1e-8,
                    atol=1e-8,
                )


def test_reports_the_spectral_radius_of_the_kept_modes_before_clipping(factor):
    k = np.arange(8)
    w = np.linalg.qr(np.random.default_rng(0).standard_normal((30, 2)))[0] @ np.stack([1.2**k, 0.7**k])
    for growth in ("keep", "clip", "drop"):
        assert DMD(growth=growth)(factor(w), 3).spectral_radius.item() == pytest.approx(1.2, abs=1e-12)


def test_growth_options_act_on_growing_modes_only(factor):
    k = np.arange(9)
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((30, 3)))[0]
    newest = np.array([1.0, 1.1, 0.6]) ** 8
    w = q @ np.stack([np.ones(9), 1.1**k, 0.6**k])
    for form, growth, factors in (
        ("state", "keep", [1, 1.1**20, 0.6**20]),
        ("state", "clip", [1, 1, 0.6**20]),
        ("state", "drop", [1, 0, 0.6**20]),
        ("displacement", "keep", [1, 1.1**20, 0.6**20]),
        ("displacement", "clip", [1, 1, 0.6**20]),
        ("displacement", "drop", [1, 1, 0.6**20]),
    ):
        expected = q @ (newest * np.array(factors))
        np.testing.assert_allclose(predict(DMD(form=form, growth=growth), w, 20, factor), expected, atol=1e-9)


def test_rounding_is_not_growth(factor, descend):
    # The minimum of a quadratic is a mode with eigenvalue 1, give or take rounding: dropping it would drop the weights.
    for seed in range(10):
        w, later = descend([0.05, 0.3], 14, 55, seed=seed)
        error = np.linalg.norm(predict(DMD(growth="drop"), w, 55, factor) - later)
        assert error < 1e-9 * np.linalg.norm(later - w[:, -1])


@pytest.mark.parametrize("growth", ["keep", "clip"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_window_leaves_its_neighbours_alone(growth, bad, factor):
    rng = np.random.default_rng(0)
    good = torch.cat([factor(noisy_spiral(rng)), factor(white_noise(rng))])
    spoilt = torch.cat([good, good[:1]])
    spoilt[2, 3, 3] = bad
    rule = DMD(1e-2, growth=growth)
    alone, together = rule(good, 5), rule(spoilt, 5)
    for before, after in zip(alone, together, strict=True):
        assert torch.equal(before, after[:2])
    assert together.coefficients[2].isnan().all()
    assert together.rank[2] == 0
    assert together.spectral_radius[2].isnan()


def test_eigenvectors_that_span_nothing_are_reported_not_raised(monkeypatch, factor):
    windows = torch.cat([factor(noisy_spiral(np.random.default_rng(seed))) for seed in range(2)])
    rule = DMD(growth="clip")
    before = rule(windows, 5).coefficients
    eig = torch.linalg.eig

    def singular(operator):
        eigenvalues, vectors = eig(operator)
        vectors[1, :, 1] = vectors[1, :, 0]
        vectors[1, 0] = 0
        return eigenvalues, vectors

    monkeypatch.setattr(torch.linalg, "eig", singular)
    after = rule(windows, 5).coefficients
    assert torch.equal(after[0], before[0])
    assert after[1, :-1].isnan().all()  # the newest snapshot has no part in projected modes


@pytest.mark.parametrize("options", [{}, {"growth": "clip"}, {"amplitudes": "literal", "modes": "exact"}])
def test_degenerate_windows_give_numbers(options):
    zero = torch.zeros(4, 4, dtype=torch.float64)
    still, line = zero.clone(), zero.clone()
    still[0] = 3.0
    line[0] = torch.tensor([1.0, 0.5, 0.25, 0.125])
    combination = DMD(**options)(torch.stack([zero, still, line]), 4)
    assert combination.coefficients.isfinite().all()
    assert combination.rank.tolist() == [0, 1, 1]
    torch.testing.assert_close(combination.spectral_radius, torch.tensor([0, 1, 0.5], dtype=torch.float64))
    # Rank one is still exact: 3 stays 3, and four halvings of 1/8 follow; amplitudes are trivially orthonormal here.
    if options.get("modes") != "exact":
        prediction = (torch.stack([zero, still, line]) @ combination.coefficients[:, :, None])[:, 0, 0]
        torch.testing.assert_close(prediction, torch.tensor([0, 3, 1 / 128], dtype=torch.float64), rtol=1e-12, atol=0)


def test_does_not_depend_on_the_orthonormal_basis(factor):
    w = noisy_spiral(np.random.default_rng(0))
    window = factor(w)
    q = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    for options in OPTIONS:
        rule = DMD(0.01, *options)
        torch.testing.assert_close(rule(q @ window, 9).coefficients, rule(window, 9).coefficients, rtol=0, atol=1e-9)


def test_lists_all_bad_options():
    with pytest.raises(ValueError, match=r"tolerance must be .* got 1\.0; form must be .* got 'x'; modes .* got 'y'"):
        DMD(1.0, form="x", modes="y")
    for tolerance in (-1e-9, 1, math.nan, "1e-6", True):
        with pytest.raises(ValueError, match=r"tolerance must be a number in \[0, 1\)"):
            DMD(tolerance)


def test_one_truncation_at_a_time():
    with pytest.raises(ValueError, match=r"one of tolerance and rank must be given, got 0\.1 and 3"):
        DMD(0.1, rank=3)
    for rank in (0, -1, 2.0, True, "2"):
        with pytest.raises(ValueError, match="rank must be an integer of at least 1"):
            DMD(rank=rank)
    assert DMD().tolerance == 1e-10
    assert DMD(rank=3).tolerance is None
    with pytest.raises(ValueError, match="rank must be less than the window m, got rank 4 with m = 4"):
        DMD(rank=4)(torch.zeros(1, 4, 4, dtype=torch.float64), 1)


def test_is_a_rule():
    assert isinstance(DMD(), Rule)
