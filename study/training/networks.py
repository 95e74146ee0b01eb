"""Networks and losses of replicates: a single one, or several stacked along a leading axis and evaluated together."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from study.replicates.replicate import Recipe, Task
from study.training.matrix_products import OneDNNLinear, has_onednn
from study.training.random_streams import global_generator, stream_seed

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}
Loss = Callable[[Any, Tensor, Tensor], Tensor]
"""(network, inputs, targets) -> a scalar."""


def build_network(task: Task, recipe: Recipe, seed: int) -> nn.Module:
    """Return the dense network of the recipe (Xavier-uniform weights, zero biases), or the problem's own.

    Args:
        task: data, and the problem's own network if it has one.
        recipe: layers, activation and products of the dense network.
        seed: seed of the replicate.

    Raises:
        RuntimeError: the recipe asks for products of oneDNN, which this process does not have.
    """
    if task.network is not None:
        with global_generator(seed, "weights"):
            network: nn.Module = task.network()
            return network
    if recipe.products == "onednn" and not has_onednn():
        raise RuntimeError("training.products is onednn, but torch has no float32 products of oneDNN here")
    layer = OneDNNLinear if recipe.products == "onednn" else nn.Linear
    generator = torch.Generator().manual_seed(stream_seed(seed, "weights"))
    sizes = [task.train_inputs.shape[1], *recipe.hidden, task.train_targets.shape[1]]
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        if index:
            layers.append(ACTIVATIONS[recipe.activation]())
        # without torch's own initialisation, which would draw from the global generator
        linear = nn.utils.skip_init(layer, inputs, outputs, dtype=torch.float64)  # type: ignore[no-untyped-call]
        nn.init.xavier_uniform_(linear.weight, generator=generator)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
    return nn.Sequential(*layers)


def build_loss(task: Task) -> Loss:
    """Return the mean squared error over samples and outputs, or the problem's own loss."""
    if task.loss is not None:
        return task.loss
    return lambda model, x, y: nn.functional.mse_loss(model(x), y)


