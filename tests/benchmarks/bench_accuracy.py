"""How near jumps come to those of a float64 SVD: ``python -m tests.benchmarks.bench_accuracy``.

The snapshots are the last layer (n = 2.7 million) of the paper's network under Adam on the pollutant data, in float32.
A prediction is judged where the reference itself moves by less than 1e-4 of the jump under half a unit in the last
place of its snapshots: elsewhere no float32 snapshots tell what is right. The promise: a judged prediction differs from
the reference by at most 1e-3 of the jump, and at tolerances of 1e-6 and above at least half are judged.
"""

from collections.abc import Sequence

import numpy as np

from accel import DMD
from problems.pollutant import Pollutant
from tests.benchmarks._setting import HIDDEN, describe_machine, fill, record_windows, watch
from tests.benchmarks._textbook import Textbook, shake

TOLERANCES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def main(
    problem: Pollutant | None = None,
    hidden: Sequence[int] = HIDDEN,
    windows: Sequence[int] = (2, 5, 8, 14, 20),
    horizons: Sequence[int] = (5, 20, 55, 100),
    starts: Sequence[int] = (50, 250),
    lr: float = 1e-3,
) -> dict[float, list[float | None]]:
    """Print the table; returns for each tolerance the errors, in parts of the jump, None where not judged."""
    print(describe_machine())
    errors: dict[float, list[float | None]] = {tolerance: [] for tolerance in TOLERANCES}
    for start, rows in record_windows(problem or Pollutant(), hidden, lr, starts, max(windows)):
        print(f"window from step {start}: n = {rows.shape[1]:,}", flush=True)
        for m in windows:
            reference, shaken = Textbook.of(rows[:m]), Textbook.of(shake(rows[:m]))
            for tolerance in TOLERANCES:
                accelerator, weights = watch(rows, DMD(tolerance), m)
                fill(accelerator, weights, rows[:m])
                for s in horizons:
                    expected = reference.predict(reference.rank(tolerance), s)
                    moved = shaken.predict(shaken.rank(tolerance), s)
                    jump = np.linalg.norm(expected - reference.newest)
                    with np.errstate(all="ignore"):
                        judged = np.linalg.norm(moved - expected) < 1e-4 * jump
                        predicted = accelerator.predict(accelerator.propose(s)).double().numpy()
                        error = float(np.linalg.norm(predicted - expected) / jump)
                    errors[tolerance].append(error if judged else None)
    print("tolerance   judged   median error   worst error   (parts of the jump)")
    for tolerance, found in errors.items():
        known = [error for error in found if error is not None]
        shown = f"{np.median(known):12.1e} {max(known):13.1e}" if known else f"{'-':>12} {'-':>13}"
        print(f"{tolerance:9.0e} {f'{len(known)}/{len(found)}':>8}   {shown}")
    share = judged_share(errors, 1e-6)
    print(f"judged at tolerance >= 1e-6: {share:.0%} (promised: 50 % or more)")
    return errors


def judged_share(errors: dict[float, list[float | None]], tolerance: float) -> float:
    """The part of the predictions at this tolerance and above that could be judged."""
    found = [error is not None for each, own in errors.items() if each >= tolerance for error in own]
    return sum(found) / len(found)


if __name__ == "__main__":
    main()
