"""K replicates are judged in one call as each is by an accelerator of its own."""

import math

import pytest
import torch
from torch import nn

from accel import DMD, Accelerator, ByLoss, Combination, JumpOptions, JumpOutcome, StackedAccelerator, judge_jump

M = 4


class Scaling:
    """Predicts the newest snapshot times a number that depends on s; NaN or beyond float32 where it is told so."""

    def __init__(self, factors):
        self.factors = factors

    def __call__(self, window, s):
        coefficients = torch.zeros(len(window), M, dtype=torch.float64)
        coefficients[:, -1] = self.factors[s]
        ones = torch.ones(len(window), dtype=torch.float64)
        return Combination(coefficients, ones.long(), ones)


OPTIONS = {
    "plain": JumpOptions(DMD(1e-3), m=M, s=5),
    "improve": JumpOptions(Scaling({4: 2.0}), m=M, s=4, accept="improve"),
    "margin": JumpOptions(Scaling({4: 0.9}), m=M, s=4, accept="improve", margin=0.1),
    "margin too large": JumpOptions(Scaling({4: 0.9}), m=M, s=4, accept="improve", margin=0.5),
    "first is best": JumpOptions(Scaling({4: 0.5, 8: 0.7, 12: 0.9}), m=M, s=4, candidates=(1, 2, 3)),
    "last is best": JumpOptions(Scaling({4: 0.9, 8: 0.7, 12: 0.5}), m=M, s=4, candidates=(1, 2, 3)),
    "one overflows": JumpOptions(Scaling({4: math.nan, 8: 0.7, 12: 1e39}), m=M, s=4, candidates=(1, 2, 3)),
    "a loss overflows": JumpOptions(Scaling({4: 1e30, 8: 0.7}), m=M, s=4, candidates=(1, 2)),
    "all overflow": JumpOptions(Scaling({4: math.inf, 8: 1e39, 12: 1e30}), m=M, s=4, candidates=(1, 2, 3)),
    "no coefficients": JumpOptions(Scaling({4: math.nan}), m=M, s=4),
    "beyond the dtype": JumpOptions(Scaling({4: 1e39}), m=M, s=4),
    "limit": JumpOptions(DMD(rank=1), m=M, s=4, max_residual=0.0),
    "by loss": JumpOptions(DMD(1e-3), m=M, s=ByLoss(9), candidates=(0.5, 1)),
}


def networks(count):
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(nn.Linear(4, 3))
    return made


def move(networks, step):
    with torch.no_grad():
        for number, each in enumerate(networks):
            for index, p in enumerate(each.parameters()):
                base = torch.linspace(-1, 1, p.numel()).view(p.shape) + number
                p.copy_(base + 0.1 * (0.8**step * base**2 + 0.5**step * (index + 1) * base**3))


def loss_of(parameters):
    return float(sum(p.float().square().sum() for p in parameters))


def stack(networks):
    names = dict(networks[0].named_parameters())
    return {name: torch.stack([dict(n.named_parameters())[name].detach() for n in networks]) for name in names}


class Together:
    """K replicates in one stack, with the losses that were asked for."""

    def __init__(self, options):
        self.networks, self.weights = networks(len(options)), None
        self.weights = stack(self.networks)
        self.stacked = StackedAccelerator(self.networks[0], options, self.weights)
        self.asked, self.seen = [], {"newest": [], "choice": []}

    def fill(self):
        for step in range(M):
            move(self.networks, step)
            for name, values in stack(self.networks).items():
                self.weights[name].copy_(values)
            self.stacked.record()

    def evaluate(self, replicates):
        self.asked.append(tuple(replicates))
        return [loss_of([values[k] for values in self.weights.values()]) for k in range(len(self.networks))]

    def judge(self):
        def note(when):
            return lambda replicates: self.seen[when].append((tuple(replicates), self.evaluate([])))

        return judge_jump(self.stacked, self.evaluate, at_newest=note("newest"), at_choice=note("choice"))


def alone(options, number):
    """The same replicate's jump by an accelerator in a loop of its own."""
    many = networks(number + 1)
    model = many[number]
    kept = {key: getattr(options, key) for key in ("m", "s", "candidates", "accept", "margin", "max_residual")}
    accelerator = Accelerator(model, options.rule, **kept)
    for step in range(M):
        move(many, step)
        jump = accelerator.step(lambda: loss_of(model.parameters()))
    return jump, torch.cat([p.detach().flatten() for p in model.parameters()])


