"""The pictures show what the solver found, legibly, and leave matplotlib's global state alone."""

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.text import Text

from problems.pollutant import RANGES, figures
from problems.pollutant.transport import Transport


@pytest.fixture(scope="module")
def transport() -> Transport:
    return Transport(24, 10)


def image(ax: Axes) -> ScalarMappable:
    (found,) = ax.collections
    return found


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def test_files(tmp_path: Path) -> None:
    files = figures.draw(tmp_path / "new" / "folder", nodes_x=24, nodes_y=10)
    assert len(files) == 6
    for file in files:
        assert file.read_bytes().startswith({".png": b"\x89PNG", ".pdf": b"%PDF"}[file.suffix])


def test_figure_2_shows_each_parameter_at_its_ends(transport: Transport) -> None:
    figure = figures.one_at_a_time(transport)
    axes = panels(figure)
    rows = [tuple(axes[3 * i : 3 * i + 3]) for i in range(6)]
    for (name, ends), row in zip(RANGES.items(), rows, strict=True):
        for ax, value in zip(row, (ends[0], figures.CENTRE[name], ends[1]), strict=True):
            expected = figures.solve(transport, {**figures.CENTRE, name: value}).c3
            shown = image(ax)
            # Undershoots are drawn as zero.
            np.testing.assert_array_equal(np.asarray(shown.get_array()), np.maximum(expected, 0.0))
            assert ax.get_title() == f"{figures.SYMBOLS[name]} = ${value:g}$"
            assert shown.get_clim() == image(row[0]).get_clim()
            assert shown.get_clim()[1] >= expected.max()
    assert len(figure.axes) == 18 + 6


def test_figures_6_and_7_show_the_example(transport: Transport) -> None:
    expected = figures.solve(transport, figures.EXAMPLE)
    _, horizontal, vertical = panels(figures.mesh_and_wind(transport))
    np.testing.assert_array_equal(np.asarray(image(horizontal).get_array()), expected.u_x)
    np.testing.assert_array_equal(np.asarray(image(vertical).get_array()), expected.u_y)
    for ax, c in zip(panels(figures.concentrations(transport)), (expected.c1, expected.c2, expected.c3), strict=True):
        np.testing.assert_array_equal(np.asarray(image(ax).get_array()), c)


def test_a_velocity_of_both_signs_gets_a_scale_centred_at_zero(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "EXAMPLE", {**figures.EXAMPLE, "u_h": -0.02})
    _, horizontal, _ = panels(figures.mesh_and_wind(transport))
    low, high = image(horizontal).get_clim()
    assert low == -high < 0


@pytest.mark.parametrize("make", [figures.one_at_a_time, figures.mesh_and_wind, figures.concentrations])
def test_no_text_overlaps_or_leaves_the_page(make: Callable[[Transport], Figure], transport: Transport) -> None:
    figure = make(transport)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in texts]
    # Tick labels outside the limits and those of shared inner axes exist, but are not drawn.
    drawn = [(t, b) for t, b in zip(texts, boxes, strict=True) if is_drawn(t, figure)]
    assert len(drawn) > 20
    for (first, a), (second, b) in itertools.combinations(drawn, 2):
        assert not a.overlaps(b), (first, second)
    page = figure.bbox
    for text, box in drawn:
        assert page.x0 <= box.x0, text
        assert page.y0 <= box.y0, text
        assert box.x1 <= page.x1, text
        assert box.y1 <= page.y1, text


def is_drawn(text: Text, figure: Figure) -> bool:
    for ax in figure.axes:
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if text in (tick.label1, tick.label2):
                    inside = min(limits) <= tick.get_loc() <= max(limits)
                    return inside and axis.get_visible() and ax.get_visible()
    return True


def test_pyplot_stays_out() -> None:
    code = "import sys, problems.pollutant.figures; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
