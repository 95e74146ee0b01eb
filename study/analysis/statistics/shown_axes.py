"""Choice of the axes that a heatmap shows, from those that a study has."""

from collections.abc import Collection, Iterable

from study.analysis.statistics.cells import Axes


def choose_places(
    axes: Axes,
    *,
    x: str | None = None,
    y: str | None = None,
    facet: str | None = None,
    at: Collection[str] = (),
) -> tuple[str | None, str | None, str | None]:
    """Return the axes to the right, upwards and by rows of panels; None for a place that stays empty.

    Axes of several values come first, the longest before the others, then in the order of the spec. Among them, s goes
    to the right, m upwards and the tolerance into rows. If a single axis varies, it goes to the right. An axis of a
    single value takes a place that is left, so that the picture names its value.

    Args:
        axes: Axis key -> the study's values.
        x: Axis to the right, if it is given.
        y: Axis upwards, if it is given.
        facet: Axis by rows of panels, if it is given.
        at: Axes that get no place, because one of their values is chosen.
    """
    free = [axis for axis in sorted(axes, key=lambda axis: -len(axes[axis])) if axis not in {*at, x, y, facet}]
    several, single = ([axis for axis in free if (len(axes[axis]) > 1) == varies] for varies in (True, False))

    def take(wanted: str, *choices: list[str]) -> str | None:
        for choice in filter(None, choices):
            axis = wanted if wanted in choice else choice[0]
            for left in (several, single):
                if axis in left:
                    left.remove(axis)
            return axis
        return None

    x = x or take("s", [axis for axis in several if axis != "m"], several, single)
    y = y or take("m", several, [axis for axis in single if axis != "tolerance"])
    facet = facet or take("tolerance", several, [axis for axis in single if axis == "tolerance"])
    return x, y, facet


def one_value_each(axes: Iterable[str]) -> str:
    """Say that these axes have one value each."""
    names = list(axes)
    return f"{', '.join(names[:-1])} and {names[-1]} have one each" if len(names) > 1 else f"{names[0]} has one"
