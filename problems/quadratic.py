"""Linear least squares with a prescribed spectrum: the analytic test bed for trainers and accelerators."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from problems._problem import Data, Progress, Sizes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quadratic:
    """Targets t = W* x + b* + noise, for a dense network without hidden layers under the mean squared error.

    The training inputs have mean exactly 0 and covariance C = XᵀX / samples with eigenvalues exactly
    ``condition ** (-k / (inputs - 1))``, k = 0 … inputs - 1: from 1 down to 1 / condition, evenly spaced in the
    logarithm, in a random basis. The loss, the mean over samples and outputs, is then exactly quadratic in the weights
    and biases. For each output its Hessian has the eigenvalues 2 / outputs times those of C (the weights) and
    2 / outputs (the bias, uncoupled from the weights because the inputs have mean 0), see `hessian_eigenvalues`. So
    gradient descent with learning rate lr is a linear iteration: every step multiplies the error along each eigenvector
    by 1 - lr * eigenvalue. It is stable for lr < outputs.

    Args:
        inputs: number of inputs of the network.
        outputs: number of outputs of the network.
        samples: number of training samples; more than ``inputs``, so that C can have full rank.
        test_samples: number of test samples, drawn from the same law (their covariance is C only on average).
        seed: seed of inputs, weights and noise.
        condition: largest over smallest eigenvalue of C.
        noise: standard deviation of the noise on the targets; without it the smallest training loss is 0.
    """

    inputs: int = 8
    outputs: int = 4
    samples: int = 64
    test_samples: int = 16
    seed: int = 0
    condition: float = 100.0
    noise: float = 0.1

    def __post_init__(self) -> None:
        wrong = []
        for name, least in (("inputs", 1), ("outputs", 1), ("samples", 2), ("test_samples", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                wrong.append(f"{name} must be a whole number >= {least}, not {value!r}")
        for name, least in (("condition", 1), ("noise", 0)):
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not least <= value < np.inf:
                wrong.append(f"{name} must be a finite number >= {least}, not {value!r}")
        if not wrong and self.samples <= self.inputs:
            wrong.append(f"samples must be more than inputs, not {self.samples} for {self.inputs} inputs")
        if wrong:
            raise ValueError("quadratic: " + "; ".join(wrong))

    def sizes(self) -> Sizes:
        """Return the shapes of the data."""
        return Sizes(self.inputs, self.outputs, self.samples, self.test_samples)

    def data(self, progress: Progress | None = None) -> Data:
        """Make the data; instant. Inputs and targets are used as they are, without scaling."""
        rng = np.random.default_rng(self.seed)
        basis, _ = np.linalg.qr(rng.standard_normal((self.inputs, self.inputs)))
        root = np.sqrt(self._covariance_eigenvalues())[:, None] * basis.T  # rootᵀ root = C
        centred = rng.standard_normal((self.samples, self.inputs))
        white, _ = np.linalg.qr(centred - centred.mean(axis=0))
        train = np.sqrt(self.samples) * white @ root
        test = rng.standard_normal((self.test_samples, self.inputs)) @ root
        weights, bias = rng.standard_normal((self.inputs, self.outputs)), rng.standard_normal(self.outputs)
        train_targets = train @ weights + bias + self.noise * rng.standard_normal((self.samples, self.outputs))
        test_targets = test @ weights + bias + self.noise * rng.standard_normal((self.test_samples, self.outputs))
        if progress is not None:
            progress(self.samples + self.test_samples, self.samples + self.test_samples)
        return Data(train, train_targets, test, test_targets)

    def hessian_eigenvalues(self) -> Array:
        """Return the eigenvalues of the training loss's Hessian for one output, (inputs + 1,): weights, then bias.

        They are the same for every output.
        """
        return 2.0 / self.outputs * np.append(self._covariance_eigenvalues(), 1.0)

    def _covariance_eigenvalues(self) -> Array:
        return np.asarray(self.condition ** -np.linspace(0.0, 1.0, self.inputs))
