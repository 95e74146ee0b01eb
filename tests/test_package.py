"""The house: what may import what, what is imported when, and what the wheel holds."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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
    assert imported_by("import study.record", "optuna", "torch") == {"optuna"}


@pytest.mark.slow
def test_the_wheel_runs_from_another_directory(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {name.partition("/")[0] for name in names if not name.startswith("dmd_study-")} == {
        "accel",
        "problems",
        "study",
        "dashboards",
    }
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
