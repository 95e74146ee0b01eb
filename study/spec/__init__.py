"""A study's spec: read from YAML with a safe loader, validated whole, every mistake reported at once with its path."""

from study.spec._load import (
    importable_here,
    load_spec,
    override,
    parse_assignments,
    parse_yaml,
    presets,
    read_raw,
    read_text,
)
from study.spec._spec import FORMAT_VERSION, MOST_MADE, NAME, SECTIONS, TOP_LEVEL, Spec, content_hash, split_axis
from study.spec._validate import messages

__all__ = [
    "FORMAT_VERSION",
    "MOST_MADE",
    "NAME",
    "SECTIONS",
    "TOP_LEVEL",
    "Spec",
    "content_hash",
    "importable_here",
    "load_spec",
    "messages",
    "override",
    "parse_assignments",
    "parse_yaml",
    "presets",
    "read_raw",
    "read_text",
    "split_axis",
]
