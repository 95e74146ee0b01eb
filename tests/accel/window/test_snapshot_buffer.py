"""The window and its factor R: right to what a float64 SVD of the snapshots would give."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from accel import DMD, Accelerator
from accel._window import gram as _gram
from accel._window import snapshot_buffer as _snapshots
from accel._window.groups import Group


class Window(_snapshots.Window):
    """Of one network: without the axis of replicates."""

    @property
    def snapshots(self):
        return super().snapshots[:, 0]

    @property
    def newest(self):
        return super().newest[0]

    def load(self, snapshots):
        super().load(snapshots[:, None])

    def factors(self, groups):
        return super().factors(groups)[:, 0]

    def combine(self, groups, coefficients):
        return (block[0] for block in super().combine(groups, coefficients[None]))


def write(tensors, blocks):
    return bool(_snapshots.write(tensors, [block[None] for block in blocks]))


def window_of(w, dtype, /, **options):
    """A window that has recorded the columns of w, one tensor of n weights."""
    weights = torch.empty(w.shape[0], dtype=dtype)
    window = Window([weights], w.shape[1], **options)
    for column in w.T:
        weights.copy_(torch.from_numpy(np.ascontiguousarray(column)))
        window.append()
    return window, [Group("all", 0, w.shape[0])]


def predict(rule, w, s, dtype):
    window, groups = window_of(w, dtype)
    return torch.cat(list(window.combine(groups, rule(window.factors(groups), s).coefficients))).numpy()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_factor_has_the_inner_products_of_the_window(dtype):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((500, 6))
    window, groups = window_of(w, dtype)
    stored = window.snapshots.double()
    r = window.factors(groups)[0]
    # Sums of 500 products, in float64, of differences that six columns are summed up from twice.
    torch.testing.assert_close(r.mT @ r, stored @ stored.mT, rtol=0, atol=1e-10)


def test_blocks_and_groups_do_not_change_the_result():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((100_000, 4))  # more than two blocks
    window, _ = window_of(w, torch.float32)
    groups = [Group("a", 0, 3), Group("b", 3, 20_000), Group("c", 20_000, 100_000)]
    stored = window.snapshots.double()
    coefficients = torch.from_numpy(rng.standard_normal((3, 4)))
    expected = torch.cat([c @ stored[:, g.start : g.stop] for c, g in zip(coefficients, groups, strict=True)])
    combined = torch.cat(list(window.combine(groups, coefficients)))
    # Four products of size 4 at most, each rounded to float32, and so is each of their sums: 7 halves of 2e-6.
    torch.testing.assert_close(combined.double(), expected, rtol=0, atol=7e-6)
    for group, r in zip(groups, window.factors(groups), strict=True):
        part = stored[:, group.start : group.stop]
        # Sums of up to 80,000 products of size 1, in another order: eps · sqrt(n) of the sum, 5e-9.
        torch.testing.assert_close(r.mT @ r, part @ part.mT, rtol=0, atol=1e-7)


def test_large_coefficients_are_multiplied_in_float64():
    rng = np.random.default_rng(0)
    window, groups = window_of(1 + 1e-3 * rng.standard_normal((5000, 4)), torch.float32)
    coefficients = torch.tensor([[3e4, -7e4, 5e4, -1e4]], dtype=torch.float64)
    expected = coefficients[0] @ window.snapshots.double()
    combined = torch.cat(list(window.combine(groups, coefficients))).double()
    # Float64 sums of 7e4 are exact to 1e-10, and the result, of some 1e2, is rounded to float32: 4e-6. Float32 products
    # would be rounded to 4e-3.
    torch.testing.assert_close(combined, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_three_modes_of_gradient_descent_to_1e_9(seed, descend):
    w, later = descend([0.05, 0.3, 0.8], 14, 55, seed=seed)
    error = np.linalg.norm(predict(DMD(), w, 55, torch.float64) - later)
    assert error < 1e-9 * np.linalg.norm(later - w[:, -1])  # measured: 1e-11


@pytest.mark.parametrize("seed", range(3))
def test_five_slow_modes_of_gradient_descent_to_1e_5(seed, descend):
    # The least of their singular values lies near 1e-8 of the largest; one pass over the window would give 1e-5.
    w, later = descend([0.005, 0.02, 0.05, 0.1, 0.2], 14, 55, seed=seed)
    error = np.linalg.norm(predict(DMD(), w, 55, torch.float64) - later)
    assert error < 1e-7 * np.linalg.norm(later - w[:, -1])  # measured: 1e-8, as with an SVD of the snapshots


def test_small_steps_are_resolved_where_a_gram_matrix_of_the_weights_loses_them():
    # Weights that move by 1e-6 of their size in all, in three modes.
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((2000, 4)))[0]
    k = np.arange(14)
    w = q @ np.stack([np.ones(14), *(1e-6 * np.array([0.9, 0.7, 0.4])[:, None] ** k)])
    later = q @ np.array([1, *(1e-6 * np.array([0.9, 0.7, 0.4]) ** (13 + 20))])
    move = np.linalg.norm(later - w[:, -1])
    assert (
        np.linalg.norm(predict(DMD(1e-10), w, 20, torch.float64) - later) < 1e-4 * move
    )  # rounding of the weights, at 1e-16, is 1e-9 of the jump

    eigenvalues, vectors = np.linalg.eigh(w.T @ w)
    gram_root = torch.from_numpy(np.sqrt(np.maximum(eigenvalues, 0))[:, None] * vectors.T)[None]
    naive = w @ DMD(1e-10)(gram_root, 20).coefficients[0].numpy()
    assert not np.linalg.norm(naive - later) < 1e-2 * move


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_low_rank_is_kept_low(dtype):
    # Whole numbers are exact in every dtype: what is not rank 3 here is rounding in the Gram matrix and must not become
    # modes of 1e-8 of the largest, which a tolerance of 1e-10 would keep.
    rng = np.random.default_rng(0)
    w = rng.integers(-9, 10, (300, 3)).astype(float) @ rng.integers(-9, 10, (3, 10))
    window, groups = window_of(w, dtype)
    sigma = torch.linalg.svdvals(window.factors(groups)[0])
    assert (sigma[3:] < 1e-14 * sigma[0]).all()
    assert DMD(1e-10)(window.factors(groups), 5).rank.item() == 3


@pytest.mark.parametrize("m", [2, 5, 14, 20])
@pytest.mark.parametrize("s", [5, 100])
def test_float32_weights_of_a_real_training(m, s, mlp_trajectory, textbook):
    """Equal to a float64 SVD of the same snapshots wherever that is well conditioned.

    Judged where the reference itself moves by less than 1e-4 of the jump under half an ulp of noise on its input.
    """
    rng = np.random.default_rng(0)
    w = mlp_trajectory[:m].T.astype(np.float64)
    judged = []
    for tolerance in 10.0 ** np.arange(-8, -1):
        reference = textbook(w, s, tolerance)
        move = np.linalg.norm(reference - w[:, -1])
        half_ulp = np.spacing(np.abs(w).astype(np.float32)).astype(np.float64) / 2
        shaken = textbook(w + rng.choice([-1, 1], w.shape) * half_ulp, s, tolerance)
        if np.linalg.norm(shaken - reference) < 1e-4 * move:
            judged.append(tolerance)
            error = np.linalg.norm(predict(DMD(tolerance), w, s, torch.float32) - reference)
            # Products of float32 weights with float32 coefficients: measured 4e-5. Half an ulp of the input may make
            # 1e-4, and writing the prediction as float32 makes some 3e-6.
            assert error <= 1e-4 * move
    assert judged, "no tolerance was well conditioned: the test judged nothing"


LARGE = _gram._LARGE
"""As many weights are multiplied in float32."""


def smooth(n, m, seed=0):
    """(n, m) float32 weights of size 1 that take slowly changing steps of 1e-3, as under Adam."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((n, 3)) * 1e-3
    times = np.arange(m)
    paths = np.stack([times, 5 * 0.9**times, np.cos(times / 4)])
    return (rng.standard_normal((n, 1)) + directions @ paths).astype(np.float32)


