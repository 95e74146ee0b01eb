"""Train packs in this process, one after another: for a debugger, or where Ray is not wanted."""

import contextlib
import functools
import time
from collections.abc import Iterable, Iterator, Mapping

from study.errors import UserError
from study.execution.deadline import Deadline
from study.execution.protocol import Execute, Finish, call_here
from study.execution.terminal_progress import SweepProgress
from study.replicates.replicate import Pack, Task
from study.specification import Spec


@contextlib.contextmanager
def inline(spec: Spec, deadline: Deadline) -> Iterator[Execute]:
    """Yield this process, to train packs in.

    Raises:
        UserError: packs ask for a GPU, but there is none.
    """
    import torch

    if spec.resources.gpu and not torch.cuda.is_available():
        raise UserError(
            f"resources.gpu: each pack asks for {spec.resources.gpu:g}, but torch finds no CUDA device here. "
            f"Use --set resources.gpu=0 to train on the CPU."
        )
    yield Execute(functools.partial(_train_packs, spec, deadline), call_here)


def _train_packs(
    spec: Spec,
    deadline: Deadline,
    packs: Iterable[Pack],
    tasks: Mapping[str, Task],
    finish: Finish,
    progress: SweepProgress,
) -> None:
    from study.replicates.provenance import provenance
    from study.training.packs import train_pack

    for pack in packs:
        if not deadline.allows_another:
            return
        start_s = time.monotonic()
        progress.started(len(pack.replicates))
        finish(pack, train_pack(pack, tasks, spec.rules), provenance(pack))
        deadline.took(time.monotonic() - start_s)
