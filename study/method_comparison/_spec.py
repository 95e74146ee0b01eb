"""File of a comparison of methods, and the specs of the studies that it consists of."""

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from study.errors import SpecError, UserError, shortened
from study.method_comparison.standings import PLAIN, PLAIN_LOWER_RATE
from study.planning.cells import cells
from study.replicates.replicate import Value
from study.specification import Real, Section, Spec, Whole, load_spec, messages, override, parse_yaml, read_text

Stage = Literal["tuning", "final", "timed"]
LABEL = r"[A-Za-z0-9][A-Za-z0-9._-]{0,19}"
_UNUSED_METHOD = {"name": "line", "m": 2}
_UNUSED_AXES = {"s": [1]}
"""Axes of the unused method. A spec must name a method, but studies of plain training train the baselines only."""


class ComparedProblem(Section):
    """Problem with its network and training, and the learning rates (``rates``) from which plain training takes one."""

    problem: dict[str, Any]
    network: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    rates: Annotated[tuple[Annotated[Real, Field(gt=0)], ...], Field(min_length=1)]
    only: dict[str, list[Any]] = Field(default_factory=dict)
    """Axis -> values that methods may try on this problem, to save time. An axis left without values keeps all."""


class ComparedMethod(Section):
    """Method, and the values of its keys from which the best are chosen (``axes``)."""

    method: dict[str, Any]
    axes: dict[str, Any] = Field(default_factory=dict)
    problems: tuple[str, ...] | None = None
    """Names of the problems that it can be used on; None for all."""
    epochs: Annotated[Whole, Field(ge=1)] | None = None
    """Number of epochs, if they cost less than plain training's: so many that the total cost is about the same."""
    control: bool = False
    """True if the method is a control, with which the others are compared."""


