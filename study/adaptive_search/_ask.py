"""Which cell to train next: Optuna's samplers on a study in memory, which is told of every cell as it ends."""

import warnings
from collections.abc import Mapping

import numpy as np
import optuna
from optuna.trial import Trial, TrialState

from study.adaptive_search._space import Space
from study.errors import UserError
from study.replicates.keys import key
from study.replicates.replicate import Value

PATIENCE = 20
"""How often in a row a sampler may ask for cells that are known; then one that is not is drawn at random."""
POPULATION = 20
"""Of a generation of NSGA-II; Optuna's own 50 would leave most searches in the first, which is random."""
OPTUNA = ("tpe", "gp", "qmc", "random", "nsga2")


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """One of Optuna's samplers, with what it draws from seeded."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "qmc":
            return samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        if name == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
        made: dict[str, type[optuna.samplers.BaseSampler]] = {
            "tpe": samplers.TPESampler, "gp": samplers.GPSampler, "random": samplers.RandomSampler,
        }  # fmt: skip
        return made[name](seed=seed)  # type: ignore[call-arg]


class Asker:
    """Asks a sampler for cells, each once.

    Args:
        space: of the cells.
        sampler: by name; ``nsga2`` weighs the metric against the overhead, the others look at the metric alone.
        seed: of the sampler.

    Raises:
        UserError: the space holds one cell.
    """

    def __init__(self, space: Space, sampler: str, seed: int) -> None:
        if not space.distributions:
            raise UserError("every axis has one value: there is one cell, and nothing to search for")
        self._space = space
        self._several = sampler == "nsga2"
        self._study = optuna.create_study(
            directions=["minimize", "minimize"] if self._several else ["minimize"], sampler=make_sampler(sampler, seed)
        )
        self._generator = np.random.default_rng(seed)
        self._asked: dict[str, Trial] = {}
        self._known: set[str] = set()

    def ask(self) -> dict[str, Value] | None:
        """A cell that was not asked for before and is not known; None where there is none left."""
        if len(self._known) >= self._space.size:
            return None
        for _ in range(PATIENCE):
            if (cell := self._take(self._study.ask(self._space.distributions))) is not None:
                return cell
        self._study.enqueue_trial(self._unknown())
        return self._take(self._study.ask(self._space.distributions))

    def tell(self, cell: Mapping[str, Value], values: tuple[float, float] | None) -> None:
        """A cell has ended, asked for or not, with its metric and overhead; None: with nothing to learn from."""
        name = key(cell, 0)
        trial = self._asked.pop(name, None)
        parameters = self._space.parameters(cell)
        if parameters is None:
            return
        self._known.add(name)
        told = None if values is None else list(values) if self._several else values[0]
        if trial is not None:
            self._study.tell(trial, told, TrialState.FAIL if told is None else TrialState.COMPLETE)
        elif told is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                made = optuna.trial.create_trial(
                    params=parameters,
                    distributions=self._space.distributions,
                    **({"values": told} if isinstance(told, list) else {"value": told}),
                )
            self._study.add_trial(made)

    def _take(self, trial: Trial) -> dict[str, Value] | None:
        cell = self._space.cell(trial.params)
        name = key(cell, 0)
        if name in self._known:
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        self._known.add(name)
        self._asked[name] = trial
        return cell

    def _unknown(self) -> dict[str, Value]:
        for _ in range(1000):
            found = self._space.random(self._generator)
            if key(self._space.cell(found), 0) not in self._known:
                return found
        return next(found for found in self._space.all() if key(self._space.cell(found), 0) not in self._known)
