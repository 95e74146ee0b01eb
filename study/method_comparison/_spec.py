"""A comparison of methods as it is written, and the specs of the studies that it is made of."""

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from study.errors import SpecError, UserError, shortened
from study.method_comparison.standings import LOWER, PLAIN
from study.planning.cells import cells
from study.replicates.replicate import Value
from study.specification import Real, Section, Spec, Whole, load_spec, messages, override, parse_yaml, read_text

Stage = Literal["tuning", "final", "timed"]
LABEL = r"[A-Za-z0-9][A-Za-z0-9._-]{0,19}"
_UNUSED = {"name": "line", "m": 2}
_UNUSED_AXES = {"s": [1]}
"""A spec must name a method; of the studies of plain training, baselines alone are trained."""


class OnProblem(Section):
    """A problem with its network and training, and the learning rates among which plain training's is chosen."""

    problem: dict[str, Any]
    network: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    rates: Annotated[tuple[Annotated[Real, Field(gt=0)], ...], Field(min_length=1)]
    only: dict[str, list[Any]] = Field(default_factory=dict)
    """To save time: of a method's values for these axes, those that are here too; where none is, all of them."""


class Entrant(Section):
    """A method, with the values of its keys to choose from."""

    method: dict[str, Any]
    axes: dict[str, Any] = Field(default_factory=dict)
    problems: tuple[str, ...] | None = None
    """Those that it can be used on; None: all."""
    epochs: Annotated[Whole, Field(ge=1)] | None = None
    """Of a method whose epochs cost less than plain training's: as many as cost about the same."""
    control: bool = False
    """It is there to hold the others against."""