def test_each_of_many_is_judged_as_alone():
    options = list(OPTIONS.values())
    together = Together(options)
    together.fill()
    newest = [values.clone() for values in together.weights.values()]
    verdicts = dict(zip(OPTIONS, together.judge(), strict=True))
    found = {name: verdict.outcome.value for name, verdict in verdicts.items()}
    not_finite = {"all overflow", "no coefficients", "beyond the dtype"}
    assert {name for name in found if found[name] == "not_finite"} == not_finite
    assert {name for name in found if found[name] == "rejected_loss"} == {"improve", "margin too large"}
    assert found["limit"] == "rejected_residual"
    for number, (name, verdict) in enumerate(verdicts.items()):
        jump, weights = alone(OPTIONS[name], number)
        assert (verdict.outcome, verdict.proposal.s, verdict.evaluations) == (jump.outcome, jump.s, jump.evaluations)
        assert verdict.accepted == jump.accepted
        for own, other in ((verdict.loss_before, jump.loss_before), (verdict.loss_after, jump.loss_after)):
            assert own is other is None or own == pytest.approx(other, rel=1e-4)
        if verdict.outcome is not JumpOutcome.REJECTED_RESIDUAL:
            assert verdict.ratio == pytest.approx(jump.ratio, rel=1e-4)
        own = torch.cat([values[number].flatten() for values in together.weights.values()])
        torch.testing.assert_close(own, weights, rtol=1e-5, atol=1e-5)
        if not verdict.accepted:
            assert torch.equal(own, torch.cat([values[number].flatten() for values in newest]))


def test_the_losses_asked_for_are_few_and_the_watchers_see_newest_and_chosen_weights():
    together = Together(list(OPTIONS.values()))
    together.fill()
    names = list(OPTIONS)
    before = [loss_of([values[k] for values in together.weights.values()]) for k in range(len(names))]
    verdicts = together.judge()
    counted = [replicates for replicates in together.asked if replicates]
    # one call of those whose horizon needs it, one of the others, one of each candidate
    assert len(counted) == 5
    assert counted[0] == (names.index("by loss"),)
    for k, verdict in enumerate(verdicts):
        assert verdict.evaluations == sum(k in replicates for replicates in counted)
    ((tried, losses),) = together.seen["newest"]
    assert losses == before
    assert set(tried) == set(range(len(names))) - {names.index("limit"), names.index("no coefficients")}
    ((chosen, losses),) = together.seen["choice"]
    assert set(tried) - set(chosen) == {names.index("beyond the dtype")}
    for k in chosen:
        assert losses[k] == pytest.approx(verdicts[k].loss_after, rel=1e-6)
    again = {"first is best": 3, "last is best": 2, "one overflows": 2, "a loss overflows": 1, "plain": 0, "limit": 0}
    assert {name: verdicts[names.index(name)].extra_combinations for name in again} == again


def test_a_loss_of_nan_at_the_newest_snapshot_is_its_own_replicates_alone():
    options = [OPTIONS["first is best"]] * 3
    plain, spoilt = Together(options), Together(options)
    for each in (plain, spoilt):
        each.fill()
    evaluate = spoilt.evaluate
    spoilt.evaluate = lambda replicates: [math.nan if k == 1 else loss for k, loss in enumerate(evaluate(replicates))]
    expected, found = plain.judge(), spoilt.judge()
    assert found[1].outcome is JumpOutcome.NOT_FINITE
    assert math.isnan(found[1].loss_before)
    assert (found[1].loss_after, found[1].evaluations, found[1].extra_combinations) == (None, 1, 0)
    for k in (0, 2):
        assert (found[k].outcome, found[k].loss_after) == (expected[k].outcome, expected[k].loss_after)
        for name, values in plain.weights.items():
            assert torch.equal(spoilt.weights[name][k], values[k])


def test_without_losses_every_finite_prediction_is_taken():
    options = [OPTIONS[name] for name in ("plain", "no coefficients", "beyond the dtype", "limit")]
    together = Together(options)
    together.fill()
    newest = {name: values.clone() for name, values in together.weights.items()}
    verdicts = judge_jump(together.stacked, None, at_choice=lambda replicates: pytest.fail("nothing is evaluated"))
    outcomes = [verdict.outcome.value for verdict in verdicts]
    assert outcomes == ["accepted", "not_finite", "not_finite", "rejected_residual"]
    assert [(v.loss_before, v.loss_after, v.evaluations) for v in verdicts] == [(None, None, 0)] * 4
    for name, values in together.weights.items():
        assert not torch.equal(values[0], newest[name][0])
        assert torch.equal(values[1:], newest[name][1:])
