"""The accelerator in a training loop: what it writes, what it leaves alone, what it reports."""

import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from accel import DMD, Accelerator, Combination, JumpOutcome


def regression(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 5, generator=generator)
    return x, torch.sin(x[:, :2])


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 2))


def train(model, optimizer, steps, accelerator=None, judge=False, x_y=None):
    """Full-batch training; returns the jumps."""
    x, y = x_y or regression()

    def loss():
        return nn.functional.mse_loss(model(x), y)

    jumps = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        if accelerator is not None:
            jumps.append(accelerator.step(loss if judge else None))
    return [jump for jump in jumps if jump is not None]


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).clone()


class Constant:
    """A rule that combines every window by the same coefficients."""

    def __init__(self, *coefficients):
        self.coefficients = torch.tensor([coefficients], dtype=torch.float64)

    def __call__(self, window, s):
        b = window.shape[0]
        return Combination(
            self.coefficients.expand(b, -1), torch.ones(b, dtype=torch.int64), torch.ones(b, dtype=torch.float64)
        )


def newest(m):
    return Constant(*([0.0] * (m - 1)), 1.0)


class TestJumps:
    def test_every_m_th_step_jumps_to_the_prediction_of_each_layer(self, textbook):
        model, m, s = mlp().double(), 6, 10
        x, y = (t.double() for t in regression())
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        accelerator = Accelerator(model, DMD(1e-8), m=m, s=s)
        for _ in range(2):  # the second window starts after the jump, without the point it landed on
            layers = [[], []]
            for k in range(m):
                optimizer.zero_grad()
                nn.functional.mse_loss(model(x), y).backward()
                optimizer.step()
                for rows, layer in zip(layers, (model[0], model[2]), strict=True):
                    rows.append(weights(layer).numpy())
                jump = accelerator.step()
                assert (jump is None) == (k < m - 1)
            for rows, layer in zip(layers, (model[0], model[2]), strict=True):
                w = np.stack(rows, axis=1)
                expected = textbook(w, s, 1e-8)
                # Singular values are kept down to 1e-8 of the largest: eps / 1e-8 of the weights, relative to a move of
                # 1e-2 of them.
                assert np.linalg.norm(weights(layer).numpy() - expected) < 1e-5 * np.linalg.norm(expected - w[:, -1])

    def test_gradient_descent_on_a_quadratic_reaches_the_minimum(self, descend):
        trajectory, later = descend([0.05, 0.3, 0.8], 14, 55)
        model = nn.ParameterList([nn.Parameter(torch.zeros(100, 2).double()), nn.Parameter(torch.zeros(100).double())])
        accelerator = Accelerator(model, DMD(), m=14, s=55)
        for column in torch.from_numpy(trajectory.T.copy()):
            with torch.no_grad():
                model[0].copy_(column[:200].view(100, 2))
                model[1].copy_(column[200:])
            jump = accelerator.step()
        assert jump.outcome is JumpOutcome.ACCEPTED
        assert jump.groups[0].rank == 4  # three rates, and the minimum itself, which stays
        assert jump.groups[0].spectral_radius == pytest.approx(1, abs=1e-9)
        error = np.linalg.norm(weights(model).numpy() - later)
        assert error < 1e-9 * np.linalg.norm(later - trajectory[:, -1])

    def test_report(self):
        model = mlp()
        accelerator = Accelerator(model, DMD(1e-6), m=5, s=7)
        jumps = train(model, torch.optim.Adam(model.parameters(), 1e-3), 10, accelerator, judge=True)
        assert [jump.step for jump in jumps] == [5, 10]
        for jump in jumps:
            assert jump.s == 7
            assert [(g.name, g.size) for g in jump.groups] == [("0", 96), ("2", 34)]
            assert jump.ratio == jump.loss_after / jump.loss_before
            assert jump.accepted
        assert accelerator.group_names == ("0", "2")
        x, y = regression()
        assert jumps[-1].loss_after == nn.functional.mse_loss(model(x), y).item()

    def test_without_a_closure_nothing_is_evaluated(self):
        model = mlp()
        (jump,) = train(model, torch.optim.SGD(model.parameters(), 0.1), 4, Accelerator(model, DMD(), m=4, s=1))
        assert jump.loss_before is jump.loss_after is jump.ratio is None
        assert jump.accepted

    def test_parts_do_what_step_does(self):
        whole, parts = mlp(), mlp()
        a = Accelerator(whole, DMD(1e-6), m=4, s=9)
        train(whole, torch.optim.SGD(whole.parameters(), 0.1), 4, a)
        b = Accelerator(parts, DMD(1e-6), m=4, s=9)
        optimizer = torch.optim.SGD(parts.parameters(), 0.1)
        full = []
        for _ in range(4):
            train(parts, optimizer, 1)
            full.append(b.record())
        assert full == [False, False, False, True]
        before = weights(parts)
        proposal = b.propose()
        prediction = b.predict(proposal)
        assert torch.equal(weights(parts), before)
        assert b.apply(proposal)
        assert torch.equal(weights(parts), prediction)
        assert torch.equal(weights(parts), weights(whole))
        b.restore()
        assert torch.equal(weights(parts), before)

    def test_parts_out_of_order_are_errors(self):
        accelerator = Accelerator(mlp(), DMD(), m=2, s=1)
        with pytest.raises(RuntimeError, match="needs a full window: 0 of m = 2 snapshots"):
            accelerator.propose()
        accelerator.record()
        accelerator.record()
        with pytest.raises(RuntimeError, match="already holds m = 2 snapshots"):
            accelerator.record()
        proposal = accelerator.propose()
        accelerator.clear()
        for late in (lambda: accelerator.apply(proposal), lambda: accelerator.predict(proposal), accelerator.restore):
            with pytest.raises(RuntimeError, match="needs a full window: 0 of m = 2 snapshots"):
                late()