class MethodsFile(Section):
    """A whole comparison. ``tuning_seeds`` and ``seeds`` are lists, or numbers of seeds from 1000 and from 0 on."""

    name: str
    problems: Annotated[dict[str, OnProblem], Field(min_length=1)]
    methods: Annotated[dict[str, Entrant], Field(min_length=1)]
    training: dict[str, Any] = Field(default_factory=dict)
    """Of all problems."""
    tuning_seeds: tuple[Annotated[Whole, Field(ge=0)], ...] = (1000, 1001)
    seeds: tuple[Annotated[Whole, Field(ge=0)], ...] = (0, 1, 2, 3, 4)
    timed_epochs: Annotated[Whole, Field(ge=1)] = 150
    """Of the trainings, each alone in its pack, that tell how long steps and jumps take."""
    timed_seeds: Annotated[Whole, Field(ge=1)] = 3
    resources: dict[str, Any] = Field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Of plain training: what every method may cost."""
        return int(self.training["epochs"])

    def among(self, names: Iterable[str]) -> list[str]:
        """These problems, in the file's order; all where none is named. Raises UserError for one that there is not."""
        wanted = list(names) or list(self.problems)
        if unknown := [name for name in wanted if name not in self.problems]:
            raise UserError(f"problem must be one of {', '.join(self.problems)}; got {unknown[0]!r}")
        return [name for name in self.problems if name in wanted]

    def entrants(self, problem: str) -> list[str]:
        """The methods that can be used on a problem, in order."""
        return [name for name, one in self.methods.items() if one.problems is None or problem in one.problems]

    def rates(self, problem: str, tuned: float) -> list[float]:
        """Among which methods choose theirs: plain training's, and the next lower of its list."""
        known = sorted(self.problems[problem].rates)
        return known[max(known.index(tuned) - 1, 0) : known.index(tuned) + 1]

    def scale(self, problem: str) -> str:
        """What is trained on a problem, in words."""
        on = self.problems[problem]
        sizes = self.plain(problem, on.rates, "tuning").problem({}).sizes()
        data = f"{sizes.train_samples} + {sizes.test_samples} samples, {sizes.inputs} inputs, {sizes.outputs} outputs"
        sections = (on.problem, on.network, {**self.training, **on.training})
        return "; ".join([data, *(words for section in sections if (words := _in_words(section)))])

    def choices(self) -> str:
        """How parameters are chosen, and on how many seeds, in words."""
        return (
            f"Plain training's learning rate is the best of its list on {len(self.tuning_seeds)} seeds; a method's is "
            f"that or the next lower one, chosen together with its own keys by the training loss at equal step "
            f"equivalents. The best is trained on {len(self.seeds)} other seeds. Plain training takes {self.epochs} "
            f"epochs, and no method's steps, jumps and evaluations may cost more together."
        )

    def plan(self, problems: Iterable[str]) -> list[tuple[str, str, int, int, int]]:
        """What would be trained: problem, method, cells, trainings, epochs of all of them (at most)."""
        found = []
        for problem in problems:
            rates = self.problems[problem].rates
            near = self.rates(problem, max(rates))
            plain = len(rates) * len(self.tuning_seeds) + len(near) * len(self.seeds)
            found.append((problem, PLAIN, len(rates), plain, plain * self.epochs))
            for method in self.entrants(problem):
                spec = self.tuning(problem, method, near)
                tried = cells(spec)
                whole = len(tried) * len(self.tuning_seeds) + len(self.seeds)
                timed = self.timed_seeds * (1 if spec.jumps else 2)
                epochs = whole * (self.methods[method].epochs or self.epochs) + timed * self.timed_epochs
                found.append((problem, method, len(tried), whole + timed, epochs))
        return found

    def plain(self, problem: str, rates: Iterable[float], stage: Stage) -> Spec:
        """Plain training at these learning rates."""
        return self._spec(problem, PLAIN, _UNUSED, _UNUSED_AXES, rates, stage, self.training["epochs"])

    def tuning(self, problem: str, method: str, rates: Iterable[float]) -> Spec:
        """Every combination of a method's values and these learning rates."""
        one, only = self.methods[method], self.problems[problem].only
        axes = dict(one.axes)
        for axis in axes.keys() & only.keys():
            if isinstance(axes[axis], list):
                axes[axis] = [value for value in axes[axis] if value in only[axis]] or axes[axis]
        return self._spec(problem, method, one.method, axes, rates, "tuning", one.epochs or self.training["epochs"])

    def chosen(self, problem: str, method: str, cell: Mapping[str, Value], stage: Stage) -> Spec:
        """The cell that was chosen, trained with other seeds, or timed."""
        one = self.methods[method]
        axes = {axis: [value] for axis, value in cell.items() if axis != "training.lr"}
        epochs = self.timed_epochs if stage == "timed" else one.epochs or self.training["epochs"]
        rate = float(cell["training.lr"])  # type: ignore[arg-type]
        return self._spec(problem, method, one.method, axes, [rate], stage, epochs)

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
        on = self.problems[problem]
        seeds = {"tuning": self.tuning_seeds, "final": self.seeds, "timed": self.seeds[: self.timed_seeds]}[stage]
        return load_spec(
            {
                "name": f"{self.name}-{problem}-{method}-{stage}",
                "problem": on.problem,
                "network": on.network,
                "training": {**self.training, **on.training, "epochs": epochs},
                "method": dict(section),
                "axes": {"training.lr": list(rates), **axes},
                "seeds": list(seeds),
                "resources": {**self.resources, **({"pack": 1} if stage == "timed" else {})},
            }
        )


def methods_files() -> list[str]:
    """Names of the comparisons that come with the package."""
    files = resources.files("study.method_comparison").iterdir()
    return sorted(p.name.removesuffix(".yaml") for p in files if p.name.endswith(".yaml"))


