"""Jumps of several replicates of one network at once: windows that fill together, and one batched call a jump."""

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

    It does not judge: who holds it evaluates what it applied, and applies again. Replicates share all that fills a
    window (``m``, ``group``, ``every``, ``start``, ``stop``, where snapshots are kept); rule, horizon, candidates,
    relaxation, shape, noise, seed and limits are each one's own. ``accept``, ``margin`` and ``moments`` are the
    holder's to heed.

    Args:
        model: The network, whose parameters tell what groups there are.
        options: One per replicate.
        stacked: The replicates' parameters by name, (K, *shape) each, written in place; None for the model's own (K is
            1 then).

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

    def takes(self, call: int) -> bool:
        """Whether this call, counted from 1, takes a snapshot."""
        options = self.options[0]
        since = call - options.start
        return since > 0 and since % options.every == 0 and (options.stop is None or call <= options.stop)

    def record(self) -> bool:
        """Count a call, and add the present weights to the windows if it is due; True when that filled them.

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
            weights: of each snapshot the parameters by name, (K, *shape) each.
        """
        count = len(self.options)
        self.windows.load(
            [
                torch.stack([torch.cat([each[n].reshape(count, -1) for n in names], dim=1) for each in weights])
                for names in self._names
            ]
        )

    def horizons(self, replicate: int, loss: float | None = None) -> tuple[int, ...]:
        """The horizons that a replicate is to try at the coming jump, without repeats.

        Args:
            replicate: Its place.
            loss: At the newest snapshot, for schedules that depend on it.
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

        Relaxation is part of it, and the last step in place of a prediction; masks, random directions and noise are
        what `apply` adds.

        Raises:
            RuntimeError: The windows are not full.
            ValueError: A rule returns another number of coefficients than there are snapshots.
        """
        self.require_full("propose")
        return extrapolate(self.windows, self.options, s)

    def refuses(self, replicate: int, proposal: Proposal) -> JumpOutcome | None:
        """Return why a replicate's proposal is rejected without being evaluated; None if it is not."""
        return refuse(proposal, self.options[replicate])

    def apply(self, chosen: Sequence[Proposal | None]) -> Tensor:
        """Write each replicate's proposed weights, finite or not, or its newest snapshot where there is None.

        Returns:
            (K,) bool; whether all of a replicate's weights are finite in the parameters' dtype.
        """
        return self.write(self.windows.tensors, chosen)

    def write(self, targets: Sequence[Sequence[Tensor]], chosen: Sequence[Proposal | None]) -> Tensor:
        """As `apply`, into other tensors: those of each buffer."""
        self.require_full("apply")
        newest = torch.eye(self.windows.width, dtype=torch.float64)[-1].expand(self.layout.groups, -1)
        coefficients = torch.cat([newest if proposal is None else proposal.coefficients for proposal in chosen])
        reshapings = [
            None if own is None else Reshaping.of_jump(each.shape, own.s, each.noise, each.seed, self.jumps)
            for each, own in zip(self.options, chosen, strict=True)
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
        """Go on with these replicates only, whose weights now lie in these tensors; what they recorded is kept."""
        self.options = tuple(self.options[k] for k in replicates)
        self.first_losses = [self.first_losses[k] for k in replicates]
        self.windows.keep(self._tensors(stacked), torch.tensor(replicates))

    def require_full(self, method: str) -> None:
        """Raise RuntimeError unless the windows are full."""
        if not self.windows.full:
            raise RuntimeError(
                f"{method}() needs a full window: {self.windows.filled} of m = {self.options[0].m} snapshots recorded"
            )

    def _new_windows(self, stacked: Mapping[str, Tensor] | None) -> Windows | PairWindows:
        options = self.options[0]
        own = None if stacked is None else self._tensors(stacked)
        if isinstance(options.rule, Koopman) and options.snapshot_dtype is None and pays(self.layout, options.m):
            return PairWindows(self.layout, options.m, options.snapshot_device, own)
        return Windows(self.layout, options.m, options.snapshot_dtype, options.snapshot_device, own)

    def _tensors(self, stacked: Mapping[str, Tensor]) -> list[list[Tensor]]:
        return [[stacked[name] for name in buffer] for buffer in self._names]
