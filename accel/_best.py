"""Read the best parameters that a study found, to build an `Accelerator` from them."""

import warnings
from collections.abc import Mapping
from dataclasses import fields
from math import isclose
from os import PathLike
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from accel._jump.horizon import schedule
from accel._jump.options import OPTION_NAMES
from accel._rules import RULES, Rule

_FORMAT = 2
_SCHEDULE = frozenset({"horizon", "horizon_jumps"})
_STUDY_ONLY = frozenset({"name", "mode", "probes", "snapshots"})  # how the study ran the method, not what the method is


def read_best(
    path: str | PathLike[str],
    choice: str | None,
    metric: str | None,
    overrides: Mapping[str, Any],
) -> tuple[Rule, dict[str, Any]]:
    """Return the rule and the options of `Accelerator` that a ``best.yaml`` holds.

    Args:
        path: the file.
        choice: rule of another choice, such as ``minimum``; None for the one that the file names.
        metric: metric that this choice is best at. If both are None and the file names none, the recommendation.
        overrides: options that replace those of the file. ``optimizer`` is compared with that of the study.

    Raises:
        ValueError: The file has another format or lacks the metric or choice, or its method cannot be reproduced here.
        ImportError: PyYAML is not installed.
    """
    content = _load(Path(path))
    if content.get("format_version") != _FORMAT:
        raise ValueError(
            f"{path}: format_version must be {_FORMAT}, got {content.get('format_version')!r}; "
            "`dmd-study best DIR` writes the file anew"
        )
    method = _section(content, "method", path)
    rule_class = RULES.get(str(method.get("name")))
    if rule_class is None:
        raise ValueError(f"{path}: method.name must be among {_listed(RULES)}, got {method.get('name')!r}")
    rule_options = {field.name for field in fields(rule_class)}
    valid = {*rule_options, *OPTION_NAMES, *_SCHEDULE}
    unknown = sorted(set(overrides) - valid)
    if unknown:
        raise ValueError(f"overrides must be among {_listed(valid)}, got {_listed(unknown)}")
    chosen = _chosen(content, choice, metric, path)
    _warn_if_off(content, path)
    _warn_of_training(chosen, _training(content, chosen), overrides.get("optimizer"), path)
    parameters = {key.removeprefix("method."): value for key, value in _section(chosen, "parameters", path).items()}
    if {**method, **parameters}.get("snapshots") == "epoch":
        warnings.warn(
            f"{path}: the study took one snapshot per epoch; call step() once per epoch to do the same", stacklevel=3
        )
    settings = {
        key: value
        for key, value in {**method, **parameters}.items()
        # an axis such as training.lr is the training loop's own
        if key not in _STUDY_ONLY and "." not in key and value is not None
    }
    for given, replaced in (("tolerance", "rank"), ("rank", "tolerance")):
        if given in overrides:  # a truncation takes the place of the file's other one
            settings.pop(replaced, None)
    settings.update(overrides)
    unknown = sorted(set(settings) - valid)
    if unknown:
        raise ValueError(
            f"{path}: method settings must be among {_listed(valid)} to be reproduced, got {_listed(unknown)}"
        )
    missing = sorted({"m", "s"} - set(settings))
    if missing:
        raise ValueError(f"{path}: {_listed(missing)} must be given, by the file or as an argument of from_best")
    horizon, jumps = settings.get("horizon", "constant"), settings.get("horizon_jumps")
    if horizon in ("linear", "decay") and jumps is None:
        raise ValueError(
            f"{path}: the study let s fall over all jumps of a training; say how many with horizon_jumps=, "
            'or keep s as it is with horizon="constant"'
        )
    if horizon != "constant":
        settings["s"] = schedule(horizon, settings["s"], jumps)
    rule = rule_class(**{key: value for key, value in settings.items() if key in rule_options})
    return rule, {key: value for key, value in settings.items() if key in OPTION_NAMES}


