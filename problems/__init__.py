"""Problems to train on: data, and optionally a network and a loss.

A problem is any frozen dataclass that meets `Problem`. `BUILT_IN` names those that come with the package. Each is
imported when it is first used, so that planning a study needs none of their dependencies.
"""

from problems._problem import Data, OwnAccuracy, OwnLoss, OwnNetwork, Problem, Progress, Sizes

BUILT_IN: dict[str, str] = {
    "pollutant": "problems.pollutant:Pollutant",
    "quadratic": "problems.quadratic:Quadratic",
    "digits": "problems.digits:Digits",
    "digits_conv": "problems.digits:DigitsConv",
    "mnist": "problems.images:Mnist",
    "cifar10": "problems.images:Cifar10",
    "hamiltonian": "problems.hamiltonian:Hamiltonian",
    "xor": "problems.xor:Xor",
    "adder": "problems.adder:Adder",
}
"""Name in a spec -> ``module:class``."""

__all__ = ["BUILT_IN", "Data", "OwnAccuracy", "OwnLoss", "OwnNetwork", "Problem", "Progress", "Sizes"]
