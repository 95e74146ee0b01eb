"""Modules that a command loads: what it does not use costs its user seconds. How many, `bench_starting` measures."""

import gc
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from study import run
from study.cli import results
from study.record import kept_results
from tests.study.cli import _small

DRAWING = {"matplotlib", "seaborn"}
TABLES = {"pandas", "pyarrow"}
TRAINING = {"torch", "ray", "sklearn", "skfem"}
STATISTICS = {"scipy.stats", "scipy.cluster"}
SPEC = {**_small.SPEC, "seeds": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with a study that ended (``ended``), and one without results that are kept (``begun``)."""
    home = tmp_path_factory.mktemp("home")
    (home / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    record = run(SPEC, home / "ended", executor="inline", timing=False)
    shutil.copytree(home / "ended", home / "begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        record.folder = Path("ended")
        results.everything(record)
        command = [sys.executable, "-m", "study.cli", "run", "spec.yaml", "--out", "ended", "--no-timing"]
        subprocess.run(command, check=True, capture_output=True)
        kept = kept_results(Path("ended"))
        assert kept is not None
        assert kept.request is not None
    return home


def loaded_by(place: Path, *arguments: str) -> set[str]:
    """Modules that a process has loaded when its command is done."""
    code = """
import sys
from study.cli import main
sys.argv = ["dmd-study", *sys.argv[1:]]
try:
    main()
finally:
    print("LOADED", *sorted(name for name, module in sys.modules.items() if module is not None), file=sys.stderr)
"""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["--help"], {*DRAWING, *TABLES, *TRAINING, "scipy", "numpy", "optuna", "sqlalchemy", "pydantic", "yaml"}),
        (["status", "ended"], {*DRAWING, *TABLES, *TRAINING, "scipy", "numpy", "optuna", "alembic", "yaml"}),
        (["status", "begun"], {*DRAWING, *TRAINING, *STATISTICS}),
        (["run", "spec.yaml", "--out", "ended"], {*DRAWING, *TABLES, *TRAINING, "scipy", "optuna", "alembic"}),
        (["table", "begun"], {*DRAWING, *TRAINING, "scipy"}),
        (["best", "begun"], {*DRAWING, *TRAINING, *STATISTICS}),
        (["heatmap", "begun"], {*TRAINING, *STATISTICS}),
        (["report", "begun"], TRAINING),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_loads_only_what_it_uses(place, arguments, unused) -> None:
    arguments = [*arguments, "--no-timing"] if arguments[0] == "run" else arguments
    loaded = loaded_by(place, *arguments)
    assert "study.cli" in loaded
    assert loaded & unused == set()


def test_the_check_above_can_fail(place) -> None:
    loaded = loaded_by(place, "heatmap", "begun")
    assert {*DRAWING, *TABLES, "optuna"} <= loaded


def test_the_garbage_collector_is_left_as_it_was(dmd_study) -> None:
    before, during = gc.get_threshold(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.cli.app", lambda: during.append(gc.get_threshold()))
        assert dmd_study("--help").status == 0
    assert during[0][0] > before[0]
    assert gc.get_threshold() == before


def test_what_seaborn_was_loaded_without_can_be_loaded_afterwards() -> None:
    code = (
        "import sys; from study.cli.drawing_library import load_seaborn; load_seaborn(); "
        "print('scipy.stats' in sys.modules, 'seaborn' in sys.modules); "
        "from scipy.stats import t; from scipy.cluster import hierarchy; print(t.ppf(0.5, 3), hierarchy.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "0.0", "scipy.cluster.hierarchy"]


def test_a_seaborn_that_needs_all_of_scipy_is_left_to_who_draws(tmp_path) -> None:
    (tmp_path / "seaborn.py").write_text("import scipy.stats\n")
    code = (
        "import sys; from study.cli.drawing_library import load_seaborn; load_seaborn(); "
        "print('seaborn' in sys.modules); import seaborn; print('scipy.stats' in sys.modules)"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
