"""Train the packs of a file and write their outcomes to another. Needs only torch, numpy and `accel`.

``python -m study.trainer PACKS --out F.npz --time-limit S`` trains the packs that `dmd-study export-packs` wrote.
Repeat it until all packs have ended; then ``dmd-study import F.npz`` puts the outcomes into a record.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from study.replicates.pack_files import BadFile, OutcomesFile, PacksFile
from study.replicates.products_choice import TrainingShape, choose_by_largest, chosen_of
from study.replicates.provenance import provenance
from study.replicates.replicate import Pack, Products
from study.training.choose_products import choose_products
from study.training.matrix_products import has_onednn
from study.training.packs import train_pack


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the packs of a file that have not ended yet, and write the outcomes after each.

    Args:
        arguments: arguments of the command line; those of this process by default.

    Returns:
        0 if all have ended, 124 if the time limit left some, 2 after a mistake, which the message explains.
    """
    parser = argparse.ArgumentParser(prog="python -m study.trainer", description="Train exported packs.")
    parser.add_argument("packs", type=Path, help="file that dmd-study export-packs wrote")
    parser.add_argument(
        "--out", type=Path, required=True, help="file for the outcomes; packs that it holds are not trained again"
    )
    parser.add_argument("--time-limit", type=float, metavar="S", help="start no pack that would end after S seconds")
    parser.add_argument("--device", help="cpu or cuda, instead of the device that the packs name")
    chosen = parser.parse_args(arguments)
    start_s = time.monotonic()
    try:
        file = PacksFile.read(chosen.packs)
        before = OutcomesFile.read(chosen.out) if chosen.out.exists() else OutcomesFile(file.study, {})
        if before.study["hash"] != file.study["hash"]:
            raise BadFile(f"{chosen.out} holds the outcomes of another study; choose another --out")
        device = chosen.device or ("cuda" if any(pack.device == "cuda" for pack in file.packs) else "cpu")
        if device == "cuda" and not torch.cuda.is_available():
            raise BadFile(
                "the packs must train on a GPU, but torch finds no CUDA device here; "
                "use --device cpu to train on the CPU"
            )
        packs, products = _settle(file, device, before)
    except BadFile as error:
        print(f"study.trainer: {error}", file=sys.stderr)
        return 2
    longest_s, ended = 0.0, dict(before.ended)
    waiting = [pack for pack in packs if pack.id not in ended]
    for number, pack in enumerate(waiting):
        pack_start_s = time.monotonic()
        if chosen.time_limit is not None and pack_start_s - start_s + longest_s > chosen.time_limit:
            print(
                f"time limit: {len(waiting) - number} of {len(file.packs)} packs are left; run the same command again"
            )
            return 124
        notes: list[str] = []
        outcomes = train_pack(replace(pack, device=chosen.device or pack.device), file.tasks, {}, notes.append)
        ended[pack.id] = (pack, outcomes, provenance(pack) | {"notes": notes})
        OutcomesFile(file.study, ended, products).write(chosen.out)
        took_s = time.monotonic() - pack_start_s
        longest_s = max(longest_s, took_s)
        for note in notes:
            print(f"warning: {note}")
        counts = ", ".join(f"{sum(o.status == s for o in outcomes)} {s}" for s in sorted({o.status for o in outcomes}))
        print(
            f"pack {len(ended)}/{len(file.packs)}: {len(outcomes)} replicates ({counts}) in {took_s:.1f} s", flush=True
        )
    print(f"all {len(file.packs)} packs have ended: {chosen.out}")
    return 0


def _settle(file: PacksFile, device: str, before: OutcomesFile) -> tuple[list[Pack], Mapping[str, Any] | None]:
    """Return the packs with the matrix products that they train with, and the choice of those that were left open.

    Args:
        file: Packs to train.
        device: Device to train on.
        before: Outcomes so far, whose products all others have as well.

    Raises:
        BadFile: The packs must have products of oneDNN, which are not available.
    """
    kept = before.products
    if kept is None and not before.ended and device == "cpu":
        threads = max((pack.threads for pack in file.packs), default=1)
        choice = choose_by_largest(_shapes(file), lambda shape: choose_products(shape, threads))
        kept = None if choice is None else choice.to_dict()
    products: Products = "torch" if kept is None else chosen_of(kept)
    packs = [
        replace(pack, replicates=tuple(replicate.settled(products) for replicate in pack.replicates))
        for pack in file.packs
    ]
    if any(pack.products == "onednn" for pack in packs) and not (device == "cpu" and has_onednn()):
        raise BadFile(
            f"the packs must train with matrix products of oneDNN, but torch has none here on the device {device}; "
            f"train them on a CPU where it has (--device cpu), or export the study with --set training.products=torch"
        )
    return packs, kept


def _shapes(file: PacksFile) -> Iterator[TrainingShape]:
    for task, recipe in {(each.task, each.recipe): None for pack in file.packs for each in pack.replicates}:
        inputs, targets = file.tasks[task].train_inputs, file.tasks[task].train_targets
        yield TrainingShape(recipe, inputs.shape[1], targets.shape[1], len(inputs))


if __name__ == "__main__":
    sys.exit(main())
