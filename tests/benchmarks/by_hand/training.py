"""Train a replicate of `quick` with PyDMD, and draw the heatmap, as a competent user would without dmd-study."""

import csv
import itertools
import warnings

import matplotlib
import numpy as np
import pydmd
import torch
from torch import nn

COLUMNS = ("m", "s", "tolerance", "seed", "error")


def load_data(path):
    """Return training inputs and targets as float32 tensors."""
    with np.load(path) as file:
        return tuple(torch.tensor(file[name], dtype=torch.float32) for name in ("inputs", "targets"))


def build_network(sizes, seed):
    """Return the dense network of these layer sizes; the generator's seed is the one that dmd-study uses."""
    generator = torch.Generator().manual_seed(
        int(np.random.SeedSequence([seed, 0]).generate_state(1, np.uint64)[0] >> 1)
    )
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        linear = nn.Linear(inputs, outputs, dtype=torch.float64)
        nn.init.xavier_uniform_(linear.weight, generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Softsign()]
    return nn.Sequential(*layers[:-1]).float()


def predict(snapshots, tolerance, s):
    """Return the weights of a layer s steps after the newest of its snapshots, (n, m), by PyDMD."""
    sigma = np.linalg.svd(snapshots[:, :-1], compute_uv=False)
    rank = int(np.sum(sigma > tolerance * sigma[0]))
    dmd = pydmd.DMD(svd_rank=rank, opt=-1).fit(snapshots)  # amplitudes of the newest snapshot
    return (dmd.modes @ (dmd.eigs**s * dmd.amplitudes)).real


def train(x, y, hidden, epochs, m, s, tolerance, seed):
    """Train with a jump after every m steps; return the mean of loss after a jump / loss before it."""
    warnings.filterwarnings("ignore", module="pydmd")  # snapshots are nearly parallel, which it tells at every jump
    torch.set_num_threads(1)
    network = build_network([x.shape[1], *hidden, y.shape[1]], seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    windows = [[] for _ in layers]
    ratios = []
    for _ in range(epochs):
        optimizer.zero_grad()
        nn.functional.mse_loss(network(x), y).backward()
        optimizer.step()
        for window, layer in zip(windows, layers, strict=True):
            window.append(nn.utils.parameters_to_vector(layer.parameters()).detach().double().numpy())
        if len(windows[0]) == m:
            with torch.no_grad():
                before = nn.functional.mse_loss(network(x), y).item()
                for window, layer in zip(windows, layers, strict=True):
                    jumped = torch.from_numpy(predict(np.stack(window, axis=1), tolerance, s)).float()
                    nn.utils.vector_to_parameters(jumped, layer.parameters())
                    window.clear()
                after = nn.functional.mse_loss(network(x), y).item()
            if not np.isfinite(after):
                return np.inf
            ratios.append(after / before)
    return float(np.mean(ratios))


def write(rows, folder):
    """Write heatmap.csv, one row per replicate, and heatmap.png, with the mean over the seeds in each cell."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    with open(folder / "heatmap.csv", "w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    table = np.array(rows)
    ms, ss, tolerances = (np.unique(table[:, column]) for column in range(3))
    figure, axes = plt.subplots(1, len(tolerances), squeeze=False, figsize=(6 * len(tolerances), 5))
    for axis, tolerance in zip(axes[0], tolerances, strict=True):
        chosen = table[table[:, 2] == tolerance]
        means = [[chosen[(chosen[:, 0] == m) & (chosen[:, 1] == s), 4].mean() for m in ms] for s in ss]
        image = axis.imshow(np.log10(means), origin="lower", cmap="RdBu_r", aspect="auto")
        axis.set_xticks(range(len(ms)), ms.astype(int))
        axis.set_yticks(range(len(ss)), ss.astype(int))
        axis.set(xlabel="m", ylabel="s", title=f"tolerance {tolerance:g}")
        figure.colorbar(image, label="log10 of the mean relative error")
    figure.savefig(folder / "heatmap.png", dpi=150)