def rounded_factor(w):
    """R of float64 columns by Householder QR: right to float64 rounding of the columns, not of their squares."""
    return np.linalg.qr(w.astype(np.float64), mode="r")


@pytest.mark.parametrize("m", [2, 3, 5, 8, 14, 16, 17, 20])
def test_float32_products_of_large_groups(m):
    w = smooth(LARGE + 1234, m)
    window, groups = window_of(w, torch.float32)
    r, exact = window.factors(groups)[0].numpy(), rounded_factor(w)
    # Changes from step to step are right to 1e-7 of their lengths; W itself to what float32 sums of 128 squares round.
    np.testing.assert_allclose(r.T @ r, exact.T @ exact, rtol=1e-6)
    second = np.eye(m)[:, 2:] - 2 * np.eye(m)[:, 1:-1] + np.eye(m)[:, :-2]
    products, expected = ((f @ second).T @ (f @ second) for f in (r, exact))
    lengths = np.sqrt(np.diag(expected))
    assert (np.abs(products - expected) <= 1e-6 * np.outer(lengths, lengths)).all()


def test_float32_products_are_no_less_right_for_predictions(textbook):
    # Steps that turn slowly: products in float32 of the steps themselves would make 1e-2 here, of the weights, more.
    w = smooth(LARGE, 14)
    exact = rounded_factor(w)
    reference = textbook(exact, 20, 1e-5)
    window, groups = window_of(w, torch.float32)
    error = exact @ DMD(1e-5)(window.factors(groups), 20).coefficients[0].numpy() - reference
    assert np.linalg.norm(error) < 1e-4 * np.linalg.norm(reference - exact[:, -1])


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1.0, 1e12, 1e25])
def test_float32_products_neither_vanish_nor_overflow(scale):
    w = (smooth(LARGE, 5) * np.float32(scale)).astype(np.float32)
    window, groups = window_of(w, torch.float32)
    r, exact = window.factors(groups)[0].numpy(), rounded_factor(w)
    np.testing.assert_allclose(r.T @ r, exact.T @ exact, rtol=1e-6)


