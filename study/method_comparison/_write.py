"""Files of a comparison of methods: a page, a picture, and a table of its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.method_comparison._spec import MethodsFile
from study.method_comparison.standings import Standing, standings_frame
from study.method_comparison.standings_text import standings_page
from study.record import write_whole


@dataclass(frozen=True)
class WrittenStandings:
    """Files that say how methods stand. ``not_drawn``: why there is no picture; None if there is one."""

    paths: list[Path]
    not_drawn: str | None = None


def write_standings(file: MethodsFile, standings: Sequence[Standing], folder: Path) -> WrittenStandings:
    """Write how methods stand as a page, a table of numbers and a picture.

    Args:
        file: the comparison, as of `load_methods`.
        standings: as of `run_methods`.
        folder: the comparison's.

    Raises:
        OSError: the folder cannot be written to.
    """
    from study.analysis import save_figure
    from study.method_comparison.draw_standings import draw_standings

    scale = {problem: file.scale(problem) for problem in dict.fromkeys(standing.problem for standing in standings)}
    page = folder / "standings.md"
    text = standings_page(file.name, scale, file.choices(), standings)
    write_whole(page, lambda path: path.write_text(text, encoding="utf-8"))
    try:
        figure = draw_standings(file.name, scale, standings)
    except ValueError as reason:
        return WrittenStandings([page], str(reason))
    return WrittenStandings(
        [page, *save_figure(figure, folder / "figures", "standings", frame=standings_frame(standings))]
    )
