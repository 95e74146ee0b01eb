"""Trajectories with known dynamics, and textbook DMD on them: n-vectors, complex modes, numpy, no Gram matrix."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _textbook(
    w: Array,
    s: int,
    tolerance: float,
    form: str = "state",
    amplitudes: str = "least_squares",
    modes: str = "projected",
    growth: str = "keep",
) -> Array:
    lagged, led, newest = w[:, :-1], w[:, 1:], w[:, -1]
    u, sigma, vh = np.linalg.svd(lagged, full_matrices=False)
    r = int(np.sum(sigma / sigma[0] > tolerance))
    u, sigma, v = u[:, :r], sigma[:r], vh[:r].T
    eigenvalues, y = np.linalg.eig(u.T @ led @ v / sigma)
    phi = (u if modes == "projected" else led @ v / sigma) @ y
    if amplitudes == "least_squares":
        b = np.linalg.lstsq(phi, newest.astype(complex), rcond=None)[0]
    else:
        b = phi.conj().T @ newest
    growing = np.abs(eigenvalues) > 1 + 1e-8
    if growth == "clip":
        eigenvalues = np.where(growing, eigenvalues / np.abs(eigenvalues), eigenvalues)
    advance = eigenvalues**s if form == "state" else eigenvalues**s - 1
    if growth == "drop":
        advance = np.where(growing, 0, advance)
    move = np.real(phi @ (advance * b))
    return np.asarray(move if form == "state" else newest + move)


def _factor(w: Array) -> torch.Tensor:
    """The window in an orthonormal basis of its span, by Householder QR: (1, m, m)."""
    r = np.linalg.qr(w, mode="r")
    m = w.shape[1]
    return torch.from_numpy(np.vstack([r, np.zeros((m - len(r), m))]))[None]


def _descend(rates: list[float], m: int, s: int, n: int = 300, seed: int = 0) -> tuple[Array, Array]:
    """Gradient descent on a quadratic: m iterates (n, m) by recursion, and the iterate s steps later in closed form."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.standard_normal((n, len(rates))))[0]
    minimum, start = rng.standard_normal(n), rng.standard_normal(len(rates))
    iterates = [minimum + q @ start]
    for _ in range(m - 1):
        iterates.append(iterates[-1] - q @ (np.array(rates) * (q.T @ (iterates[-1] - minimum))))
    later = minimum + q @ (start * (1 - np.array(rates)) ** (m - 1 + s))
    return np.stack(iterates, axis=1), later


@pytest.fixture(scope="session")
def textbook() -> Callable[..., Array]:
    return _textbook


@pytest.fixture(scope="session")
def factor() -> Callable[[Array], torch.Tensor]:
    return _factor


@pytest.fixture(scope="session")
def descend() -> Callable[..., tuple[Array, Array]]:
    return _descend


@pytest.fixture(scope="session")
def mlp_trajectory() -> Array:
    """(40, n) float32 weights of the first layer (n = 1,640) of a small network under Adam, full batch."""
    torch.manual_seed(0)
    x = torch.randn(200, 40)
    y = torch.sin(x[:, :3] * 2)
    net = torch.nn.Sequential(torch.nn.Linear(40, 40), torch.nn.Softsign(), torch.nn.Linear(40, 3))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    rows = []
    for _ in range(140):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
        rows.append(torch.cat([p.detach().reshape(-1) for p in net[0].parameters()]).clone())
    return np.asarray(torch.stack(rows[100:]).numpy())
