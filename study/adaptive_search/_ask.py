"""Choice of the next cell by Optuna's samplers, on a study in memory that is told the result of every cell."""

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
"""Number of times in a row that a sampler may ask for a known cell. Then an unknown cell is drawn at random."""
POPULATION = 20
"""Size of a generation of NSGA-II. With Optuna's default of 50, most searches would end in the first, random one."""
OPTUNA = ("tpe", "gp", "qmc", "random", "nsga2")


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Make one of Optuna's samplers, with a seed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "qmc":
            return samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        if name == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
        classes: dict[str, type[optuna.samplers.BaseSampler]] = {
            "tpe": samplers.TPESampler, "gp": samplers.GPSampler, "random": samplers.RandomSampler,
        }  # fmt: skip
        return classes[name](seed=seed)  # type: ignore[call-arg]


class Asker:
    """Asks a sampler for cells, each of them once.

    Args:
        space: Space of the cells.
        sampler: Name of the sampler. ``nsga2`` weighs the metric against the overhead; the others use the metric alone.
        seed: Seed of the sampler.

    Raises:
        UserError: The space has one cell only.
    """

    def __init__(self, space: Space, sampler: str, seed: int) -> None:
        if not space.distributions:
            raise UserError("a search must have several cells, but every axis has one value; give an axis more values")
        self._space = space
        self._two_objectives = sampler == "nsga2"
        self._study = optuna.create_study(
            directions=["minimize", "minimize"] if self._two_objectives else ["minimize"],
            sampler=make_sampler(sampler, seed),
        )
        self._generator = np.random.default_rng(seed)
        self._asked: dict[str, Trial] = {}
        self._known: set[str] = set()

    def ask(self) -> dict[str, Value] | None:
        """Return a cell that is not known and was not asked for before; None if there is none left."""
        if len(self._known) >= self._space.size:
            return None
        for _ in range(PATIENCE):
            if (cell := self._take(self._study.ask(self._space.distributions))) is not None:
                return cell
        self._study.enqueue_trial(self._random_unknown())
        return self._take(self._study.ask(self._space.distributions))

    def tell(self, cell: Mapping[str, Value], values: tuple[float, float] | None) -> None:
        """Take in a cell that has ended, whether or not it was asked for.

        Args:
            cell: Axis key -> the cell's value.
            values: Metric and overhead of the cell; None if the sampler can learn nothing from it.
        """
        name = key(cell, 0)
        trial = self._asked.pop(name, None)
        parameters = self._space.parameters(cell)
        if parameters is None:
            return
        self._known.add(name)
        objectives = None if values is None else list(values) if self._two_objectives else values[0]
        if trial is not None:
            self._study.tell(trial, objectives, TrialState.FAIL if objectives is None else TrialState.COMPLETE)
        elif objectives is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                finished = optuna.trial.create_trial(
                    params=parameters,
                    distributions=self._space.distributions,
                    **({"values": objectives} if isinstance(objectives, list) else {"value": objectives}),
                )
            self._study.add_trial(finished)

    def _take(self, trial: Trial) -> dict[str, Value] | None:
        """Return the trial's cell and remember it; None if the cell is known already."""
        cell = self._space.cell(trial.params)
        name = key(cell, 0)
        if name in self._known:
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        self._known.add(name)
        self._asked[name] = trial
        return cell

    def _random_unknown(self) -> dict[str, Value]:
        """Draw parameters of an unknown cell; after many failed draws, return the first unknown cell of the space."""
        for _ in range(1000):
            drawn = self._space.random(self._generator)
            if key(self._space.cell(drawn), 0) not in self._known:
                return drawn
        return next(each for each in self._space.all() if key(self._space.cell(each), 0) not in self._known)
