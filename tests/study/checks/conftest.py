"""Classes to be checked, in a module of their own."""

import sys
import textwrap

import pytest

from study.checks import check_named


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """A folder with the module MODULE of a test file, which holds its SOURCE."""
    folder = tmp_path_factory.mktemp("own")
    (folder / f"{request.module.MODULE}.py").write_text(textwrap.dedent(request.module.SOURCE))
    yield folder
    sys.modules.pop(request.module.MODULE, None)


@pytest.fixture
def verdict(folder, monkeypatch):
    """The clauses that a class breaks, with the reasons."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def judge(name, *assignments):
        return {result.what: result.why for result in check_named(name, assignments) if not result.passed}

    return judge
