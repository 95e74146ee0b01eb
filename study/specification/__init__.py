"""Spec of a study: read from YAML with a safe loader, and validated. All mistakes are reported at once, by path."""

from study.specification._load import (
    importable_here,
    load_spec,
    override,
    parse_assignments,
    parse_yaml,
    presets,
    read_raw,
    read_text,
)
from study.specification._methods import method_names, method_section, option_keys
from study.specification._sections import Real, Section, Whole
from study.specification._spec import (
    MAX_CACHED_SECTIONS,
    NAME,
    SECTIONS,
    SMALLEST_EFFECT,
    TOP_LEVEL,
    Spec,
    content_hash,
    fresh_seeds,
    split_axis,
)
from study.specification._user_code import problem_section
from study.specification._validate import messages

__all__ = [
    "MAX_CACHED_SECTIONS",
    "NAME",
    "SECTIONS",
    "SMALLEST_EFFECT",
    "TOP_LEVEL",
    "Real",
    "Section",
    "Spec",
    "Whole",
    "content_hash",
    "fresh_seeds",
    "importable_here",
    "load_spec",
    "messages",
    "method_names",
    "method_section",
    "option_keys",
    "override",
    "parse_assignments",
    "parse_yaml",
    "presets",
    "problem_section",
    "read_raw",
    "read_text",
    "split_axis",
]
