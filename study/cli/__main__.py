"""``python -m study.cli`` is ``dmd-study``."""

from study.cli import main

main()
