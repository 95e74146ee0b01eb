"""Loading of seaborn in a command: without the half of scipy that no figure of a study needs."""

import sys

_UNUSED = ("scipy.stats", "scipy.cluster")
"""Parts of scipy that seaborn imports where it finds them, for other plots. They take longer to load than the rest."""


def load_seaborn() -> None:
    """Import seaborn as if `scipy.stats` and `scipy.cluster` were not installed; they can be imported afterwards.

    Call it only in a process that runs one command: its seaborn has no dendrograms and no cumulative densities.
    """
    hidden = [name for name in _UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None stands for a module that is not there
    try:
        import seaborn  # noqa: F401
    except ImportError:
        pass  # a seaborn that needs them is imported with them, where figures are drawn
    finally:
        for name in hidden:
            del sys.modules[name]
