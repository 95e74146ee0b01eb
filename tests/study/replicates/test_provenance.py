import importlib
import sys

import pytest

from problems.quadratic import Quadratic
from study.replicates.provenance import code_hash, is_user_code, provenance
from study.replicates.replicate import Pack


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(text):
        (tmp_path / "mine_to_hash.py").write_text(text)
        sys.modules.pop("mine_to_hash", None)
        importlib.invalidate_caches()
        return importlib.import_module("mine_to_hash").Mine

    yield load
    sys.modules.pop("mine_to_hash", None)


def test_the_packages_own_classes_are_told_from_the_users(module):
    assert not is_user_code(Quadratic)
    assert is_user_code(module("class Mine: pass\n"))


def test_code_of_the_users_own_is_known_by_its_whole_module(module):
    assert code_hash(Quadratic, None) is None
    first = code_hash(Quadratic, module("class Mine: pass\n"))
    assert len(first) == 16
    assert code_hash(module("class Mine: pass\n")) == first
    assert code_hash(module("HELPER = 1\n\nclass Mine: pass\n")) != first


def test_provenance_names_versions_and_machine():
    found = provenance(Pack("p", (), 1, "cpu"))
    import numpy as np
    import torch

    assert (found["torch"], found["numpy"]) == (torch.__version__, np.__version__)
    machine = {"dmd_study", "commit", "python", "torch", "numpy", "system", "processor", "cores", "gpu"}
    assert set(found) == {*machine, "products"}
    assert found["processor"]
