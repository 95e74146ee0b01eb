"""What can go wrong while the data are generated."""


class NotConvergedError(RuntimeError):
    """A nonlinear solve stopped short of its tolerance.

    It takes one text and nothing else, so that it can be handed from a worker process to its parent.
    """
