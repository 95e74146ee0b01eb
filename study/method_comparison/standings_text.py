"""Page of a comparison of methods, in Markdown: its scale, a table of all problems, a verdict and a table of each."""

from collections.abc import Iterable, Mapping, Sequence

from study.method_comparison.standings import (
    PLAIN,
    STEPS,
    TIME,
    UNITS,
    Standing,
    describe_parameters,
    methods_of,
    short_number,
    verdict,
)
from study.replicates.metric_catalogue import SPLITS


def standings_page(name: str, scale: Mapping[str, str], choices: str, standings: Sequence[Standing]) -> str:
    """Write the page.

    Args:
        name: Name of the comparison.
        scale: Problem -> its size and training, as text.
        choices: Text that says how parameters were chosen.
        standings: Standings of all methods on all problems.
    """
    parts = [
        f"# {name}",
        "\n".join(f"* {problem}: {words}" for problem, words in scale.items()),
        choices,
        summary_table(standings, scale),
        LEGEND,
    ]
    for problem in scale:
        parts += [f"## {problem}", verdict(problem, standings), _table_of(problem, standings)]
    return "\n\n".join(parts) + "\n"


LEGEND = (
    "Loss / loss of plain training, median over seeds. Each entry: training / test at equal step equivalents; training "
    "/ test at equal wall time. Bold: below 1 on every seed. ∞: diverged."
)


def summary_table(standings: Sequence[Standing], problems: Iterable[str]) -> str:
    """Write a table with one row per method and one column per problem."""
    problems = list(problems)
    by_place = {(standing.method, standing.problem): standing for standing in standings}
    rows = []
    for method, control in methods_of(standings).items():
        cells = [_summary(by_place.get((method, problem))) for problem in problems]
        rows.append([f"{method} (control)" if control else method, *cells])
    plain = [f"1 ({describe_parameters(by_place[PLAIN, problem].parameters)})" for problem in problems]
    return markdown(["", *problems], [["plain training, tuned", *plain], *rows])


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _summary(standing: Standing | None) -> str:
    if standing is None:
        return ""
    if not standing.ratios:
        return describe_parameters(standing.parameters)
    return "; ".join(
        " / ".join(_bold(short_number(standing.middle(unit, split)[0]), standing, unit, split) for split in SPLITS)
        for unit in UNITS
    )


def _table_of(problem: str, standings: Iterable[Standing]) -> str:
    header = ["", "best parameters (cells tried)", "train, equal steps", "test, equal steps", "better seeds",
              "train, equal time", "test, equal time", "better seeds", "cost in steps, in time",
              "diverged seeds"]  # fmt: skip
    rows = []
    for standing in standings:
        if standing.problem != problem:
            continue
        best = f"{describe_parameters(standing.parameters)} ({standing.tried})"
        if not standing.ratios:
            rows.append([standing.method, best, *[""] * 7, str(standing.diverged or "")])
            continue
        row: list[str] = [standing.method, best]
        for unit in UNITS:
            row += [_ratio(standing, unit, "train"), _ratio(standing, unit, "test")]
            row.append(f"{standing.better(unit, 'test')} of {len(standing.losses['test'])}")
        cost = standing.overhead or {}
        rows.append([*row, f"{cost[STEPS]:.2f}, {cost[TIME]:.2f}", str(standing.diverged)])
    return markdown(header, rows)


def _median(standing: Standing, unit: str, split: str) -> str:
    return _bold(short_number(standing.middle(unit, split)[0]), standing, unit, split)


def _ratio(standing: Standing, unit: str, split: str) -> str:
    median, low, high = map(short_number, standing.middle(unit, split))
    return f"{_bold(median, standing, unit, split)} ({low} to {high})"


def _bold(text: str, standing: Standing, unit: str, split: str) -> str:
    return f"**{text}**" if standing.all_better(unit, split) else text
