"""A comparison of methods as a page of Markdown: its scale, one table for all problems, a table for each, verdicts."""

from collections.abc import Iterable, Mapping, Sequence

from study.method_comparison.standings import PLAIN, STEPS, TIME, WAYS, Standing, in_words, methods_of, number, verdict
from study.replicates.metric_catalogue import SPLITS


def standings_page(name: str, scale: Mapping[str, str], said: str, standings: Sequence[Standing]) -> str:
    """The page. ``scale``: problem -> what it was trained on and how; ``said``: how parameters were chosen."""
    parts = [
        f"# {name}",
        "\n".join(f"* {problem}: {words}" for problem, words in scale.items()),
        said,
        summary_table(standings, scale),
        LEGEND,
    ]
    for problem in scale:
        parts += [f"## {problem}", verdict(problem, standings), _table_of(problem, standings)]
    return "\n\n".join(parts) + "\n"


LEGEND = (
    "Loss over that of plain training, the median over seeds: training / test at equal step equivalents; then both at "
    "equal wall time. Bold: below plain training's on every seed. ∞: diverged."
)


def summary_table(standings: Sequence[Standing], problems: Iterable[str]) -> str:
    """Methods down, problems across."""
    problems = list(problems)
    found = {(one.method, one.problem): one for one in standings}
    rows = []
    for method, control in methods_of(standings).items():
        cells = [_summary(found.get((method, problem))) for problem in problems]
        rows.append([f"{method} (control)" if control else method, *cells])
    plain = [in_words(found[PLAIN, problem].parameters) for problem in problems]
    return markdown(["", *problems], [["plain training, tuned", *(f"1 ({said})" for said in plain)], *rows])


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _summary(one: Standing | None) -> str:
    if one is None:
        return ""
    if not one.ratios:
        return in_words(one.parameters)
    return "; ".join(
        " / ".join(_bold(number(one.middle(way, split)[0]), one, way, split) for split in SPLITS) for way in WAYS
    )


def _table_of(problem: str, standings: Iterable[Standing]) -> str:
    header = ["", "best of how many cells", "train, equal steps", "test, equal steps", "better", "train, equal time",
              "test, equal time", "better", "cost in steps, in time", "diverged"]  # fmt: skip
    rows = []
    for one in standings:
        if one.problem != problem:
            continue
        best = f"{in_words(one.parameters)} ({one.tried})"
        if not one.ratios:
            rows.append([one.method, best, *[""] * 7, str(one.diverged or "")])
            continue
        row: list[str] = [one.method, best]
        for way in WAYS:
            row += [_ratio(one, way, "train"), _ratio(one, way, "test")]
            row.append(f"{one.better(way, 'test')} of {len(one.losses['test'])}")
        cost = one.overhead or {}
        rows.append([*row, f"{cost[STEPS]:.2f}, {cost[TIME]:.2f}", str(one.diverged)])
    return markdown(header, rows)


def _ratio(one: Standing, way: str, split: str) -> str:
    median, low, high = map(number, one.middle(way, split))
    return f"{_bold(median, one, way, split)} ({low} to {high})"


def _bold(text: str, one: Standing, way: str, split: str) -> str:
    return f"**{text}**" if one.all_better(way, split) else text
