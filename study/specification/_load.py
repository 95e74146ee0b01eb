"""Read a spec: from YAML with a safe loader, or from a preset, with keys replaced by `--set`."""

import os
import sys
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from study.errors import SpecError, shortened
from study.specification._spec import TOP_LEVEL, Spec, plain, split_axis
from study.specification._validate import validate


def load_spec(source: str | Path | Mapping[str, Any], overrides: Iterable[str] | Mapping[str, Any] = ()) -> Spec:
    """Read and validate a spec.

    Args:
        source: a YAML file, the name of a preset, or the spec itself as a mapping.
        overrides: ``key=value`` strings as after ``--set`` (values are YAML), or a mapping of dotted keys to values.

    Raises:
        SpecError: the spec has mistakes; the message has one line for each.
    """
    raw, label = read_raw(source)
    override(raw, overrides, label)
    return validate(raw, label)


def presets() -> list[str]:
    """Return the names of the specs that come with the package."""
    return sorted(
        p.name.removesuffix(".yaml")
        for p in resources.files("study.specification").joinpath("presets").iterdir()
        if p.name.endswith(".yaml")
    )


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(k, deep=True) for k, _ in node.value if k.tag != "tag:yaml.org,2002:merge"]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_raw(source: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a spec as written, not validated, and its name in messages. Raise SpecError if it is not a mapping."""
    if isinstance(source, Mapping):
        importable_here()
        label = shortened(source.get("name", "spec")).strip("'")
        return _plain_or_refuse(source, label), label
    path, label = Path(source), str(source)
    if isinstance(source, str) and source in presets():
        text = resources.files("study.specification").joinpath("presets", f"{source}.yaml").read_text(encoding="utf-8")
    elif os.path.isfile(path):
        text = read_text(path)
    else:
        raise SpecError(
            label, [f"there is no such file, and no preset of this name; presets are {', '.join(presets())}"]
        )
    try:
        raw = parse_yaml(text)
    except ValueError as error:
        raise SpecError(label, [str(error)]) from error
    if not isinstance(raw, dict):
        raise SpecError(label, [f"a spec must be a mapping with the keys {', '.join(TOP_LEVEL)}, got {shortened(raw)}"])
    return raw, label


def read_text(path: Path) -> str:
    """Read a file that a user wrote, and let code beside it be imported. Raise SpecError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(str(path), [f"the file could not be read: {error}"]) from error
    importable_here(path.resolve().parent)
    return text


def parse_yaml(text: str) -> Any:
    """Read YAML with the safe loader.

    Raises:
        ValueError: the text is not valid; the message gives the reason in one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    # PyYAML's constructors raise errors of many kinds for a value that does not fit its tag, such as !!int x
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from error


def importable_here(*folders: Path) -> None:
    """Let problems and rules of the user's own be imported from the working directory and from these folders."""
    for folder in (Path.cwd(), *folders):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Return ``KEY=VALUE`` strings as a mapping; the values are YAML.

    Raises:
        SpecError: some strings do not have this form; the message has one line for each.
    """
    pairs, mistakes = {}, []
    for text in texts:
        key, equals, value = text.partition("=")
        try:
            if not (equals and key):
                raise ValueError("must be KEY=VALUE, for example axes.m=[14,20]")
            pairs[key.strip()] = parse_yaml(value)
        except ValueError as error:
            mistakes.append(f"{text}: {error}")
    if mistakes:
        raise SpecError("--set", mistakes)
    return pairs


def override(raw: dict[str, Any], overrides: Iterable[str] | Mapping[str, Any], label: str) -> None:
    """Replace keys of a spec that is not validated yet, in place.

    Args:
        raw: the spec as written.
        overrides: as in `load_spec`.
        label: name of the spec in messages.

    Raises:
        SpecError: an override is not a key with a value.
    """
    mistakes = []
    given = _plain_or_refuse(overrides, "overrides") if isinstance(overrides, Mapping) else parse_assignments(overrides)
    for path, value in given.items():
        top, dot, key = path.partition(".")
        if not dot:
            raw[top] = value
        elif isinstance(raw.setdefault(top, {}), dict):
            raw[top][key] = value
        else:
            mistakes.append(f"--set {path}: {top} is not a mapping")
    if mistakes:
        raise SpecError(label, mistakes)
    for path in given:
        _remove_conflicts(raw, path, given)


def _remove_conflicts(raw: dict[str, Any], path: str, given: Mapping[str, Any]) -> None:
    """Remove the fixed key where an override makes it an axis, and the reverse, unless overrides give both."""
    top, dot, key = path.partition(".")
    if top == "axes" and dot:
        section, bare = split_axis(key)
        rivals = [(section, bare), ("baseline", key)]  # baselines are trained with each value of an axis
    else:
        rivals = [("axes", path), ("axes", key)] if top == "method" else [("axes", path)]
    for section, rival in rivals:
        if f"{section}.{rival}" not in given and isinstance(raw.get(section), dict):
            raw[section].pop(rival, None)


def _plain_or_refuse(value: Mapping[str, Any], label: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = plain(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(label, [f"must be plain data, as YAML can hold it: {error}"]) from error
    return data
