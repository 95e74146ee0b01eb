"""A PostgreSQL server of the tests' own: a folder and a port that nobody else uses, on loopback, with a password."""

import contextlib
import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

USER, PASSWORD = "study", "hunter2"


class Server:
    """Started and stopped as often as a test likes; the databases in it stay."""

    def __init__(self, programs: Path) -> None:
        self._programs, self._process = programs, None
        self.folder = Path(tempfile.mkdtemp(prefix="dmdpg", dir="/tmp"))  # sockets need short paths
        self._as = {}
        if os.geteuid() == 0:  # which the server refuses to run as
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = "postgres" if "postgres" in names else "nobody"
            self._as = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
            shutil.chown(self.folder, user)
        word = self.folder / "password"
        word.write_text(PASSWORD)
        word.chmod(0o644)
        self._run("initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", f"--pwfile={word}")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def start(self) -> None:
        """Start, and wait until connections are taken."""
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder}
        settings = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", *settings], cwd=self.folder, stderr=log, **self._as
            )
        deadline_s = time.monotonic() + 60
        while self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1", check=False):
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline_s, "the server did not get going"
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop at once, as after a crash: what was in the middle of something is rolled back at the next start."""
        if self._process is not None:
            self._process.send_signal(3)  # SIGQUIT
            self._process.wait(60)
            self._process = None

    def database(self, name: str) -> str:
        """Make a database; returns its URL."""
        password = {"PGPASSWORD": PASSWORD}
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, name, env={**os.environ, **password})
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: str, check: bool = True, **options: object) -> int:
        done = subprocess.run(
            [self._programs / program, *arguments], cwd=self.folder, capture_output=True, text=True, check=False,
            **self._as, **options,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.returncode


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server that runs; the test is skipped where PostgreSQL is not installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb")) or [shutil.which("initdb") or ""]
    if not found[-1]:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    server = Server(Path(found[-1]).resolve().parent)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)