@pytest.mark.parametrize(("start", "rest"), [(0, 1e-25), (1, 1e25)])
def test_float32_products_neither_vanish_nor_overflow_beyond_the_first_weights(start, rest):
    w = smooth(LARGE, 5)
    w[:10_000] *= np.float32(start)
    w[10_000:] *= np.float32(rest)
    window, groups = window_of(w, torch.float32)
    r, exact = window.factors(groups)[0].numpy(), rounded_factor(w)
    np.testing.assert_allclose(r.T @ r, exact.T @ exact, rtol=1e-6)


def test_lower_precision_that_was_asked_for_elsewhere_is_not_used():
    w = smooth(LARGE, 5)
    window, groups = window_of(w, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        r = window.factors(groups)[0]
    assert torch.equal(r, window.factors(groups)[0])
    rounded = torch.bmm

    def coarse(a, b, **options):
        return (
            rounded(a.bfloat16().float(), b.bfloat16().float(), **options)
            if a.dtype == torch.float32
            else rounded(a, b)
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "bmm", coarse)
        r = window.factors(groups)[0].numpy()
    exact = rounded_factor(w)
    np.testing.assert_allclose(r.T @ r, exact.T @ exact, rtol=1e-10)  # float64 products


def test_a_group_that_is_not_finite_leaves_the_others_alone():
    w = np.random.default_rng(0).standard_normal((10, 3))
    w[2, 1] = np.nan
    window, _ = window_of(w, torch.float64)
    bad, good = window.factors([Group("bad", 0, 5), Group("good", 5, 10)])
    assert bad.isnan().all()
    torch.testing.assert_close(good.mT @ good, torch.from_numpy(w[5:].T @ w[5:]), rtol=0, atol=1e-13)


def test_snapshots_are_the_tensors_bit_for_bit():
    tensors = [torch.randn(3, 4), torch.randn(2, 3, 2, 2).to(memory_format=torch.channels_last), torch.randn(())]
    window = Window(tensors, 2)
    window.append()
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    assert torch.equal(window.snapshots[0], flat)
    copies = [torch.zeros_like(tensor) for tensor in tensors]
    assert write(copies, [flat[:5], flat[5:20], flat[20:]])
    for copy, tensor in zip(copies, tensors, strict=True):
        assert torch.equal(copy, tensor)


def test_write_tells_what_the_dtype_cannot_hold():
    tensors = [torch.zeros(2), torch.zeros(2)]
    assert not write(tensors, [torch.tensor([1.0, 1e39, 2.0, 3.0], dtype=torch.float64)])


@pytest.mark.parametrize("change", ["shape", "dtype"])
def test_refuses_a_parameter_that_changed(change):
    weights = torch.nn.Parameter(torch.zeros(4))
    window = Window([weights], 3)
    window.append()
    weights.data = torch.zeros(5) if change == "shape" else torch.zeros(4, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"must keep shape, dtype and device .* expected \(4,\) .*float32 on cpu, got"):
        window.append()


def test_follows_a_parameter_to_new_memory():
    weights = torch.nn.Parameter(torch.zeros(4))
    window = Window([weights], 3)
    window.append()
    weights.data = torch.ones(4)
    window.append()
    weights.data = weights.data.clone().fill_(2)
    window.append()
    assert window.snapshots[:, 0].tolist() == [0, 1, 2]


class TestDifferences:
    @pytest.mark.parametrize(("low", "bits"), [(torch.bfloat16, 8), (torch.float16, 11)])
    def test_keep_bits_of_the_move_not_of_the_weights(self, low, bits):
        w = smooth(5000, 6)
        window, _ = window_of(w, torch.float32, dtype=low)
        error = window.snapshots.numpy().T - w.astype(np.float64)
        assert not error[:, [0, -1]].any()  # the first and the last are whole
        moves = w[:, 1:-1].astype(np.float64) - w[:, :1]
        # Half a unit in the last place of each difference; the difference itself was rounded in float32.
        assert (np.abs(error[:, 1:-1]) <= (2.0**-bits + 1e-7) * np.abs(moves) + 1e-9 * np.abs(moves).max()).all()

    def test_float16_reaches_small_steps(self):
        # Steps of 1e-9 are below the least float16 number, 6e-8.
        w = np.random.default_rng(0).standard_normal((5000, 1)) * 1e-9 * np.arange(6)
        window, _ = window_of(w, torch.float32, dtype=torch.float16)
        w = w.astype(np.float32).astype(np.float64)
        assert np.linalg.norm(window.snapshots.numpy().T - w) <= 2.0**-11 * np.linalg.norm(w)

    @pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("n", [500, LARGE])
    def test_factor_and_combination_are_those_of_what_is_stored(self, low, n):
        w = smooth(n, 6)
        window, groups = window_of(w, torch.float32, dtype=low)
        stored = window.snapshots
        r = window.factors(groups)[0]
        torch.testing.assert_close(r.mT @ r, stored @ stored.mT, rtol=1e-6, atol=0)
        c = torch.arange(6, dtype=torch.float64)[None] - 2
        combined = torch.cat(list(window.combine(groups, c)))
        torch.testing.assert_close(combined, c[0] @ stored, rtol=0, atol=1e-13)

    @pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("filled", [1, 2, 4, 5])
    def test_load_what_they_saved(self, low, filled):
        w = smooth(300, 5)
        weights = torch.empty(300)
        window, copy = Window([weights], 5, dtype=low), Window([weights], 5, dtype=low)
        for column in w.T[:filled]:
            weights.copy_(torch.from_numpy(column))
            window.append()
        copy.load(window.snapshots)
        for column in w.T[filled:]:
            weights.copy_(torch.from_numpy(column))
            window.append()
            copy.append()
        assert torch.equal(copy.snapshots, window.snapshots)
        assert torch.equal(copy.newest, window.newest)

    def test_are_not_taken_of_weights_that_are_as_narrow(self):
        window, _ = window_of(smooth(10, 3), torch.bfloat16, dtype=torch.float16)
        assert window.snapshots.dtype == torch.bfloat16

    def test_nan_weights_give_nan(self):
        w = smooth(10, 4)
        w[3, 1] = np.nan
        window, groups = window_of(w, torch.float32, dtype=torch.float16)
        assert window.factors(groups).isnan().all()

    @pytest.mark.parametrize("group", ["layer", "node"])
    @pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
    def test_accelerator_jumps_almost_as_with_whole_snapshots(self, low, group):
        models = [torch.nn.Linear(20, 10) for _ in range(2)]
        models[1].load_state_dict(models[0].state_dict())
        rule = DMD(1e-2, form="displacement")
        whole = Accelerator(models[0], rule, m=6, s=5, group=group)
        rounded = Accelerator(models[1], rule, m=6, s=5, group=group, snapshot_dtype=low, snapshot_device="cpu")
        direction = torch.randn(10, 20)
        for step in range(6):
            for model in models:
                model.weight.data += 1e-3 * direction * 0.9**step
            before = models[0].weight.detach().clone()
            jumps = whole.step(), rounded.step()
        assert all(jump.accepted for jump in jumps)
        move = models[0].weight - before
        # One mode of the weights' 8 or more bits of moves; measured 1e-3 (bfloat16).
        assert (models[1].weight - models[0].weight).norm() < 1e-2 * move.norm()
        # Moves of 1e-2 of the weights keep 3 or 4 digits, the weights 7: they resolve 1e-5 or 1e-6, not 1e-8.
        assert jumps[1].groups[0].resolution > 30 * jumps[0].groups[0].resolution

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ({"snapshot_dtype": torch.int8}, r"snapshot_dtype must be one of torch.float32, .*, got torch.int8"),
            ({"snapshot_device": "nowhere"}, r"snapshot_device must name a device, .* got 'nowhere'"),
        ],
    )
    def test_bad_options(self, option, message):
        with pytest.raises(ValueError, match=message):
            Accelerator(torch.nn.Linear(2, 2), DMD(), m=3, s=1, **option)


