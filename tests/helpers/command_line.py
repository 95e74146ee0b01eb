"""Commands of `dmd-study`, run in the test's own process without a fixture."""

from typing import NamedTuple

from typer.testing import CliRunner

from study.cli import app
from study.errors import UserError


class Printed(NamedTuple):
    """Exit status of a command, and what it printed."""

    status: int
    out: str
    err: str


def run_command(*arguments: object) -> Printed:
    """Run a command; a mistake of the user's gives status 2 and its message, as `study.cli.main` prints it."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)
    if isinstance(done.exception, UserError):
        return Printed(2, done.stdout, str(done.exception))
    return Printed(done.exit_code, done.stdout, done.stderr)