def load_methods(
    source: str | Path | Mapping[str, Any], overrides: Iterable[str] | Mapping[str, Any] = ()
) -> MethodsFile:
    """Read and validate a comparison of methods, with every spec that it is made of.

    Args:
        source: a YAML file, the name of one that comes with the package, or its content.
        overrides: as of `study.load_spec`.

    Raises:
        SpecError: everything that is wrong with it, one line per mistake.
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
            raise SpecError(label, [f"there is no such file, nor a comparison of that name; there are {known}"])
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
    if mistakes := _mistakes(file) or _mistakes_of_specs(file):
        raise SpecError(label, mistakes)
    return file


def _validated(raw: Mapping[str, Any], label: str) -> MethodsFile:
    whole = {str(key): value for key, value in raw.items()}
    found: list[str] = []
    for kind, model in (("problems", OnProblem), ("methods", Entrant)):
        parts = whole.get(kind)
        for name, part in parts.items() if isinstance(parts, dict) else ():
            if isinstance(part, dict):
                try:
                    model(**{str(key): value for key, value in part.items()})
                except ValidationError as error:
                    found += messages(f"{kind}.{name}", model, error, {})
            else:
                found.append(f"{kind}.{name}: must be a mapping, got {shortened(part)}")
    try:
        file = MethodsFile(**whole)
    except ValidationError as error:
        top = [
            mistake.replace(", here or as an axis", "")
            for mistake in messages("", MethodsFile, error, {})
            if not (found and mistake.startswith(("problems", "methods")))
        ]  # said already, part by part
        raise SpecError(label, top + found) from error
    return file


def _mistakes(file: MethodsFile) -> list[str]:
    """What does not go together, but for the specs."""
    found = [f"{kind}.{label}: must be 1 to 20 letters, digits, '.', '_' or '-'"
             for kind, labels in (("problems", file.problems), ("methods", file.methods))
             for label in labels if not re.fullmatch(LABEL, label)]  # fmt: skip
    if not re.fullmatch(LABEL, file.name):
        found.append(f"name: must be 1 to 20 letters, digits, '.', '_' or '-', got {shortened(file.name)}")
    for label in {PLAIN, LOWER} & file.methods.keys():
        found.append(f"methods.{label}: is the name of plain training, which is compared with in any case")
    if "epochs" not in file.training:
        found.append("training.epochs: must be given: what every method may cost, in epochs of plain training")
    for kind in ("tuning_seeds", "seeds"):
        values = getattr(file, kind)
        if not values or len(set(values)) != len(values):
            found.append(f"{kind}: must be a number from 1, or a list of seeds that differ, got {list(values)}")
    if both := set(file.seeds) & set(file.tuning_seeds):
        found.append(f"tuning_seeds: must not be among seeds, or luck in tuning is taken for merit, got {sorted(both)}")
    for label, one in file.methods.items():
        if unknown := [name for name in one.problems or () if name not in file.problems]:
            found.append(f"methods.{label}.problems: must be among {', '.join(file.problems)}, got {unknown[0]}")
        if "training.lr" in one.axes or one.method.get("mode", "train") != "train":
            found.append(f"methods.{label}: must leave axes.training.lr to the comparison, and take its jumps")
        if one.method.get("name") == "mgrit":
            found.append(
                f"methods.{label}: mgrit ends where serial training does, so that only its time can be compared: "
                f"`dmd-study run mgrit`, and tests.benchmarks.bench_mgrit"
            )
    return found


def _mistakes_of_specs(file: MethodsFile) -> list[str]:
    found: list[str] = []
    for problem, on in file.problems.items():
        said: set[str] = set()  # of plain training, and so of every method on this problem
        pairs: list[tuple[str, Any]] = [(PLAIN, lambda p=problem, r=on.rates: file.plain(p, r, "tuning"))]
        for method in file.entrants(problem):
            pairs.append((method, lambda p=problem, m=method, r=on.rates: _every_spec(file, p, m, r)))
        for method, make in pairs:
            try:
                make()
            except SpecError as error:
                found += [f"{method} on {problem}: {mistake}" for mistake in error.mistakes if mistake not in said]
                said |= set(error.mistakes) if method == PLAIN else set()
    return list(dict.fromkeys(found))


def _every_spec(file: MethodsFile, problem: str, method: str, rates: Iterable[float]) -> None:
    """Make the specs of all stages, the later ones for every cell that could be chosen."""
    spec = file.tuning(problem, method, rates)
    longest = max(cells(spec), key=lambda cell: float(cell.get("m", 0)))  # type: ignore[arg-type]
    file.chosen(problem, method, longest, "timed")  # in which its window must fit


def _in_words(section: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in section.items() if key != "name")