class TestJudgement:
    def test_improve_takes_better_weights_and_puts_worse_ones_back(self):
        taken = set()
        for s in (2, 5000):
            model = mlp()
            optimizer = torch.optim.SGD(model.parameters(), 0.05)
            accelerator = Accelerator(model, DMD(1e-9), m=4, s=s, accept="improve")
            train(model, optimizer, 3, accelerator, judge=True)
            after_step = []
            optimizer.register_step_post_hook(lambda *_, seen=after_step, net=model: seen.append(weights(net)))
            (jump,) = train(model, optimizer, 1, accelerator, judge=True)
            assert jump.accepted == (jump.loss_after < jump.loss_before)
            assert torch.equal(weights(model), after_step[0]) != jump.accepted
            taken.add(jump.outcome)
        assert taken == {JumpOutcome.ACCEPTED, JumpOutcome.REJECTED_LOSS}

    def test_improve_needs_a_closure_when_it_jumps(self):
        model = mlp()
        accelerator = Accelerator(model, DMD(), m=2, s=1, accept="improve")
        assert accelerator.step() is None
        with pytest.raises(ValueError, match="needs a closure"):
            accelerator.step()

    def test_equal_loss_is_no_improvement(self):
        model = mlp()
        accelerator = Accelerator(model, newest(3), m=3, s=1, accept="improve")
        (jump,) = train(model, torch.optim.SGD(model.parameters(), 0.1), 3, accelerator, judge=True)
        assert jump.outcome is JumpOutcome.REJECTED_LOSS
        assert jump.ratio == 1

    @pytest.mark.parametrize("accept", ["always", "improve"])
    @pytest.mark.parametrize("coefficient", [math.nan, math.inf, 1e300])
    def test_a_prediction_that_is_not_finite_is_never_applied(self, accept, coefficient):
        # 1e300 is finite in float64 and overflows in the parameters' float32.
        model = mlp()
        accelerator = Accelerator(model, Constant(0.0, 0.0, coefficient), m=3, s=1, accept=accept)
        plain = mlp()
        (jump,) = train(model, torch.optim.Adam(model.parameters()), 3, accelerator, judge=True)
        train(plain, torch.optim.Adam(plain.parameters()), 3)
        assert jump.outcome is JumpOutcome.NOT_FINITE
        assert jump.ratio == math.inf
        assert torch.equal(weights(model), weights(plain))

    def test_an_overflow_is_seen_without_a_closure(self):
        model, plain = mlp(), mlp()
        accelerator = Accelerator(model, Constant(0.0, 0.0, 1e300), m=3, s=1)
        (jump,) = train(model, torch.optim.Adam(model.parameters()), 3, accelerator)
        train(plain, torch.optim.Adam(plain.parameters()), 3)
        assert jump.outcome is JumpOutcome.NOT_FINITE
        assert jump.ratio is None
        assert torch.equal(weights(model), weights(plain))

    @pytest.mark.parametrize(("after", "ratio"), [(1.0, math.inf), (0.0, 1.0)])
    def test_a_ratio_to_a_loss_of_zero(self, after, ratio):
        model = mlp()
        accelerator = Accelerator(model, DMD(), m=2, s=1)
        accelerator.record()
        with torch.no_grad():
            model[0].weight.add_(0.1)
        losses = iter([0.0, after])
        jump = accelerator.step(lambda: next(losses))
        assert jump.ratio == ratio
        assert jump.accepted

    def test_a_loss_that_is_not_finite_after_the_jump_is_never_accepted(self):
        model = mlp()
        accelerator = Accelerator(model, DMD(), m=2, s=3)
        accelerator.record()
        with torch.no_grad():
            model[0].weight.add_(0.1)
        before = weights(model)
        losses = iter([1.0, math.nan])
        jump = accelerator.step(lambda: next(losses))
        assert jump.outcome is JumpOutcome.NOT_FINITE
        assert jump.ratio == math.inf
        assert torch.equal(weights(model), before)

    @pytest.mark.parametrize(
        ("value", "message"),
        [(torch.ones(2), r"scalar loss, got a tensor of shape \(2,\)"), ("1.0", "got '1.0'"), (math.nan, "got NaN")],
    )
    def test_a_closure_without_a_loss_is_an_error_that_changes_nothing(self, value, message):
        model = mlp()
        accelerator = Accelerator(model, DMD(), m=2, s=1)
        train(model, torch.optim.SGD(model.parameters(), 0.1), 1, accelerator)
        with torch.no_grad():
            model[0].bias.add_(1)
        before = weights(model)
        with pytest.raises(ValueError, match=message):
            accelerator.step(lambda: value)
        assert torch.equal(weights(model), before)
        assert accelerator.step() is None  # a new window has begun

    def test_an_error_in_the_closure_puts_the_weights_back(self):
        model = mlp()
        accelerator = Accelerator(model, DMD(), m=2, s=50)
        train(model, torch.optim.SGD(model.parameters(), 0.1), 1, accelerator)
        with torch.no_grad():
            model[0].bias.add_(1)
        before, calls = weights(model), []

        def fails_after_the_jump():
            calls.append(weights(model))
            if len(calls) == 2:
                raise KeyboardInterrupt
            return 1.0

        with pytest.raises(KeyboardInterrupt):
            accelerator.step(fails_after_the_jump)
        assert not torch.equal(calls[1], before)
        assert torch.equal(weights(model), before)

    def test_every_outcome_has_advice(self):
        for outcome in JumpOutcome:
            assert outcome.advice.endswith(".")


