"""Training of a stack: replicates of one architecture side by side, each as it would be alone.

All K replicates share each product, each update and each evaluation. Whatever differs between them (weights, batches,
learning rate, window, horizon, rule) never mixes: every operation is batched over the replicates or elementwise. A
replicate whose loss is no longer finite leaves the stack.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from accel import JumpOptions, Rule
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Plain, Replicate, Task
from study.training.cuda_graphs import GRAPHS
from study.training.data import Data
from study.training.jump_group import JumpGroup
from study.training.jump_options import build_options, resets_moments
from study.training.layer_names import layer_names
from study.training.loop import TrainingLoop
from study.training.networks import Networks, build_loss, build_network
from study.training.optimizers import Attach, StackOptimizer, hyperparameters
from study.training.probe_group import ProbeGroup, share_training
from study.training.random_streams import global_generator
from study.training.replicate_state import ReplicateState

Warn = Callable[[str], None]


def train_stack(
    replicates: Sequence[Replicate],
    task: Task,
    rules: Mapping[str, Callable[..., Rule]],
    device: torch.device,
    check_every: int | None = None,
    attach: Attach | None = None,
    warn: Warn = warnings.warn,
    replays: bool = True,
) -> list[ReplicateOutcome]:
    """Train replicates of one `Replicate.architecture` from initial weights to the last epoch, or until they diverge.

    Args:
        replicates: What to train.
        task: The data of all of them.
        rules: The user's own rules by name.
        device: Where to train.
        check_every: Steps between two readings of the losses.
        attach: Makes what goes with the optimiser of one replicate, and the network that is judged in its place.
        warn: Called with the reason if steps are not replayed where they could be.
        replays: False to launch every step anew on devices that can replay.

    Returns:
        One outcome per replicate, in order.
    """
    data = Data.of(task, getattr(torch, replicates[0].recipe.dtype), device)
    options = {
        place: build_options(replicate, rules, len(data.x))
        for place, replicate in enumerate(replicates)
        if replicate.extrapolation is not None
    }
    order = sorted(range(len(replicates)), key=lambda place: _neighbours(replicates[place], options.get(place)))
    states = [ReplicateState(replicates[place], place) for place in order]
    networks = _build_networks(task, states, data)
    optimizer = _build_optimizer(networks, states)
    judged = None
    if attach is not None:
        assert len(replicates) == 1
        judged = Networks([optimizer.attach(attach)], build_loss(task), own=task.network is not None)
    # a network of the problem's own, or something attached, may depend on more than can be replayed
    graphs = GRAPHS.get(device.type) if replays and attach is None and task.network is None else None
    groups = [JumpGroup(networks, members, chosen, start) for members, chosen, start in _windows(states, options)]
    for note in {group.note for group in groups} - {None}:
        warn(str(note))
    loop = TrainingLoop(task, data, states, networks, optimizer, judged, groups, graphs, check_every, warn)
    with global_generator(replicates[0].seed, "noise"):  # for dropout, say, in a network of the problem's own
        loop.train()
    counts = networks.weights, len(data.x), len(data.x_test)
    in_order = sorted(states, key=lambda state: state.place_in_pack)
    _name_layers(networks, states)
    return [state.outcome(*counts, stacked=len(states)) for state in in_order]


def train_probed(
    cells: Sequence[Replicate],
    task: Task,
    rules: Mapping[str, Callable[..., Rule]],
    device: torch.device,
    *,
    batchable: bool = True,
    check_every: int | None = None,
    warn: Warn = warnings.warn,
) -> list[ReplicateOutcome]:
    """Train once without jumps, and probe that training for cells that share a `Replicate.probed_with`.

    Args:
        cells: The cells that are asked for.
        task: The data.
        rules: The user's own rules by name.
        device: Where to train.
        batchable: True if networks of the task can be evaluated several at a time.
        check_every: Steps between two readings of the losses.
        warn: Called with the reason if steps are not replayed where they could be.

    Returns:
        One outcome per cell, in order: its jumps are the probes, the rest is the training's, at a share of its cost.
    """
    data = Data.of(task, getattr(torch, cells[0].recipe.dtype), device)
    runner = ReplicateState(replace(cells[0], method=Plain()), 0)
    networks = _build_networks(task, [runner], data, batchable=batchable)
    states = [ReplicateState(replicate, place) for place, replicate in enumerate(cells)]
    probes = ProbeGroup(networks, runner, states, rules, len(data.x))
    graphs = GRAPHS.get(device.type) if task.network is None else None
    optimizer = _build_optimizer(networks, [runner])
    loop = TrainingLoop(task, data, [runner], networks, optimizer, None, [probes], graphs, check_every, warn)
    with global_generator(cells[0].seed, "noise"):
        loop.train()
    if probes.note:
        warn(probes.note)
    share_training(runner, states)
    counts = networks.weights, len(data.x), len(data.x_test)
    _name_layers(networks, states)
    return [state.outcome(*counts, stacked=1, shared_by=len(cells)) for state in states]


def _name_layers(networks: Networks, states: Sequence[ReplicateState]) -> None:
    """Name the groups of jumps for readers; cells of one grouping share their names."""
    readable = {names: layer_names(networks.module, names) for names in {state.groups for state in states}}
    for state in states:
        state.groups = readable[state.groups]


def _build_networks(
    task: Task, states: Sequence[ReplicateState], data: Data, batchable: bool | None = None
) -> Networks:
    modules = [
        build_network(task, state.replicate.recipe, state.replicate.seed).to(device=data.x.device, dtype=data.x.dtype)
        for state in states
    ]
    return Networks(modules, build_loss(task), own=task.network is not None, batchable=batchable)


def _build_optimizer(networks: Networks, states: Sequence[ReplicateState]) -> StackOptimizer:
    replicates = [state.replicate for state in states]
    return StackOptimizer(networks, [r.recipe for r in replicates], [resets_moments(r) for r in replicates])


def _windows(
    states: Sequence[ReplicateState], options: Mapping[int, JumpOptions]
) -> list[tuple[list[ReplicateState], list[JumpOptions], int]]:
    """Gather neighbours whose windows fill together: the states, their options, and the place of the first."""
    runs: list[tuple[object, int, list[ReplicateState]]] = []
    for place, state in enumerate(states):
        jumps = state.replicate.extrapolation
        if jumps is None:
            continue
        key = (*options[state.place_in_pack].window, jumps.snapshots)
        if runs and runs[-1][0] == key and runs[-1][1] + len(runs[-1][2]) == place:
            runs[-1][2].append(state)
        else:
            runs.append((key, place, [state]))
    return [(members, [options[m.place_in_pack] for m in members], start) for _, start, members in runs]


def _neighbours(replicate: Replicate, options: JumpOptions | None) -> tuple[str, ...]:
    """Return a sort key that puts replicates of equal hyperparameters together, and among them those of one window."""
    hyper = repr(hyperparameters(replicate.recipe))
    jumps = replicate.extrapolation
    if options is None or jumps is None:
        return hyper, ""
    return hyper, repr((options.window, jumps.snapshots))
