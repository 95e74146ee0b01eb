import itertools

import torch
from torch.utils.flop_counter import FlopCounterMode

from study.replicates.flops import dense_weights, evaluation_flops, jump_flops, step_flops

PAPER = (6, (40, 200, 1000), 2670)


def dense(sizes):
    return torch.nn.Sequential(*(torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)))


def test_weights_of_the_papers_network():
    # 2,882,150 parameters: 280 + 8,200 + 201,000 + 2,672,670
    assert dense_weights(*PAPER) == 2_882_150
    assert dense_weights(8, (), 4) == 36
    assert dense_weights(3, (5, 2), 1) == sum(p.numel() for p in dense([3, 5, 2, 1]).parameters())


def test_a_step_on_the_papers_network_is_13_8_gigaflop():
    assert round(step_flops(dense_weights(*PAPER), 800) / 1e9, 1) == 13.8


def test_steps_and_evaluations_against_torchs_own_count():
    inputs, hidden, outputs, samples = 50, (40, 200, 100), 267, 80
    model = dense([inputs, *hidden, outputs])
    with FlopCounterMode(display=False) as forward:
        loss = model(torch.randn(samples, inputs)).sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    weights = dense_weights(inputs, hidden, outputs)
    # torch counts neither biases (0.7 % of these weights) nor the gradient of the inputs (2,000 of 54,700 weights)
    assert abs(evaluation_flops(weights, samples) / forward.get_total_flops() - 1) < 0.02
    assert abs(step_flops(weights, samples) / (forward.get_total_flops() + backward.get_total_flops()) - 1) < 0.04


def test_a_jump_is_its_gram_matrix_and_one_combination():
    weights, m = 1000, 14
    multiply_adds = weights * (m * (m + 1) // 2 + m)
    assert jump_flops(weights, m) == 2 * multiply_adds
    # per step of a window the cost grows as m, and on the paper's network it is less than 2 % of a step
    assert jump_flops(2_882_150, 20) / 20 < 0.02 * step_flops(2_882_150, 800)