class TestDegenerateWindows:
    @pytest.mark.parametrize("m", [2, 3, 7])
    @pytest.mark.parametrize("options", [{}, {"growth": "drop"}, {"amplitudes": "literal", "modes": "exact"}])
    def test_identical_snapshots(self, m, options):
        model = mlp()
        before = weights(model)
        accelerator = Accelerator(model, DMD(**options), m=m, s=50)
        jump = [accelerator.step() for _ in range(m)][-1]
        assert jump.outcome is JumpOutcome.RANK_DEFICIENT
        assert torch.equal(weights(model), before)

    def test_multiples_of_one_vector(self):
        model = mlp().double()
        accelerator = Accelerator(model, DMD(), m=4, s=50)
        for _ in range(4):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(0.5)
            before, jump = weights(model), accelerator.step()
        assert jump.outcome is JumpOutcome.RANK_DEFICIENT
        assert torch.equal(weights(model), before)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_weights_that_are_not_finite(self, bad):
        model = mlp()
        with torch.no_grad():
            model[0].weight[0, 0] = bad
        accelerator = Accelerator(model, DMD(), m=3, s=5)
        jump = [accelerator.step(lambda: math.nan) for _ in range(3)][-1]
        assert jump.outcome is JumpOutcome.NOT_FINITE
        assert jump.groups[0].rank == 0
        assert math.isnan(jump.groups[0].spectral_radius)
        assert math.isfinite(jump.groups[1].spectral_radius)

    def test_a_layer_that_stands_still_does_not_hold_up_the_others(self):
        model, data = mlp().double(), tuple(t.double() for t in regression())
        still = weights(model[0])
        accelerator = Accelerator(model, DMD(1e-6), m=4, s=10)
        optimizer = torch.optim.SGD(model[2].parameters(), 0.1)
        (jump,) = train(model, optimizer, 4, accelerator, x_y=data)
        assert jump.accepted
        assert [group.deficient for group in jump.groups] == [True, False]
        assert torch.equal(weights(model[0]), still)

    def test_two_snapshots_give_one_mode(self):
        model = mlp()
        (jump,) = train(model, torch.optim.Adam(model.parameters()), 2, Accelerator(model, DMD(), m=2, s=3))
        assert jump.accepted
        assert [group.rank for group in jump.groups] == [1, 1]

    def test_a_single_weight_is_a_group_that_moves(self):
        model = nn.ParameterList([nn.Parameter(torch.tensor([1.0]).double())])
        accelerator = Accelerator(model, DMD(), m=3, s=4)
        for _ in range(3):
            with torch.no_grad():
                model[0].mul_(0.5)
            jump = accelerator.step()
        assert jump.accepted
        assert model[0].item() == pytest.approx(0.5**7, rel=1e-12)