class MethodsFile(Section):
    """Comparison of methods. ``tuning_seeds`` and ``seeds`` are lists, or numbers of seeds counted from 1000 and 0."""

    name: str
    problems: Annotated[dict[str, ComparedProblem], Field(min_length=1)]
    methods: Annotated[dict[str, ComparedMethod], Field(min_length=1)]
    training: dict[str, Any] = Field(default_factory=dict)
    """Training keys of all problems."""
    tuning_seeds: tuple[Annotated[Whole, Field(ge=0)], ...] = (1000, 1001)
    seeds: tuple[Annotated[Whole, Field(ge=0)], ...] = (0, 1, 2, 3, 4)
    timed_epochs: Annotated[Whole, Field(ge=1)] = 150
    """Number of epochs of the trainings that measure the time of steps and jumps, each alone in its pack."""
    timed_seeds: Annotated[Whole, Field(ge=1)] = 3
    """Number of seeds of these trainings."""
    resources: dict[str, Any] = Field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Number of epochs of plain training, which is also the budget of every method."""
        return int(self.training["epochs"])

    def among(self, names: Iterable[str]) -> list[str]:
        """Return the named problems in the file's order; all if none is named. Raises UserError for an unknown name."""
        wanted = list(names) or list(self.problems)
        if unknown := [name for name in wanted if name not in self.problems]:
            raise UserError(f"problem must be one of {', '.join(self.problems)}; got {unknown[0]!r}")
        return [name for name in self.problems if name in wanted]

    def entrants(self, problem: str) -> list[str]:
        """Return the names of the methods that can be used on a problem, in the file's order."""
        return [name for name, method in self.methods.items() if method.problems is None or problem in method.problems]

    def rates(self, problem: str, tuned: float) -> list[float]:
        """Return the learning rates that methods may choose: plain training's tuned rate, and the next lower one."""
        known = sorted(self.problems[problem].rates)
        return known[max(known.index(tuned) - 1, 0) : known.index(tuned) + 1]

    def scale(self, problem: str) -> str:
        """Return the size and the training of a problem as text."""
        setup = self.problems[problem]
        sizes = self.plain(problem, setup.rates, "tuning").problem({}).sizes()
        data = f"{sizes.train_samples} + {sizes.test_samples} samples, {sizes.inputs} inputs, {sizes.outputs} outputs"
        sections = (setup.problem, setup.network, {**self.training, **setup.training})
        return "; ".join([data, *(words for section in sections if (words := _section_words(section)))])

    def choices(self) -> str:
        """Return a text that says how parameters are chosen, and on how many seeds."""
        return (
            f"Plain training uses the learning rate of its list that is best on {len(self.tuning_seeds)} seeds. A "
            f"method uses that rate or the next lower one; the rate is chosen together with the method's own keys, by "
            f"the training loss at equal step equivalents. The best parameters are trained on {len(self.seeds)} other "
            f"seeds. Plain training takes {self.epochs} epochs. The steps, jumps and evaluations of a method together "
            f"may cost no more than that."
        )

    def plan(self, problems: Iterable[str]) -> list[tuple[str, str, int, int, int]]:
        """Return what would be trained: problem, method, cells, trainings, and the most epochs that they take."""
        planned = []
        for problem in problems:
            rates = self.problems[problem].rates
            near = self.rates(problem, max(rates))
            plain = len(rates) * len(self.tuning_seeds) + len(near) * len(self.seeds)
            planned.append((problem, PLAIN, len(rates), plain, plain * self.epochs))
            for method in self.entrants(problem):
                spec = self.tuning(problem, method, near)
                tried = cells(spec)
                untimed = len(tried) * len(self.tuning_seeds) + len(self.seeds)
                timed = self.timed_seeds * (1 if spec.jumps else 2)
                epochs = untimed * (self.methods[method].epochs or self.epochs) + timed * self.timed_epochs
                planned.append((problem, method, len(tried), untimed + timed, epochs))
        return planned

    def plain(self, problem: str, rates: Iterable[float], stage: Stage) -> Spec:
        """Return the spec of plain training.

        Args:
            problem: Name of the problem.
            rates: Learning rates.
            stage: Stage of the comparison, which decides the seeds.
        """
        return self._spec(problem, PLAIN, _UNUSED_METHOD, _UNUSED_AXES, rates, stage, self.training["epochs"])

    def tuning(self, problem: str, method: str, rates: Iterable[float]) -> Spec:
        """Return the spec that trains every combination of a method's values and the learning rates.

        Args:
            problem: Name of the problem.
            method: Name of the method.
            rates: Learning rates.
        """
        entry, only = self.methods[method], self.problems[problem].only
        axes = dict(entry.axes)
        for axis in axes.keys() & only.keys():
            if isinstance(axes[axis], list):
                axes[axis] = [value for value in axes[axis] if value in only[axis]] or axes[axis]
        epochs = entry.epochs or self.training["epochs"]
        return self._spec(problem, method, entry.method, axes, rates, "tuning", epochs)

    def chosen(self, problem: str, method: str, cell: Mapping[str, Value], stage: Stage) -> Spec:
        """Return the spec that trains a method's best cell with the final seeds, or times it.

        Args:
            problem: Name of the problem.
            method: Name of the method.
            cell: Parameters of the best cell.
            stage: ``final`` or ``timed``.
        """
        entry = self.methods[method]
        axes = {axis: [value] for axis, value in cell.items() if axis != "training.lr"}
        epochs = self.timed_epochs if stage == "timed" else entry.epochs or self.training["epochs"]
        rate = float(cell["training.lr"])  # type: ignore[arg-type]
        return self._spec(problem, method, entry.method, axes, [rate], stage, epochs)

    def _spec(
        self,
        problem: str,
        method: str,
        section: Mapping[str, Any],
        axes: Mapping[str, Any],
        rates: Iterable[float],
        stage: Stage,
        epochs: Any,
    ) -> Spec:
        setup = self.problems[problem]
        seeds = {"tuning": self.tuning_seeds, "final": self.seeds, "timed": self.seeds[: self.timed_seeds]}[stage]
        return load_spec(
            {
                "name": f"{self.name}-{problem}-{method}-{stage}",
                "problem": setup.problem,
                "network": setup.network,
                "training": {**self.training, **setup.training, "epochs": epochs},
                "method": dict(section),
                "axes": {"training.lr": list(rates), **axes},
                "seeds": list(seeds),
                "resources": {**self.resources, **({"pack": 1} if stage == "timed" else {})},
            }
        )


def methods_files() -> list[str]:
    """Return the names of the comparisons that come with the package."""
    files = resources.files("study.method_comparison").iterdir()
    return sorted(p.name.removesuffix(".yaml") for p in files if p.name.endswith(".yaml"))


def load_methods(
    source: str | Path | Mapping[str, Any], overrides: Iterable[str] | Mapping[str, Any] = ()
) -> MethodsFile:
    """Read and validate a comparison of methods, with every spec that it consists of.

    Args:
        source: YAML file, name of a comparison that comes with the package, or content of a comparison.
        overrides: Keys to replace, as in `study.load_spec`.

    Raises:
        SpecError: The comparison has mistakes; the message has one line per mistake.
    """
    raw: Any
    label = str(source)
    if isinstance(source, Mapping):
        raw, label = dict(source), shortened(source.get("name", "methods")).strip("'")
    else:
        if source in methods_files():
            text = resources.files("study.method_comparison").joinpath(f"{source}.yaml").read_text(encoding="utf-8")
        elif Path(source).is_file():
            text = read_text(Path(source))
        else:
            known = ", ".join(methods_files())
            raise SpecError(label, [f"no such file, and no comparison of that name; the package has {known}"])
        try:
            raw = parse_yaml(text)
        except ValueError as error:
            raise SpecError(label, [str(error)]) from error
    if not isinstance(raw, dict):
        keys = ", ".join(MethodsFile.model_fields)
        raise SpecError(label, [f"a comparison must be a mapping with the keys {keys}, got {shortened(raw)}"])
    override(raw, overrides, label)
    for key, first in (("tuning_seeds", 1000), ("seeds", 0)):
        if isinstance(raw.get(key), int) and not isinstance(raw[key], bool):
            raw[key] = [first + k for k in range(raw[key])]
    file = _validated(raw, label)
    if mistakes := _mistakes_of_file(file) or _mistakes_of_specs(file):
        raise SpecError(label, mistakes)
    return file


