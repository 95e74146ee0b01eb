"""`accel` can be taken home alone."""

import subprocess
import sys

import pytest

import accel

CHECK = """
import sys
import accel
heavy = {"ray", "optuna", "skfem", "pandas", "matplotlib", "seaborn", "scipy", "pydantic", "yaml", "study", "problems"}
print(sorted(heavy & set(sys.modules)))
"""


def test_import_needs_torch_and_numpy_only():
    result = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.strip() == "[]"


def test_from_best_says_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "best.yaml").write_text("format_version: 1")
    with pytest.raises(ImportError, match="pip install pyyaml"):
        accel._best.read_best(tmp_path / "best.yaml", "minimum", "mean_relative_error", {})


def test_every_public_name_is_documented():
    for name in accel.__all__:
        assert getattr(accel, name).__doc__