class TestAnyModel:
    def test_off_is_bit_identical(self):
        watched, plain = mlp(), mlp()
        # Never full, and full but always predicting where training already is.
        for accelerator in (
            Accelerator(watched, DMD(), m=1000, s=5),
            Accelerator(watched, newest(3), m=3, s=5),
        ):
            train(watched, torch.optim.Adam(watched.parameters()), 20, accelerator, judge=True)
            train(plain, torch.optim.Adam(plain.parameters()), 20)
            assert torch.equal(weights(watched), weights(plain))

    def test_writes_in_place_and_rebinds_nothing(self):
        model = mlp()
        before = [(p, p.data_ptr()) for p in model.parameters()]
        optimizer = torch.optim.Adam(model.parameters())
        (jump,) = train(model, optimizer, 3, Accelerator(model, DMD(), m=3, s=5))
        assert jump.accepted
        for (old, pointer), new in zip(before, model.parameters(), strict=True):
            assert old is new
            assert pointer == new.data_ptr()
            assert new.requires_grad

    def test_shared_parameters_belong_to_their_first_owner(self):
        model = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Linear(5, 2))
        model[2].weight = model[0].weight
        accelerator = Accelerator(model, DMD(1e-6), m=4, s=5)
        (jump,) = train(model, torch.optim.SGD(model.parameters(), 0.1), 4, accelerator)
        assert [(g.name, g.size) for g in jump.groups] == [("0", 30), ("2", 5), ("3", 12)]
        assert model[2].weight is model[0].weight

    def test_frozen_parameters_and_buffers_are_left_alone(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        model[0].requires_grad_(False)
        frozen = weights(model[0])
        optimizer = torch.optim.SGD(model[1:].parameters(), 0.1)
        accelerator = Accelerator(model, DMD(1e-6), m=4, s=5)
        train(model, optimizer, 3, accelerator)
        seen = []
        optimizer.register_step_post_hook(lambda *_: seen.append(model[1].running_mean.clone()))
        (jump,) = train(model, optimizer, 1, accelerator)
        assert jump.accepted
        assert accelerator.group_names == ("1", "2")
        assert torch.equal(weights(model[0]), frozen)
        assert torch.equal(model[1].running_mean, seen[0])

    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
    def test_convolutions(self, memory_format):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 2)).to(
            memory_format=memory_format
        )
        data = (torch.randn(8, 3, 6, 6), torch.randn(8, 2))
        accelerator = Accelerator(model, DMD(1e-6), m=4, s=3)
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        train(model, optimizer, 3, accelerator, x_y=data)
        expected = []
        optimizer.register_step_post_hook(
            lambda *_: (accelerator.record(), expected.append(accelerator.predict(accelerator.propose())))
        )
        train(model, optimizer, 1, x_y=data)
        assert accelerator.apply(accelerator.propose())
        assert torch.equal(weights(model), expected[0])
        assert model[0].weight.is_contiguous(memory_format=memory_format)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        model = mlp().to(dtype)
        data = tuple(t.to(dtype) for t in regression())
        (jump,) = train(
            model, torch.optim.SGD(model.parameters(), 0.1), 3, Accelerator(model, DMD(1e-2), m=3, s=2), x_y=data
        )
        assert jump.accepted
        assert {p.dtype for p in model.parameters()} == {dtype}

    def test_group_model_is_one_operator(self):
        model = mlp()
        (jump,) = train(
            model, torch.optim.SGD(model.parameters(), 0.1), 3, Accelerator(model, DMD(), m=3, s=2, group="model")
        )
        assert [(g.name, g.size) for g in jump.groups] == [("model", 130)]

    def test_a_module_that_owns_its_parameters_is_one_group(self):
        model = nn.Linear(5, 2)
        (jump,) = train(model, torch.optim.SGD(model.parameters(), 0.1), 3, Accelerator(model, DMD(), m=3, s=2))
        assert [(g.name, g.size) for g in jump.groups] == [("model", 12)]


