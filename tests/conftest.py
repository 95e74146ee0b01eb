"""Rules for every test: no stray state, and in continuous integration no skip that is not on the list."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the user's own environment reaches a test: no storage, no Ray to connect to, no cached data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DMD_STUDY_STORAGE", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("DMD_STUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_configure() -> None:
    """A shell starts background jobs deaf to SIGINT, and so would be the processes that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _unexpected_skips(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("CI"):
        return []
    lines = ALLOWED_SKIPS.read_text().splitlines()
    allowed = [line.partition("  ")[0] for line in lines if line and not line.startswith("#")]
    skipped = {report.nodeid for report in reporter.getreports("skipped")}
    return sorted(nodeid for nodeid in skipped if not any(nodeid.startswith(name) for name in allowed))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unexpected_skips(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if unexpected := _unexpected_skips(config):
        terminalreporter.section(f"skipped, and not on {ALLOWED_SKIPS.name}", red=True)
        for nodeid in unexpected:
            terminalreporter.line(nodeid)