def _validated(raw: Mapping[str, Any], label: str) -> MethodsFile:
    entries = {str(key): value for key, value in raw.items()}
    mistakes: list[str] = []
    for kind, model in (("problems", ComparedProblem), ("methods", ComparedMethod)):
        parts = entries.get(kind)
        for name, part in parts.items() if isinstance(parts, dict) else ():
            if isinstance(part, dict):
                try:
                    model(**{str(key): value for key, value in part.items()})
                except ValidationError as error:
                    mistakes += messages(f"{kind}.{name}", model, error, {})
            else:
                mistakes.append(f"{kind}.{name}: must be a mapping, got {shortened(part)}")
    try:
        file = MethodsFile(**entries)
    except ValidationError as error:
        top = [
            mistake.replace(", here or as an axis", "")
            for mistake in messages("", MethodsFile, error, {})
            if not (mistakes and mistake.startswith(("problems", "methods")))
        ]  # those of problems and methods are in `mistakes` already
        raise SpecError(label, top + mistakes) from error
    return file


def _mistakes_of_file(file: MethodsFile) -> list[str]:
    """Return the mistakes that can be seen without making the specs."""
    mistakes = [f"{kind}.{label}: must be 1 to 20 letters, digits, '.', '_' or '-'"
             for kind, labels in (("problems", file.problems), ("methods", file.methods))
             for label in labels if not re.fullmatch(LABEL, label)]  # fmt: skip
    if not re.fullmatch(LABEL, file.name):
        mistakes.append(f"name: must be 1 to 20 letters, digits, '.', '_' or '-', got {shortened(file.name)}")
    for label in {PLAIN, PLAIN_LOWER_RATE} & file.methods.keys():
        mistakes.append(f"methods.{label}: is the name of plain training, which takes part anyway; choose another name")
    if "epochs" not in file.training:
        mistakes.append("training.epochs: must be given: the budget of every method, in epochs of plain training")
    for kind in ("tuning_seeds", "seeds"):
        values = getattr(file, kind)
        if not values or len(set(values)) != len(values):
            mistakes.append(f"{kind}: must be a number from 1, or a list of seeds that differ, got {list(values)}")
    if both := set(file.seeds) & set(file.tuning_seeds):
        mistakes.append(f"tuning_seeds: must not be among seeds, or luck in tuning counts as merit, got {sorted(both)}")
    for label, method in file.methods.items():
        if unknown := [name for name in method.problems or () if name not in file.problems]:
            mistakes.append(f"methods.{label}.problems: must be among {', '.join(file.problems)}, got {unknown[0]}")
        if "training.lr" in method.axes:
            mistakes.append(f"methods.{label}.axes: must leave training.lr to the comparison; remove it")
        if (mode := method.method.get("mode", "train")) != "train":
            mistakes.append(
                f"methods.{label}.method.mode: must be train, so that jumps are taken, got {shortened(mode)}"
            )
        if method.method.get("name") == "mgrit":
            mistakes.append(
                f"methods.{label}: mgrit ends where serial training ends, so that only its time can be compared; use "
                f"`dmd-study run mgrit`, and tests.benchmarks.bench_mgrit"
            )
    return mistakes


def _mistakes_of_specs(file: MethodsFile) -> list[str]:
    """Return the mistakes of all specs. Those of plain training are not repeated for every method on the problem."""
    mistakes: list[str] = []
    for problem, setup in file.problems.items():
        known: set[str] = set()
        pairs: list[tuple[str, Any]] = [(PLAIN, lambda p=problem, r=setup.rates: file.plain(p, r, "tuning"))]
        for method in file.entrants(problem):
            pairs.append((method, lambda p=problem, m=method, r=setup.rates: _make_every_spec(file, p, m, r)))
        for method, make in pairs:
            try:
                make()
            except SpecError as error:
                mistakes += [f"{method} on {problem}: {mistake}" for mistake in error.mistakes if mistake not in known]
                known |= set(error.mistakes) if method == PLAIN else set()
    return list(dict.fromkeys(mistakes))


def _make_every_spec(file: MethodsFile, problem: str, method: str, rates: Iterable[float]) -> None:
    """Make the spec of tuning, and of the timing of the longest window, which must fit into the timed epochs."""
    spec = file.tuning(problem, method, rates)
    longest = max(cells(spec), key=lambda cell: float(cell.get("m", 0)))  # type: ignore[arg-type]
    file.chosen(problem, method, longest, "timed")


def _section_words(section: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in section.items() if key != "name")
