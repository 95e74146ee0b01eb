"""Simulate every world, print the tables, and write them to the page: ``python -m tests.simulation``."""

import time
from pathlib import Path

import numpy as np

from tests.simulation import audit
from tests.simulation.trials import EFFECTS, try_studies
from tests.simulation.worlds import WORLDS, World

DRAWS = {1: 1000, 20: 300, 112: 200, 400: 80}
"""Cells -> studies drawn. A rate of 5 % in 200 draws is known to 1.5 %."""

SEEDS = (2, 3, 5, 10)
PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
NAMES = [f"{100 * effect:g} %" for effect in EFFECTS]
PLACES = ("in a cell", "in a cell, others lose", "in quiet cells")

Rates = dict[int, dict[str, float]]


def main() -> None:
    """Print the tables and write the page."""
    start = time.perf_counter()
    random = np.random.default_rng(0)
    verdicts, stages, intervals = [], [], []
    for world in WORLDS:
        for seeds in SEEDS:
            by_cells = {cells: try_studies(world, cells, seeds, draws, random) for cells, draws in DRAWS.items()}
            verdicts.append([world.name, str(seeds), *verdict_row(by_cells)])
            stages.append([world.name, str(seeds), *stage_row(by_cells)])
            print(" | ".join(verdicts[-1]), "|", " | ".join(stages[-1][2:]), flush=True)
        for seeds in (5, 10):
            intervals.append([world.name, str(seeds), *interval_row(world, seeds, random)])
            print(" | ".join(intervals[-1]), flush=True)
    sobol = [[str(n), *map(percent, audit.cover_sobol(n, 100, random).values())] for n in (16, 64, 256)]
    print(*map(" | ".join, sobol), sep="\n")
    print(f"{time.perf_counter() - start:.0f} s")
    write_page(verdicts, stages, intervals, sobol)


def verdict_row(by_cells: Rates) -> list[str]:
    """Rates of verdicts on the study's own seeds: the worst over the numbers of cells, and the power of 112 cells."""
    effects = [f"{name} {place}" for name in NAMES for place in PLACES]
    return [
        percent(max(rates["false yes, pooled"] for rates in by_cells.values())),
        percent(worst(by_cells, ["false yes", *(f"wrong cell, {effect}" for effect in effects)])),
        percent(min(rates["all bounds hold"] for rates in by_cells.values())),
        percent(worst(by_cells, [f"false no, {effect}" for effect in effects])),
        percent(worst(by_cells, [f"no but unsteady, {effect}" for effect in effects])),
        percent(by_cells[112]["no, all lose"]),
        *(percent(by_cells[112][f"yes, {name} in quiet cells"]) for name in NAMES[1:]),
        percent(by_cells[112][f"yes, {NAMES[2]} in a cell"]),
    ]


def stage_row(by_cells: Rates) -> list[str]:
    """Rates of verdicts on five fresh seeds of the recommended cell, over all numbers of cells; power of 112."""
    weights = list(DRAWS.values())

    def pooled(name: str) -> str:
        return percent(float(np.average([by_cells[cells][name] for cells in DRAWS], weights=weights)))

    return [
        pooled("fresh false yes, 0 %"),
        pooled(f"fresh false no, {NAMES[0]}"),
        pooled("fresh interval holds, 0 %"),
        *(percent(by_cells[112][f"fresh yes, {name}"]) for name in NAMES[1:]),
    ]


def interval_row(world: World, seeds: int, random: np.random.Generator) -> list[str]:
    """Coverage of the other intervals."""
    any_cell, lowest = audit.cover_cell(world, seeds, 500, random)
    mean = audit.cover_mean(world, seeds, 2000, random)
    return [
        percent(share) for share in (any_cell, lowest, mean, *audit.cover_shares(world, seeds, 300, random).values())
    ]


def worst(by_cells: Rates, names: list[str]) -> float:
    """The highest of these rates, over all numbers of cells."""
    return max(rates[name] for rates in by_cells.values() for name in names)


def percent(share: float) -> str:
    """A share as a number of percent."""
    return f"{100 * share:.1f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown; a world's name stands in its first row only."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    before = ""
    for name, *cells in rows:
        lines.append("| " + " | ".join(["" if name == before else name, *cells]) + " |")
        before = name
    return "\n".join(lines)


def write_page(*tables: list[list[str]]) -> None:
    """Replace the tables on the page, which stand between the marks; the text around them is written by hand."""
    heads = (
        ["world", "seeds", "false yes, former", "false yes", "all bounds hold", "false no", "no, unsteady named",
         "no, all lose", "yes, 5 %", "yes, 10 %", "yes, 10 % in one"],
        ["world", "seeds", "false yes", "false no", "interval holds", "yes, 5 %", "yes, 10 %"],
        ["world", "seeds", "a cell", "the lowest of 112", "mean of 20 cells", "shares with effect", "without", "noise"],
        ["samples", "first order", "total", "second order"],
    )  # fmt: skip
    before, *parts = PAGE.read_text().split("<!-- table -->\n")
    for k, (head, rows) in enumerate(zip(heads, tables, strict=True)):
        _, _, text = parts[k].partition("<!-- end -->\n")
        parts[k] = f"{table(head, rows)}\n<!-- end -->\n{text}"
    PAGE.write_text("<!-- table -->\n".join([before, *parts]))


if __name__ == "__main__":
    main()
