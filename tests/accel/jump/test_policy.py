"""Schedules, candidates, limits, warm-up and last call, relaxation and noise: each against its definition."""

import io
import math

import pytest
import torch
from torch import nn

from accel import DMD, Accelerator, ByLoss, Combination, Constant, Decay, JumpOutcome, Linear


def walk(model, calls, first=0):
    """Deterministic weights: call k gives every parameter values that decay with two rates."""
    for k in range(first, first + calls):
        with torch.no_grad():
            for index, p in enumerate(model.parameters()):
                base = torch.linspace(-1, 1, p.numel(), dtype=torch.float64).view(p.shape)
                p.copy_(base + 0.1 * (0.8**k * base**2 + 0.5**k * (index + 1) * base**3))
        yield k


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).clone()


def linear():
    return nn.Linear(7, 5).double()


class TestSchedules:
    def test_ninos_own_sequence(self):
        assert [Decay(40, 10)(k, None) for k in range(12)] == [40, 33, 26, 21, 16, 11, 8, 5, 3, 1, 1, 1]

    def test_linear_and_constant(self):
        assert [Linear(10, 4)(k, None) for k in range(6)] == [10, 7, 4, 1, 1, 1]
        assert [Linear(2, 3, last=6)(k, None) for k in range(4)] == [2, 4, 6, 6]
        assert [Linear(9, 1)(k, None) for k in range(2)] == [9, 1]
        assert [Constant(9)(k, None) for k in range(2)] == [9, 9]

    def test_by_loss(self):
        schedule = ByLoss(40)
        assert [schedule(0, r) for r in (1.0, 0.25, 0.01, 1e-9, 0.0, 2.0, math.inf)] == [40, 20, 4, 1, 1, 40, 40]
        assert ByLoss(40, power=1)(3, 0.25) == 10
        with pytest.raises(ValueError, match="needs the loss at every jump"):
            schedule(0, None)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Linear(0, 0, last=0), "Linear: s must .*got 0; jumps must .*got 0; last must .*got 0"),
            (lambda: Decay(5, 2, power=0), "power must be a finite number above 0, got 0"),
            (lambda: ByLoss(5, power=math.inf), "power must be a finite number above 0, got inf"),
            (lambda: Constant(1.5), "s must be an integer of at least 1, got 1.5"),
        ],
    )
    def test_bad_input(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    def test_the_accelerator_follows_its_schedule(self):
        model = linear()
        accelerator = Accelerator(model, DMD(), m=3, s=Linear(9, 3))
        assert [jump.s for _ in walk(model, 12) if (jump := accelerator.step())] == [9, 5, 1, 1]

    def test_by_loss_uses_the_closure_once_for_both(self):
        model, calls = linear(), []
        losses = iter([8.0, 1.0, 2.0, 1.0])
        accelerator = Accelerator(model, DMD(), m=3, s=ByLoss(10))

        def closure():
            calls.append(weights(model))
            return next(losses)

        jumps = [jump for _ in walk(model, 6) if (jump := accelerator.step(closure))]
        assert [(jump.s, jump.loss_before, jump.evaluations) for jump in jumps] == [(10, 8.0, 2), (5, 2.0, 2)]
        assert len(calls) == 4
        with pytest.raises(ValueError, match=r"s=ByLoss\(s=10, power=0.5\) needs a closure"):
            [accelerator.step() for _ in walk(model, 3)]


class TestCandidates:
    def test_the_best_is_kept_and_each_is_evaluated_once(self):
        for lowest in range(3):
            model, seen = linear(), []
            accelerator = Accelerator(model, DMD(), m=3, s=4, candidates=[0.5, 1, 3])

            def closure(model=model, seen=seen, lowest=lowest):
                seen.append(weights(model))
                return [5.0, *(2.0 if k == lowest else 3.0 for k in range(3))][len(seen) - 1]

            jump = [accelerator.step(closure) for _ in walk(model, 3)][-1]
            assert (jump.s, jump.loss_before, jump.loss_after) == ([2, 4, 12][lowest], 5.0, 2.0)
            assert jump.evaluations == len(seen) == 4
            assert torch.equal(weights(model), seen[1 + lowest])
            assert len({tuple(w.tolist()) for w in seen}) == 4
            alone = linear()
            single = Accelerator(alone, DMD(), m=3, s=jump.s)
            for _ in walk(alone, 3):
                single.step()
            assert torch.equal(weights(alone), weights(model))

    def test_repeats_after_rounding_are_tried_once(self):
        model = linear()
        accelerator = Accelerator(model, DMD(), m=3, s=1, candidates=(0.1, 0.5, 1, 1.4, 2))
        assert accelerator.horizons() == (1, 2)

    def test_none_is_kept_where_none_improves(self):
        model, plain = linear(), linear()
        accelerator = Accelerator(model, DMD(), m=3, s=4, candidates=(1, 2), accept="improve")
        losses = iter([1.0, 3.0, 2.0])
        jump = [accelerator.step(lambda: next(losses)) for _ in walk(model, 3)][-1]
        assert (jump.outcome, jump.loss_after, jump.s) == (JumpOutcome.REJECTED_LOSS, 2.0, 8)
        for _ in walk(plain, 3):
            pass
        assert torch.equal(weights(model), weights(plain))

    def test_one_that_is_not_finite_does_not_spoil_the_others(self):
        class Exploding:
            def __call__(self, window, s):
                coefficients = torch.zeros(len(window), 3, dtype=torch.float64)
                coefficients[:, -1] = math.nan if s == 4 else 1.0 + s
                ones = torch.ones(len(window), dtype=torch.float64)
                return Combination(coefficients, ones.long(), ones)

        for losses, s in (([9.0, 1.0, 2.0], 1), ([9.0, math.nan, 2.0], 8)):
            model = linear()
            accelerator = Accelerator(model, Exploding(), m=3, s=4, candidates=(1, 0.25, 2))
            values = iter(losses)
            jump = [accelerator.step(lambda values=values: next(values)) for _ in walk(model, 3)][-1]
            assert (jump.s, jump.outcome, jump.evaluations) == (s, JumpOutcome.ACCEPTED, 3)
        accelerator = Accelerator(model, Exploding(), m=3, s=4, candidates=(1,))
        jump = [accelerator.step(lambda: 1.0) for _ in walk(model, 3)][-1]
        assert (jump.outcome, jump.evaluations) == (JumpOutcome.NOT_FINITE, 0)

    def test_need_a_closure(self):
        model = linear()
        accelerator = Accelerator(model, DMD(), m=2, s=4, candidates=(1, 2))
        assert accelerator.step() is None
        with pytest.raises(ValueError, match="a choice among candidates needs a closure"):
            accelerator.step()


class TestMargin:
    @pytest.mark.parametrize(("after", "taken"), [(0.89, True), (0.9, False), (0.95, False)])
    def test_the_loss_must_fall_by_more_than_it(self, after, taken):
        model = linear()
        accelerator = Accelerator(model, DMD(), m=3, s=4, accept="improve", margin=0.1)
        losses = iter([1.0, after])
        jump = [accelerator.step(lambda: next(losses)) for _ in walk(model, 3)][-1]
        assert jump.accepted == taken


class TestLimits:
    @pytest.mark.parametrize(
        ("option", "field", "outcome"),
        [
            ("max_residual", "residual", JumpOutcome.REJECTED_RESIDUAL),
            ("max_inconsistency", "inconsistency", JumpOutcome.REJECTED_INCONSISTENT),
        ],
    )
    def test_reject_before_anything_is_evaluated(self, option, field, outcome):
        generator = torch.Generator().manual_seed(0)
        noise = [torch.randn(7 * 5 + 5, generator=generator, dtype=torch.float64) for _ in range(5)]
        found = {}
        for limit in (None, 0.0, math.nan):
            model, calls = linear(), []
            limit = 0.999 * found[None].groups.worst(field) if limit == 0 else limit
            limit = 1.001 * found[None].groups.worst(field) if limit is not None and math.isnan(limit) else limit
            accelerator = Accelerator(model, DMD(rank=2), m=5, s=4, **{option: limit})  # all 4 modes are consistent
            for k in range(5):
                torch.nn.utils.vector_to_parameters(torch.linspace(-1, 1, 40) + noise[k] * 0.1, model.parameters())
                before = weights(model)
                jump = accelerator.step(lambda calls=calls: calls.append(1) or 1.0)
            found[limit] = jump
            rejected = limit is not None and limit < found[None].groups.worst(field)
            assert jump.outcome is (outcome if rejected else JumpOutcome.ACCEPTED)
            assert len(calls) == jump.evaluations == (0 if rejected else 2)
            assert torch.equal(weights(model), before) == rejected
            assert (jump.loss_before is None) == rejected
        assert len(found) == 3
        assert found[None].groups.worst(field) > 0

    def test_an_exactly_linear_trajectory_passes_both(self):
        model = linear()
        limits = {"max_residual": 1e-6, "max_inconsistency": 1e-6}
        accelerator = Accelerator(model, DMD(1e-7), m=6, s=4, **limits)
        jump = [accelerator.step() for _ in walk(model, 6)][-1]
        assert jump.accepted
        assert jump.groups[0].rank == 3


class TestWhen:
    @pytest.mark.parametrize("every", [1, 2, 3])
    @pytest.mark.parametrize("start", [0, 4])
    def test_every_start_and_stop(self, every, start):
        model, m, s, stop = linear(), 3, 5, 31
        accelerator = Accelerator(model, DMD(), m=m, s=s, every=every, start=start, stop=stop)
        plain = Accelerator(linear_copy := linear(), DMD(), m=m, s=s)
        outcomes, steps = [], []
        for k in walk(model, 50):
            before = weights(model)
            jump = accelerator.step()
            outcomes.append(accelerator.outcome)
            if jump is not None:
                steps.append(jump.step)
            if (k + 1 - start) % every == 0 and start < k + 1 <= stop:  # a plain accelerator sees these alone
                torch.nn.utils.vector_to_parameters(before, linear_copy.parameters())
                assert (plain.step() is None) == (jump is None)
                assert torch.equal(weights(linear_copy), weights(model))
            else:
                assert jump is None
                assert torch.equal(weights(model), before)
        assert steps == list(range(start + m * every, stop + 1, m * every))
        assert outcomes[:start] == [JumpOutcome.WARMING_UP] * start
        assert set(outcomes[stop:]) == {JumpOutcome.FINISHED}
        expected = [JumpOutcome.ACCEPTED if k + 1 in steps else JumpOutcome.RECORDING for k in range(start, stop - 1)]
        assert outcomes[start : stop - 1] == expected

    def test_the_memory_is_released_after_the_last_call(self):
        model = linear()
        accelerator = Accelerator(model, DMD(), m=3, s=2, stop=7)
        held = [accelerator.step() or accelerator._stack.windows._windows[0]._rows is not None for _ in walk(model, 9)]
        assert held[0]
        assert not held[7]

    def test_a_call_that_is_refused_does_not_count(self):
        model = linear()
        accelerator = Accelerator(model, DMD(), m=2, s=1)
        accelerator.step()
        bias = model.bias.data
        model.bias.data = torch.zeros(3, dtype=torch.float64)
        with pytest.raises(ValueError, match="must keep shape"):
            accelerator.step()
        model.bias.data = bias + 1
        assert accelerator.step().step == 2


class TestShapes:
    @pytest.mark.parametrize("alpha", [0.3, 1.0, 1.5])
    def test_relaxation(self, alpha):
        model, whole = linear(), linear()
        relaxed = Accelerator(model, DMD(), m=4, s=6, relaxation=alpha)
        full = Accelerator(whole, DMD(), m=4, s=6)
        for _ in zip(walk(model, 4), walk(whole, 4), strict=True):
            newest = weights(model)
            jumps = relaxed.step(), full.step()
        expected = newest + alpha * (weights(whole) - newest)
        torch.testing.assert_close(weights(model), expected, rtol=0, atol=1e-13)  # sums of four numbers of size 1
        assert jumps[0].groups[0].relative_move == pytest.approx(alpha * jumps[1].groups[0].relative_move, rel=1e-9)

    @pytest.mark.parametrize("group", ["layer", "node"])
    def test_noise_is_drawn_from_the_groups_own_moves(self, group):
        model, clean = linear(), linear()
        noisy = Accelerator(model, DMD(), m=4, s=6, noise=0.25, group=group)
        plain = Accelerator(clean, DMD(), m=4, s=6, group=group)
        for _ in zip(walk(model, 4), walk(clean, 4), strict=True):
            newest = weights(model)
            noisy.step(), plain.step()
        moves, added = weights(clean) - newest, (weights(model) - weights(clean)) / 0.25
        members = [range(40)] if group == "layer" else [[*range(7 * k, 7 * k + 7), 35 + k] for k in range(5)]
        signs = set()
        for own in members:
            for index in own:
                gap, which = min((abs(abs(added[index]) - abs(moves[j])).item(), j) for j in own)
                assert gap < 1e-12
                signs.add((added[index] * moves[which]).sign().item())
        assert {1.0, -1.0} <= signs

    def test_noise_has_a_seed_and_is_new_at_every_jump(self):
        found = {}
        for seed in (0, 0, 1):
            model = linear()
            accelerator = Accelerator(model, DMD(), m=4, s=6, noise=0.25, seed=seed)
            torch.manual_seed(len(found))
            state = torch.get_rng_state()
            jumped = []
            for k in walk(model, 8):
                accelerator.record()
                if k % 4 == 3:
                    proposal = accelerator.propose()
                    accelerator.apply(proposal)
                    jumped.append(weights(model))
                    assert torch.equal(accelerator.predict(proposal), jumped[-1])  # the same noise, applied again
                    accelerator.clear()
            assert torch.equal(torch.get_rng_state(), state)  # torch's own generator is left alone
            found.setdefault(seed, []).append(jumped)
        assert torch.equal(torch.stack(found[0][0]), torch.stack(found[0][1]))
        assert not torch.equal(found[0][0][0], found[1][0][0])


@pytest.mark.parametrize("stop", [1, 5, 8, 11])
@pytest.mark.parametrize(
    "options",
    [
        {"s": Decay(9, 4), "noise": 0.1, "seed": 3},
        {"s": ByLoss(9), "every": 2, "start": 1},
        {"s": 5, "candidates": (0.5, 1), "stop": 14, "group": "node"},
    ],
)
def test_resumed_equals_uninterrupted(options, stop):
    def fresh():
        model = linear()
        return model, Accelerator(model, DMD(), m=3, **options)

    def go(model, accelerator, first, calls):
        seen = []
        for k in walk(model, calls, first):
            jump = accelerator.step(lambda k=k: weights(model).square().sum() / (k + 1))
            seen.append((jump, accelerator.outcome, weights(model).tolist()))
        return seen

    expected = go(*fresh(), 0, 18)
    model, accelerator = fresh()
    assert go(model, accelerator, 0, stop) == expected[:stop]
    file = io.BytesIO()
    torch.save(accelerator.state_dict(), file)
    file.seek(0)
    model, accelerator = fresh()
    accelerator.load_state_dict(torch.load(file, weights_only=True))
    assert go(model, accelerator, stop, 18 - stop) == expected[stop:]


def test_a_state_of_other_policies_is_refused():
    model = linear()
    state = Accelerator(model, DMD(), m=3, s=Decay(9, 4), relaxation=0.5).state_dict()
    with pytest.raises(ValueError, match=r"s is 'Decay\(s=9, jumps=4, power=2.0\)' there, 9 here; relaxation is 0.5"):
        Accelerator(model, DMD(), m=3, s=9).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be an integer of at least 1, got 0"),
        ({"start": -1}, "start must be an integer of at least 0, got -1"),
        ({"s": "far"}, "s must be an integer of at least 1 or a Horizon, got 'far'"),
        ({"s": Linear}, "s must be an integer"),
        (
            {"start": 4, "every": 2, "stop": 9},
            r"stop must leave room for a window, start \+ m \* every = 10 calls, got 9",
        ),
        ({"relaxation": 0}, r"relaxation must be a number in \(0, 2\], got 0"),
        ({"relaxation": math.nan}, "relaxation must be"),
        ({"noise": -0.1}, "noise must be a finite number of at least 0, got -0.1"),
        ({"candidates": ()}, r"candidates must be one or more, each a finite number above 0, got \(\)"),
        ({"candidates": (1, 0)}, r"candidates must be .* got \(1, 0\)"),
        ({"accept": "improve", "margin": 1}, r"margin must be a number in \[0, 1\), got 1"),
        ({"margin": 0.1}, 'margin needs accept="improve", got 0.1 with accept="always"'),
        ({"max_residual": -1}, "max_residual must be a finite number of at least 0 or None, got -1"),
        ({"max_inconsistency": "no"}, "max_inconsistency must be a finite number of at least 0 or None, got 'no'"),
        ({"rule": DMD(rank=3)}, "rank must be less than the window m, got rank 3 with m = 3"),
    ],
)
def test_options_that_cannot_be(options, message):
    options = {"s": 1, "rule": DMD(), **options}
    with pytest.raises(ValueError, match=message):
        Accelerator(linear(), options.pop("rule"), m=3, **options)
