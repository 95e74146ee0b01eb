"""Contract tests for a rule given by the user."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from accel import Combination
from study.checks._clauses import (
    EPOCHS,
    WINDOW,
    Result,
    build,
    require,
    require_picklable,
    require_training,
    run_clause,
)
from study.specification import Section

_S = 5
"""Steps that the tested predictions leap."""


def check_rule(name: str, model: type[Section], owner: type, fields: Mapping[str, Any]) -> list[Result]:
    """Test a rule.

    Args:
        name: ``module:Class`` of the rule.
        model: its section of a spec.
        owner: its class.
        fields: fields as they were typed.

    Raises:
        UserError: the rule refuses the fields.
    """
    rule = build(owner, model, {"name": name, "m": WINDOW, "s": 2}, fields)
    clauses = _Clauses(rule, _windows())
    spec = {
        "name": "check",
        "problem": {"name": "quadratic"},
        "network": {"hidden": []},
        "training": {"optimizer": "sgd", "lr": 0.05, "epochs": EPOCHS},
        "method": {"name": name, **fields},
        "axes": {"m": [WINDOW], "s": [2]},
    }
    return [
        run_clause(
            "returns a Combination: coefficients (groups, m), rank and spectral radius (groups,)", clauses.shapes
        ),
        run_clause("a group's prediction does not depend on its neighbours in the batch", clauses.alone),
        run_clause(
            "a window that is not finite gets coefficients that are not, and does not change its neighbours",
            clauses.not_finite,
        ),
        run_clause("the prediction turns with the window under an orthogonal change of basis", clauses.basis),
        run_clause("identical snapshots do not raise", clauses.identical),
        run_clause("it can be sent to a worker", lambda: require_picklable(rule)),
        run_clause(f"it trains for {EPOCHS} epochs on a quadratic", lambda: require_training(spec)),
    ]


@dataclass(frozen=True)
class _Clauses:
    """Clauses that only rules have; each method raises if its clause does not hold."""

    rule: Callable[[torch.Tensor, int], Combination]
    windows: torch.Tensor

    def shapes(self) -> None:
        combination = self.rule(self.windows, _S)
        require(
            isinstance(combination, Combination), f"must return an accel.Combination, got {type(combination).__name__}"
        )
        batch, _, m = self.windows.shape
        for name, expected in (("coefficients", (batch, m)), ("rank", (batch,)), ("spectral_radius", (batch,))):
            shape = tuple(getattr(combination, name).shape)
            require(shape == expected, f"{name} must have the shape {expected}, got {shape}")
        require(bool(combination.coefficients.isfinite().all()), "coefficients of a finite window must be finite")

    def alone(self) -> None:
        together = self.rule(self.windows, _S).coefficients
        for index in range(len(self.windows)):
            single = self.rule(self.windows[index : index + 1], _S).coefficients[0]
            _require_close(
                self.windows[index] @ single, self.windows[index] @ together[index], "a group alone and in a batch"
            )

    def not_finite(self) -> None:
        spoilt = self.windows.clone()
        spoilt[0, 0, 0] = torch.nan
        mixed, clean = self.rule(spoilt, _S).coefficients, self.rule(self.windows, _S).coefficients
        require(not bool(mixed[0].isfinite().all()), "coefficients of a window with NaN must not be finite")
        for index in range(1, len(self.windows)):
            window = self.windows[index]
            _require_close(
                window @ mixed[index], window @ clean[index], "the neighbours of a window with NaN and of one without"
            )

    def basis(self) -> None:
        turn = torch.linalg.qr(torch.randn(WINDOW, WINDOW, dtype=torch.float64, generator=_generator()))[0]
        turned = turn @ self.windows
        for index in range(len(self.windows)):
            turned_back = turn.T @ (turned[index] @ self.rule(turned, _S).coefficients[index])
            prediction = self.windows[index] @ self.rule(self.windows, _S).coefficients[index]
            _require_close(turned_back, prediction, "a window and its rotation")

    def identical(self) -> None:
        self.rule(self.windows[:, :, :1].expand(-1, -1, WINDOW).clone(), _S)


def _require_close(prediction: torch.Tensor, other: torch.Tensor, what: str) -> None:
    # predictions of float64 windows of size one: far above rounding, far below any move that matters
    error = (prediction - other).abs().max().item()
    require(error <= 1e-6, f"{what} must give the same prediction, but they differ by {error:.1e}")


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _windows() -> torch.Tensor:
    """Return three decaying trajectories with a constant part, (3, m, m), as training looks to a rule."""
    generator = _generator()
    steps = torch.arange(WINDOW, dtype=torch.float64)
    windows = []
    for rates in ((0.9, 0.5), (0.95, 0.3), (0.8, 0.7)):
        modes = torch.randn(WINDOW, 3, dtype=torch.float64, generator=generator)
        windows.append(modes @ torch.stack([torch.ones_like(steps), *(rate**steps for rate in rates)]))
    return torch.stack(windows)
