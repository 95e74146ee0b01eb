"""What tests need that start Ray nodes as separate processes."""

import contextlib
import os
import socket
import sys
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))


def own_environment(place: Path) -> dict[str, str]:
    """Environment of processes of a cluster of the test's own: token authentication, everything below a folder."""
    token = place / "token"
    token.write_text("c" * 64)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "HOME": str(place),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


def free_ports(count: int) -> int:
    """First of so many ports in a row that nothing listens on, below those that the system hands out."""
    for first in range(20000 + os.getpid() % 50 * 200, 32000, 200):
        if not any(listens("127.0.0.1", port) for port in range(first, first + count)):
            return first
    raise AssertionError("no free ports")