class Networks:
    """K networks of one architecture.

    A single network is used as it is. Several networks have their parameters stacked, and `torch.func.vmap` evaluates
    them in one call with batched products.

    Args:
        modules: the networks, on their device; this object may change them.
        loss: loss to minimise.
        own: True if the network is the problem's own, which may keep statistics or draw noise.
        batchable: True if several sets of weights can be evaluated in one call; None: unless the network is the
            problem's own.
    """

    def __init__(self, modules: Sequence[nn.Module], loss: Loss, *, own: bool, batchable: bool | None = None) -> None:
        self.module = modules[0]
        self.stacked = len(modules) > 1
        self.batchable = not own if batchable is None else batchable
        self._loss, self._own = loss, own
        self.parameters: dict[str, Tensor] = dict(self.module.named_parameters())
        if self.stacked:
            for name, first in self.parameters.items():
                rows = torch.stack([dict(module.named_parameters())[name].detach() for module in modules])
                self.parameters[name] = rows.requires_grad_(first.requires_grad)

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values()))) if self.stacked else 1

    @property
    def trainable(self) -> list[Tensor]:
        """Parameters that are trained, (K, *shape) each if stacked."""
        return [parameter for parameter in self.parameters.values() if parameter.requires_grad]

    @property
    def weights(self) -> int:
        """Number of parameters of one network."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def losses(self, x: Tensor, y: Tensor, part: slice = slice(None), *, shared: bool = True) -> Tensor:
        """Return the loss of each network of a part, (k,).

        Args:
            x: inputs; (k, …) if not shared.
            y: targets; (k, …) if not shared.
            part: networks to evaluate.
            shared: True if all networks get the same inputs and targets.
        """
        if not self.stacked:
            return self._loss(self.module, x, y)[None]
        return self._batched({name: values[part] for name, values in self.parameters.items()}, x, y, shared=shared)

    def judge_at(self, weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Return the losses of networks that have other weights than the trained ones.

        Args:
            weights: name of a parameter -> its values, (k, *shape).
            x: inputs.
            y: targets.
        """
        fixed = {name: values for name, values in self.parameters.items() if name not in weights}
        count = len(next(iter(weights.values())))
        with torch.no_grad(), self._undisturbed(x.device):
            if self.batchable:
                expanded = {name: values.expand(count, *values.shape) for name, values in fixed.items()}
                return self._batched({**weights, **expanded}, x, y, shared=True)
            rows = [{name: values[k] for name, values in weights.items()} for k in range(count)]
            return torch.stack([self._single_loss({**row, **fixed}, x, y) for row in rows])

    def judge(self, x: Tensor, y: Tensor, part: slice = slice(None)) -> Tensor:
        """Return `losses` without gradients and without side effects on the training.

        Args:
            x: inputs.
            y: targets.
            part: networks to evaluate.
        """
        with torch.no_grad(), self._undisturbed(x.device):
            return self.losses(x, y, part)

    def accuracies(self, accuracy: Loss, x: Tensor, y: Tensor) -> list[float]:
        """Return the accuracy of each network, one at a time, without side effects on the training.

        Args:
            accuracy: function (network, inputs, targets) -> accuracy.
            x: inputs.
            y: targets.
        """
        with torch.no_grad(), self._undisturbed(x.device):
            if not self.stacked:
                return [accuracy(self.module, x, y).item()]
            rows = [{name: values[place] for name, values in self.parameters.items()} for place in range(len(self))]
            return [accuracy(functools.partial(functional_call, self.module, row), x, y).item() for row in rows]

    def _single_loss(self, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return self._loss(lambda *given: functional_call(self.module, parameters, given), x, y)

    def _batched(self, parameters: dict[str, Tensor], x: Tensor, y: Tensor, *, shared: bool) -> Tensor:
        data_axis = None if shared else 0
        losses: Tensor = vmap(self._single_loss, in_dims=(0, data_axis, data_axis))(parameters, x, y)
        return losses

    def keep(self, places: Sequence[int]) -> None:
        """Keep only the networks at these places; those of a stack move to new memory."""
        for name, values in self.parameters.items():
            self.parameters[name] = values.detach()[list(places)].requires_grad_(values.requires_grad)

    @contextmanager
    def _undisturbed(self, device: torch.device) -> Iterator[None]:
        """Keep no statistics of batches, and leave the random numbers of the training as they are.

        Does nothing for the dense network of a recipe, which has no statistics and no noise.
        """
        if not self._own:
            yield
            return
        training = self.module.training
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            self.module.eval()
            try:
                yield
            finally:
                self.module.train(training)


def why_not_stacked(task: Task, recipe: Recipe, device: torch.device) -> str | None:
    """Return the reason why replicates of a problem's own network or loss cannot be stacked; None if they can.

    Args:
        task: data, and the problem's own network and loss.
        recipe: recipe of the replicates.
        device: device to train on.
    """
    if task.network is None and task.loss is None:
        return None
    loss, dtype = build_loss(task), getattr(torch, recipe.dtype)
    modules = [build_network(task, recipe, seed).to(device, dtype) for seed in (0, 1)]
    name = type(modules[0]).__name__ if task.loss is None else f"{type(modules[0]).__name__} with its own loss"
    if any(True for _ in modules[0].buffers()):
        return f"{name} has buffers, which may hold statistics of batches"
    if any(isinstance(module, nn.modules.dropout._DropoutNd) for module in modules[0].modules()):
        return f"{name} draws random numbers"
    x, y = (torch.tensor(a[:8], dtype=dtype, device=device) for a in (task.train_inputs, task.train_targets))
    alone = torch.stack([loss(module, x, y).detach() for module in modules])
    try:
        together = Networks(modules, loss, own=True).losses(x, y).detach()
    except Exception as error:  # code of the user may raise anything if vmap cannot transform it
        return f"{name} cannot be batched by torch.func.vmap: {str(error).strip().splitlines()[0]}"
    # batched products of the same numbers may differ by a few roundings
    if not torch.allclose(alone, together, rtol=1e3 * torch.finfo(dtype).eps, equal_nan=True):
        return f"{name} gives other losses when batched by torch.func.vmap"
    return None