def _chosen(
    content: Mapping[str, Any], choice: str | None, metric: str | None, path: str | PathLike[str]
) -> Mapping[str, Any]:
    """Return the section that holds the chosen parameters."""
    named = content.get("chosen")
    if choice is None and metric is None and named is None:
        chosen, name = _section(content, "recommendation", path), "recommendation"
    else:
        if named is not None and not (isinstance(named, dict) and {"metric", "rule"} <= set(named)):
            raise ValueError(f"{path}: chosen must name a metric and a rule, or be left out, got {named!r}")
        if named is None and (choice is None or metric is None):
            raise ValueError(f"{path}: metric and choice must be given together, got {metric!r} and {choice!r}")
        choice, metric = choice or str((named or {})["rule"]), metric or str((named or {})["metric"])
        chosen = _section(_section(_section(content, "other_choices", path), metric, path), choice, path)
        name = f"{choice!r} choice for {metric!r}"
    if "unavailable" in chosen:
        raise ValueError(f"{path}: the study has no {name}: {chosen['unavailable']}")
    return chosen


def _warn_if_off(content: Mapping[str, Any], path: str | PathLike[str]) -> None:
    if content.get("recommended") == "off":
        answer = content.get("answer")
        reason = str(answer[0]) if isinstance(answer, list) and answer else "plain training wins"
        warnings.warn(f"{path}: the study recommends to leave the accelerator off. {reason}", stacklevel=4)


def _training(content: Mapping[str, Any], chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the study's training section; the recommendation has its own. Empty if the file lacks it."""
    evidence = content.get("evidence")
    training = chosen.get("trained_with", evidence.get("training") if isinstance(evidence, dict) else None)
    return training if isinstance(training, dict) else {}


def _warn_of_training(
    chosen: Mapping[str, Any], training: Mapping[str, Any], optimizer: Optimizer | None, path: str | PathLike[str]
) -> None:
    """Warn if the caller's optimiser is not the one that the parameters were trained with."""
    parameters = chosen.get("parameters")
    varied = {
        key: value
        for key, value in (parameters if isinstance(parameters, dict) else {}).items()
        if "." in str(key) and not str(key).startswith("method.")
    }
    if optimizer is None:
        if varied:
            settings = ", ".join(f"{key} = {value}" for key, value in varied.items())
            warnings.warn(
                f"{path}: the parameters hold at {settings}; pass optimizer= to compare it with yours", stacklevel=4
            )
        return
    studied = dict(training)
    studied |= {str(key).removeprefix("training."): v for key, v in varied.items() if str(key).startswith("training.")}
    differences = []
    name, studied_rate = type(optimizer).__name__, studied.get("lr")
    rates = sorted({float(group["lr"]) for group in optimizer.param_groups if group.get("lr") is not None})
    if "optimizer" in studied and studied["optimizer"] != name.lower():
        differences.append(f"the optimiser {studied['optimizer']}, yours is {name}")
    # a rate that is a tensor has seven digits
    if isinstance(studied_rate, int | float) and not all(isclose(rate, studied_rate, rel_tol=1e-6) for rate in rates):
        differences.append(f"the learning rate {studied_rate:g}, yours is {', '.join(f'{rate:g}' for rate in rates)}")
    if differences:
        warnings.warn(f"{path}: the parameters were studied with {'; and with '.join(differences)}", stacklevel=4)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise ImportError("Accelerator.from_best reads YAML and needs PyYAML: pip install pyyaml") from error
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} must be YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping as a study writes it, got {type(content).__name__}")
    return content


def _section(content: Mapping[str, Any], key: str, path: str | PathLike[str]) -> Mapping[str, Any]:
    section = content.get(key)
    if not isinstance(section, dict):
        mappings = [name for name, value in content.items() if isinstance(value, dict)]
        raise ValueError(f"{path}: must have a section {key!r}; the sections there are {_listed(mappings)}")
    return section


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