MEMORY = """
import sys, torch
from accel import DMD, Accelerator
m, n, low = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
def resident(kind):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(kind))
def train(model, accelerator):
    for _ in range(2 * m):
        model.weight.data.mul_(1 + 1e-4)  # in place, no temporary
        accelerator.step()
small = torch.nn.Linear(1 << 10, 1 << 8, bias=False)  # as large as needs every kernel; libraries are loaded here
train(small, Accelerator(small, DMD(), m=m, s=5))
model = torch.nn.Linear(1 << 10, n >> 10, bias=False)
dtype = None if low == "None" else getattr(torch, low)
accelerator = Accelerator(model, DMD(), m=m, s=5, snapshot_dtype=dtype)
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # sets the peak to the present
before = resident("VmRSS")
train(model, accelerator)
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(("low", "bytes_per_weight"), [("None", 4 * 14), ("bfloat16", 2 * 12 + 4 * 2)])
def test_peak_memory_is_that_of_the_snapshots(low, bytes_per_weight):
    n = 1 << 22
    run = [sys.executable, "-W", "error", "-c", MEMORY, "14", str(n), low]
    extra = int(subprocess.run(run, check=True, capture_output=True, text=True, timeout=120).stdout)
    # Blocks of a jump: 2 MiB of steps, 2 of changes, 4 in float64, what the allocator keeps of them, and the buffers of
    # numpy's products, 14 to 22 MiB in all. One more copy of the weights would add 16 MiB, and be seen.
    assert extra < n * bytes_per_weight + 26 * 2**20
    assert extra > 0.9 * n * bytes_per_weight  # and it was measured at all
