"""The choice between torch and oneDNN: what is timed and compared, and what decides."""

from dataclasses import replace

import pytest
import torch

from study.replicates.products_choice import MIN_STEP_FLOPS, ProductsChoice, TrainingShape, choose_by_largest, chosen_of
from study.replicates.replicate import Recipe
from study.training import choose_products as choosing
from study.training.choose_products import PAIRS, TOLERANCE, choose_products

RECIPE = Recipe((30, 20), "tanh", "adam", 1e-3, 0.0, 0.0, 10, None, "float32", products="auto")
SHAPE = TrainingShape(RECIPE, 6, 40, 200)


@pytest.fixture
def clock(monkeypatch):
    """Let each step take a second with torch and so many with oneDNN."""

    def set_ratio(ratio):
        def seconds(self):
            self._step(self._x, self._y, True)
            return ratio if self._recipe.products == "onednn" else 1.0

        monkeypatch.setattr(choosing._TimedStep, "seconds", seconds)

    return set_ratio


@pytest.mark.parametrize(("ratio", "chosen"), [(0.5, "onednn"), (0.89, "onednn"), (0.91, "torch"), (2.0, "torch")])
def test_a_tenth_of_a_step_must_be_saved(clock, ratio, chosen):
    clock(ratio)
    choice = choose_products(SHAPE, 1)
    assert (choice.chosen, choice.torch_ms, choice.onednn_ms) == (chosen, 1000.0, 1000.0 * ratio)
    assert ("saves less than a tenth" in choice.reason) == (chosen == "torch")
    assert 0 < choice.difference < TOLERANCE
    assert (choice.samples, choice.threads) == (200, 1)


def test_products_that_differ_by_more_than_roundings_are_not_taken(clock, monkeypatch):
    clock(0.1)
    build = choosing.build_network

    def slightly_wrong(task, recipe, seed):
        network = build(task, recipe, seed)
        if recipe.products == "onednn":
            with torch.no_grad():
                network[0].weight[0, 0] += 0.01
        return network

    monkeypatch.setattr(choosing, "build_network", slightly_wrong)
    choice = choose_products(SHAPE, 1)
    assert choice.chosen == "torch"
    assert choice.difference > TOLERANCE
    assert choice.reason.startswith("losses or gradients differ by ")


def test_a_large_step_is_timed_on_fewer_samples(clock, monkeypatch):
    clock(1.0)
    monkeypatch.setattr(choosing, "TIMED_FLOPS", SHAPE.step_flops / 4)
    assert choose_products(SHAPE, 1).samples == 50
    assert choose_products(replace(SHAPE, recipe=replace(RECIPE, batch=32)), 1).samples == 32
    monkeypatch.setattr(choosing, "TIMED_FLOPS", 1.0)
    assert choose_products(SHAPE, 1).samples == choosing.MIN_ROWS


def test_steps_are_timed_in_turns(monkeypatch):
    timed = []
    seconds = choosing._TimedStep.seconds

    def watched(self):
        timed.append(self._recipe.products)
        return seconds(self)

    monkeypatch.setattr(choosing._TimedStep, "seconds", watched)
    threads = torch.get_num_threads()
    choice = choose_products(SHAPE, 1)
    assert timed == ["torch", "onednn"] * PAIRS
    assert choice.torch_ms > 0
    assert choice.onednn_ms > 0
    assert torch.get_num_threads() == threads


def test_where_there_is_none_torch_is_taken(monkeypatch):
    monkeypatch.setattr(choosing, "has_onednn", lambda: False)
    assert choose_products(SHAPE, 1) == ProductsChoice("torch", "torch has no float32 products of oneDNN here")


def test_the_largest_open_training_decides():
    wide = replace(SHAPE, recipe=replace(RECIPE, hidden=(400, 400)))
    wider_but_settled = replace(SHAPE, recipe=replace(RECIPE, hidden=(900, 900), products="torch"))
    timed = []

    def time_both(shape):
        timed.append(shape)
        return ProductsChoice("onednn", "")

    assert choose_by_largest([SHAPE, wide, wider_but_settled], time_both) == ProductsChoice("onednn", "")
    assert timed == [wide]
    assert choose_by_largest([wider_but_settled], time_both) is None
    assert SHAPE.step_flops < MIN_STEP_FLOPS < wide.step_flops
    assert choose_by_largest([SHAPE], time_both).chosen == "torch"
    assert timed == [wide]


def test_a_choice_is_kept_as_plain_data():
    kept = ProductsChoice("onednn", "why", torch_ms=2.0).to_dict()
    assert kept == {"chosen": "onednn", "reason": "why", "torch_ms": 2.0}
    assert chosen_of(kept) == "onednn"
    assert chosen_of({"chosen": "something else"}) == chosen_of({}) == "torch"