class TestMoments:
    @pytest.mark.parametrize("moments", ["keep", "reset"])
    def test_after_an_accepted_jump(self, moments):
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters())
        accelerator = Accelerator(model, DMD(), m=3, s=2, moments=moments, optimizer=optimizer)
        (jump,) = train(model, optimizer, 3, accelerator)
        assert jump.accepted
        assert len(optimizer.state) == (0 if moments == "reset" else 4)
        train(model, optimizer, 1, accelerator)
        assert optimizer.state[model[0].weight]["step"] == (1 if moments == "reset" else 4)

    def test_a_rejected_jump_keeps_them(self):
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters())
        accelerator = Accelerator(model, newest(3), m=3, s=2, accept="improve", moments="reset", optimizer=optimizer)
        (jump,) = train(model, optimizer, 3, accelerator, judge=True)
        assert not jump.accepted
        assert optimizer.state[model[0].weight]["step"] == 3


class TestResume:
    @pytest.mark.parametrize("stop", [3, 7, 10])
    def test_equals_uninterrupted(self, stop):
        def fresh():
            model = mlp()
            return model, torch.optim.Adam(model.parameters()), Accelerator(model, DMD(1e-6), m=5, s=10)

        model, optimizer, accelerator = fresh()
        train(model, optimizer, stop, accelerator)
        file = io.BytesIO()
        torch.save([model.state_dict(), optimizer.state_dict(), accelerator.state_dict()], file)
        jumps = train(model, optimizer, 23 - stop, accelerator)

        again, optimizer, accelerator = fresh()
        file.seek(0)
        states = torch.load(file, weights_only=True)
        for part, state in zip((again, optimizer, accelerator), states, strict=True):
            part.load_state_dict(state)
        assert train(again, optimizer, 23 - stop, accelerator) == jumps
        assert torch.equal(weights(again), weights(model))

    def test_the_state_is_a_copy(self):
        model = mlp()
        accelerator = Accelerator(model, DMD(), m=4, s=1)
        accelerator.record()
        state = accelerator.state_dict()
        kept = state["windows"][0].clone()
        accelerator.clear()
        train(model, torch.optim.SGD(model.parameters(), 1.0), 2, accelerator)
        assert torch.equal(state["windows"][0], kept)

    def test_refuses_other_options_and_lists_them(self):
        state = Accelerator(mlp(), DMD(1e-6), m=4, s=1).state_dict()
        with pytest.raises(
            ValueError, match=r"rule is .DMD\(tolerance=1e-06.* there, .DMD\(tolerance=0.1.* here; m is 4 there, 5 here"
        ):
            Accelerator(mlp(), DMD(0.1), m=5, s=1).load_state_dict(state)
        with pytest.raises(ValueError, match=r"groups is \[\['0', 96\]"):
            Accelerator(nn.Linear(2, 2), DMD(1e-6), m=4, s=1).load_state_dict(state)
        with pytest.raises(ValueError, match="must have format 3, got None"):
            Accelerator(mlp(), DMD(1e-6), m=4, s=1).load_state_dict({})


