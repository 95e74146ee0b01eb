"""Windows of several replicates of one network, which fill together and are extrapolated in one batched call."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from accel._jump.options import JumpOptions
from accel._jump.outcome import JumpOutcome
from accel._jump.policy import refuse
from accel._jump.propose import extrapolate
from accel._jump.reports import Proposal
from accel._rules import Koopman
from accel._window.group_windows import Windows
from accel._window.groups import lay_out
from accel._window.pair_windows import PairWindows, pays
from accel._window.reshaping import Reshaping


class StackedAccelerator:
    """Records, proposes and applies for K replicates whose weights are stacked along a leading axis.

    It does not judge; `judge_jump` does. Replicates share all options that fill a window (``m``, ``group``, ``every``,
    ``start``, ``stop``, where snapshots are kept) and may differ in all others. ``moments`` is left to the owner of the
    optimiser.

    Args:
        model: The network, whose parameters define the groups.
        options: Options of each replicate's jumps.
        stacked: The replicates' parameters by name, (K, *shape) each, written in place; None for the model's own, with
            K = 1.

    Raises:
        ValueError: Replicates fill their windows differently, or the model has no suitable parameters.
    """

    def __init__(
        self, model: nn.Module, options: Sequence[JumpOptions], stacked: Mapping[str, Tensor] | None = None
    ) -> None:
        if not options or any(each.window != options[0].window for each in options):
            raise ValueError("stacked replicates must share m, group, every, start, stop and where snapshots are kept")
        self.options = tuple(options)
        self.layout = lay_out(model, options[0].group)
        names = {parameter: name for name, parameter in model.named_parameters()}
        self._names = [[names[parameter] for parameter in buffer] for buffer in self.layout.buffers]
        self.windows = self._new_windows(stacked)
        self.calls = 0
        self.jumps = 0
        self.outcome = JumpOutcome.WARMING_UP if options[0].start else JumpOutcome.RECORDING
        self.first_losses: list[float | None] = [None] * len(options)

    @property
    def note(self) -> str | None:
        """Sentence on groups that have no more weights than the sample asked for; None if there are none."""
        sample = self.options[0].sample
        small = [family.name for family in self.layout.families if isinstance(sample, int) and family.size <= sample]
        if not small:
            return None
        shown = ", ".join(small[:5]) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
        return f"sample is {sample} weights; all weights are taken of groups that have no more: {shown}"

    def takes(self, call: int) -> bool:
        """Return True if this call, counted from 1, takes a snapshot."""
        options = self.options[0]
        since = call - options.start
        return since > 0 and since % options.every == 0 and (options.stop is None or call <= options.stop)

    def record(self) -> bool:
        """Count a call, and add the present weights to the windows if that is due; return True if they are full now.

        Raises:
            RuntimeError: The windows are already full.
        """
        options = self.options[0]
        if self.windows.full:
            raise RuntimeError(f"the window already holds m = {options.m} snapshots: call clear() after a jump")
        call = self.calls + 1
        if self.takes(call):
            self.windows.append()  # may raise, and then the call did not count
        self.calls = call
        if options.stop is not None and call >= options.stop and not self.windows.full:
            if self.outcome is not JumpOutcome.FINISHED:
                self.windows.release()
            self.outcome = JumpOutcome.FINISHED
        else:
            self.outcome = JumpOutcome.WARMING_UP if call <= options.start else JumpOutcome.RECORDING
        return self.windows.full

    def fill(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Fill the windows with these m snapshots, oldest first, in place of recording them.

        Args:
            weights: The parameters of each snapshot by name, (K, *shape) each.
        """
        count = len(self.options)
        self.windows.load(
            [
                torch.stack([torch.cat([each[n].reshape(count, -1) for n in names], dim=1) for each in weights])
                for names in self._names
            ]
        )

    def horizons(self, replicate: int, loss: float | None = None) -> tuple[int, ...]:
        """Return the horizons that a replicate tries at the coming jump, without repeats.

        Args:
            replicate: Place of the replicate.
            loss: Loss at the newest snapshot, for schedules that depend on it.
        """
        options, relative = self.options[replicate], None
        if loss is not None:
            first = self.first_losses[replicate]
            self.first_losses[replicate] = first = loss if first is None else first
            relative = loss / first if first else 1.0
        s = options.horizon(self.jumps, relative)
        return tuple(dict.fromkeys(max(1, round(multiple * s)) for multiple in options.candidates))

    def propose(self, s: Sequence[int]) -> list[Proposal]:
        """Extrapolate the full windows, each by its own s; no weight is touched.

        A proposal includes the relaxation, and the shape ``"last_step"``; `apply` adds masks, random directions and
        noise.

        Raises:
            RuntimeError: The windows are not full.
            ValueError: A rule returns another number of coefficients than there are snapshots.
        """
        self.require_full("propose")
        return extrapolate(self.windows, self.options, s, self.jumps)

    def refuses(self, replicate: int, proposal: Proposal) -> JumpOutcome | None:
        """Return why a replicate's proposal is rejected without being evaluated; None if it is not."""
        return refuse(proposal, self.options[replicate])

    def apply(self, chosen: Sequence[Proposal | None]) -> Tensor:
        """Write each replicate's proposed weights, finite or not, or its newest snapshot for None.

        Returns:
            (K,) bool; True if all of a replicate's weights are finite in the parameters' dtype.
        """
        return self.write(self.windows.tensors, chosen)

    def write(self, targets: Sequence[Sequence[Tensor]], chosen: Sequence[Proposal | None]) -> Tensor:
        """Write as `apply` does, into other tensors (``targets``, one list per buffer)."""
        self.require_full("apply")
        coefficients = torch.cat([self._newest() if each is None else each.coefficients for each in chosen])
        reshapings = [
            None if proposal is None else Reshaping.of_jump(each.shape, proposal.s, each.noise, each.seed, self.jumps)
            for each, proposal in zip(self.options, chosen, strict=True)
        ]
        return self.windows.combine(coefficients, targets, reshapings)

    def restore(self) -> None:
        """Put the newest snapshots back into the weights, bit for bit."""
        self.require_full("restore")
        self.windows.restore()

    def clear(self) -> None:
        """Begin new windows."""
        self.jumps += self.windows.full
        self.windows.clear()

    def keep(self, replicates: Sequence[int], stacked: Mapping[str, Tensor]) -> None:
        """Keep these replicates with their windows and drop the others; their weights now lie in ``stacked``."""
        self.options = tuple(self.options[k] for k in replicates)
        self.first_losses = [self.first_losses[k] for k in replicates]
        self.windows.keep(self._tensors(stacked), torch.tensor(replicates))

    def _newest(self) -> Tensor:
        """Return the coefficients of the newest snapshot, (groups, width)."""
        return torch.eye(self.windows.width, dtype=torch.float64)[-1].expand(self.layout.groups, -1)

    def require_full(self, method: str) -> None:
        """Raise RuntimeError unless the windows are full."""
        if not self.windows.full:
            raise RuntimeError(
                f"{method}() needs a full window: {self.windows.filled} of m = {self.options[0].m} snapshots recorded"
            )

    def _new_windows(self, stacked: Mapping[str, Tensor] | None) -> Windows | PairWindows:
        options = self.options[0]
        tensors = None if stacked is None else self._tensors(stacked)
        if isinstance(options.rule, Koopman) and options.snapshot_dtype is None and pays(self.layout, options.m):
            return PairWindows(self.layout, options.m, options.snapshot_device, tensors)
        return Windows(self.layout, options.m, options.snapshot_dtype, options.snapshot_device, tensors, options.sample)

    def _tensors(self, stacked: Mapping[str, Tensor]) -> list[list[Tensor]]:
        return [[stacked[name] for name in buffer] for buffer in self._names]
