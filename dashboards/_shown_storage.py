"""An Optuna storage that shows notes, heatmaps and names it does not hold. Imported only to serve the dashboard."""

from collections.abc import Mapping
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study._frozen import FrozenStudy
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES
from optuna_dashboard import save_note, save_plotly_graph_object

from dashboards._content import Heatmap, Shown

_NOTE = "dashboard:note"


class ShownStorage(RDBStorage):
    """A storage to read from. Additions to its content are kept in memory and never written to it.

    Args:
        url: URL of the storage, whose tables must exist.
        engine_kwargs: as SQLAlchemy's ``create_engine`` takes them.
    """

    def __init__(self, url: str, engine_kwargs: Mapping[str, Any]) -> None:
        super().__init__(url, engine_kwargs=dict(engine_kwargs), skip_table_creation=True)
        self._shown: dict[str, tuple[Shown, dict[str, Any]]] = {}

    def show(self, shown: Mapping[str, Shown]) -> None:
        """Replace all additions by these, by the names of the studies."""
        self._shown = {name: (additions, _attributes(additions)) for name, additions in shown.items()}

    def shown(self, study_id: int) -> Shown | None:
        """Return the additions to a study; None if there are none, or no such study."""
        try:
            additions, _ = self._shown[self.get_study_name_from_id(study_id)]
        except KeyError:
            return None
        return additions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the user attributes of a study, after those that are added."""
        additions = self.shown(study_id)
        return {**(additions.attributes if additions else {}), **super().get_study_user_attrs(study_id)}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes of a study, and its additions."""
        return self._with_additions(self.get_study_name_from_id(study_id), super().get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies, each with its additions."""
        studies = super().get_all_studies()
        for study in studies:
            study.system_attrs = self._with_additions(study.study_name, study.system_attrs)
            if study.study_name in self._shown:
                study.user_attrs = {**self._shown[study.study_name][0].attributes, **study.user_attrs}
        return studies

    def _with_additions(self, name: str, attributes: dict[str, Any]) -> dict[str, Any]:
        if name not in self._shown:
            return attributes
        additions, shown = self._shown[name]
        if any(key.startswith(_NOTE) for key in attributes):  # a note that a person wrote stays
            shown = {key: value for key, value in shown.items() if not key.startswith(_NOTE)}
        renamed = {} if additions.objective is None else {_SYSTEM_ATTR_METRIC_NAMES: [additions.objective]}
        return {**shown, **attributes, **renamed}


def _attributes(shown: Shown) -> dict[str, Any]:
    """Return the attributes in which the dashboard keeps a note and heatmaps."""
    storage = InMemoryStorage()
    study_id = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], study_name="shown")
    study = optuna.load_study(study_name="shown", storage=storage)
    save_note(study, shown.note)
    for heatmap in shown.heatmaps:
        save_plotly_graph_object(study, _figure(heatmap), graph_object_id=heatmap.id)
    return dict(storage.get_study_system_attrs(study_id))


def _figure(heatmap: Heatmap) -> go.Figure:
    colours = heatmap.colours
    low, middle, high = heatmap.scale
    picture = go.Heatmap(
        x=[_escaped(value) for value in heatmap.x_values],
        y=[_escaped(value) for value in heatmap.y_values],
        z=[list(row) for row in heatmap.levels],
        zmin=0,
        zmax=1,
        customdata=[[_escaped(text) for text in row] for row in heatmap.words],
        hovertemplate="%{customdata}<extra></extra>",
        colorscale=[(k / (len(colours) - 1), colour) for k, colour in enumerate(colours)],
        colorbar={"tickvals": [0, 0.5, 1], "ticktext": [low, middle, high]},
        xgap=1,
        ygap=1,
    )
    axis: dict[str, Any] = {"type": "category"}  # all values take the same width
    return go.Figure(
        picture,
        layout={
            "title": {"text": _escaped(heatmap.title)},
            "xaxis": {**axis, "title": {"text": _escaped(heatmap.x)}},
            "yaxis": {**axis, "title": {"text": _escaped(heatmap.y)}},
        },
    )


def _escaped(text: str) -> str:
    """Return a text without the markup that plotly would obey."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