class TestBadInput:
    def test_lists_all_bad_options(self):
        with pytest.raises(
            ValueError,
            match=r"m must be an integer of at least 2, got 1; s must be .* at least 1 or a Horizon, got 0; accept "
            r'must be one of always, improve, got .never.; moments="reset" needs optimizer=',
        ):
            Accelerator(mlp(), DMD(), m=1, s=0, accept="never", moments="reset")
        for bad in ({"m": 2.0, "s": 1}, {"m": True, "s": 1}, {"m": 2, "s": 1.5}):
            with pytest.raises(ValueError, match="must be an integer"):
                Accelerator(mlp(), DMD(), **bad)
        with pytest.raises(
            ValueError,
            match=r"group must be one of .* weight, a number of weights from 1, or a mapping .*, got 'neuron'",
        ):
            Accelerator(mlp(), DMD(), m=2, s=1, group="neuron")
        with pytest.raises(ValueError, match="moments must be one of keep, reset"):
            Accelerator(mlp(), DMD(), m=2, s=1, moments="forget")
        model = mlp()
        with pytest.raises(ValueError, match="Adagrad does not"):
            Accelerator(model, DMD(), m=2, s=1, moments="reset", optimizer=torch.optim.Adagrad(model.parameters()))

    def test_names_unsuitable_parameters(self):
        with pytest.raises(ValueError, match="must have trainable floating-point parameters"):
            Accelerator(nn.ReLU(), DMD(), m=2, s=1)
        with pytest.raises(ValueError, match="must have trainable floating-point parameters"):
            Accelerator(mlp().requires_grad_(False), DMD(), m=2, s=1)
        with pytest.raises(ValueError, match=r"got 0\.weight of torch\.complex64"):
            Accelerator(nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)), DMD(), m=2, s=1)
        with pytest.raises(ValueError, match="parameter weight must have a shape"):
            Accelerator(nn.LazyLinear(2), DMD(), m=2, s=1)

    def test_a_rule_of_the_wrong_shape(self):
        model = mlp()
        accelerator = Accelerator(model, Constant(1.0, 0.0, 0.0), m=2, s=1)
        with pytest.raises(ValueError, match=r"coefficients of shape \(2, 2\), one per snapshot .*, got \(2, 3\)"):
            train(model, torch.optim.SGD(model.parameters(), 0.1), 2, accelerator)
