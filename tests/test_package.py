"""The packages as they are imported and installed: nothing heavy too early, and a wheel that is whole and typed."""

import importlib
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("accel", "problems", "study", "dashboards")
HEAVY = ("torch", "ray", "optuna", "pandas", "matplotlib", "seaborn", "skfem", "scipy", "pyarrow")


def imported_by(code: str, *names: str) -> set[str]:
    """Which of these modules a fresh process has imported after running the code."""
    report = f"import sys; {code}; print('IMPORTED', *[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("IMPORTED", 1)[1].split())


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import study, study.cli, study.planning.cells", HEAVY),
        ("import problems, dashboards", HEAVY),
        ("import accel", tuple(set(HEAVY) - {"torch"})),
        ("import study.trainer", (*set(HEAVY) - {"torch"}, "pydantic", "yaml", "problems")),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str, forbidden: tuple[str, ...]) -> None:
    assert imported_by(code, *forbidden) == set()


def test_the_check_above_can_fail() -> None:
    assert imported_by("from study.record import open_study", "optuna", "torch") == {"optuna"}


@pytest.mark.parametrize("package", ["study", "study.analysis", "study.record"])
def test_a_name_that_is_imported_when_it_is_first_used_is_there(package: str) -> None:
    module = importlib.import_module(package)
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_runs_from_another_directory(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {name.partition("/")[0] for name in names if not name.startswith("dmd_study-")} == set(PACKAGES)
    assert {
        "study/execution/cluster_templates/slurm.sh",
        "study/execution/cluster_templates/kuberay.yaml",
        "study/specification/presets/quick.yaml",
        "study/method_comparison/methods.yaml",
    } <= set(names)
    assert {f"dashboards/page/{name}" for name in ("page.html", "page.css", "charts.js", "heatmap.js")} <= set(names)
    code = (
        "import study.cli, sys; sys.argv[1:] = ['run', 'quick', '--dry-run']; print(study.__file__); study.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout
    assert "replicates" in done.stdout


RIGHT = """
import torch
from accel import DMD, Accelerator
from dashboards import TextTable
from problems import Sizes
from study import Record, Spec, load_spec, open_study

model = torch.nn.Linear(2, 1)
accelerator = Accelerator(model, DMD(tolerance=1e-6), m=14, s=40, accept="improve")
jump = accelerator.step(lambda: model(torch.rand(4, 2)).square().mean())
advice: str = "" if jump is None else jump.outcome.advice
sizes: Sizes = Sizes(inputs=2, outputs=1, train_samples=8, test_samples=2)
table: TextTable = TextTable(rows=[["a", "b"]])
spec: Spec = load_spec("quick")
record: Record = open_study("results/quick")
"""
WRONG = """
from accel import DMD, Accelerator

Accelerator(3, DMD("x"), m="four", s=2)
"""


@pytest.fixture(scope="module")
def user_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that the wheel is installed in, beside what it needs.

    mypy reads the types of an installed package only if that has a py.typed; on MYPYPATH it would read them anyway.
    """
    home = tmp_path_factory.mktemp("user")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, capture_output=True)
    (site,) = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "what_it_needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin" / "python"


@pytest.mark.slow
def test_types_of_the_installed_wheel_reach_a_users_program(user_python: Path, tmp_path: Path) -> None:
    for name, program in (("right.py", RIGHT), ("wrong.py", WRONG)):
        (tmp_path / name).write_text(program)
    command = [sys.executable, "-m", "mypy", "--python-executable", user_python, "--cache-dir", tmp_path / "cache"]
    done = subprocess.run([*command, "right.py", "wrong.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    errors = re.findall(r"^(\w+\.py):\d+: error: (.*)$", done.stdout, flags=re.MULTILINE)
    assert {file for file, _ in errors} == {"wrong.py"}, done.stdout + done.stderr
    assert len(errors) == 3, done.stdout
    for mistake in ('"int"; expected "?Module', '"str"; expected "float', '"str"; expected "int"'):
        assert sum(re.search(mistake, text) is not None for _, text in errors) == 1, done.stdout
