"""A study that a command trains in a second."""

SPEC = {
    "name": "small",
    "problem": {"name": "quadratic"},
    "network": {"hidden": []},
    "training": {"optimizer": "sgd", "lr": 0.05, "epochs": 24},
    "axes": {"m": [4, 6], "s": [2, 5], "tolerance": [1e-6]},
    "resources": {"pack": 32},
}
