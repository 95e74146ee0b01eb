"""The Optuna dashboard is the real one, shows the study, listens on loopback and ends when asked."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from study import run

SPEC = {
    "name": "shown",
    "problem": {"name": "quadratic"},
    "network": {"hidden": []},
    "training": {"optimizer": "sgd", "lr": 0.1, "epochs": 8},
    "axes": {"m": [2, 4], "s": [5], "tolerance": [1e-6]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(SPEC, tmp_path_factory.mktemp("study"), executor="inline").folder


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-u", "-m", "study.cli", "dashboard", str(folder), *options]


def test_it_serves_the_study_on_loopback_until_interrupted(folder: Path) -> None:
    process = subprocess.Popen(
        command(folder, "--port", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}dashboard", timeout=30) as page:
            assert "Optuna Dashboard" in page.read().decode()
        with urllib.request.urlopen(f"{address}api/studies", timeout=30) as answer:
            names = {study["study_name"] for study in json.load(answer)["study_summaries"]}
        assert names == {"shown", "shown/baseline"}
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_port_in_use_is_said_in_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(command(folder, "--port", port), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
