"""Errors while data are generated."""


class NotConvergedError(RuntimeError):
    """A nonlinear solve stopped short of its tolerance.

    It takes one text and nothing else, so that a worker process can hand it to its parent.
    """
