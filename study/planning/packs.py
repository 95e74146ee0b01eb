"""Packs of replicates: the unit that is scheduled."""

from collections.abc import Iterable

from study.planning.costs import predict_cost
from study.replicates.keys import replicate_key
from study.replicates.replicate import Pack, Replicate
from study.specification import Spec, content_hash

GPU_PACK = 64
"""Replicates of a pack on a GPU; the trainer puts fewer side by side if its memory holds no more."""
CPU_PACK = 32
"""Replicates of a pack on a CPU, for small networks."""
CPU_PACK_BELOW = 1e9
"""Operations per epoch below which packs pay on a CPU: there, the interpreter takes longer than single products."""


def plan(spec: Spec, missing: Iterable[Replicate]) -> list[Pack]:
    """Group replicates into packs: those of one architecture, and among them those of one window, which jump together.

    Cells that one training is probed for stay together. Baselines ride along; packs with baselines come first, since
    every ratio needs them, then the dearest, so that all end at about the same time. Replicates whose products are open
    get those of the spec, once they are settled there.
    """
    by_architecture: dict[tuple[object, ...], list[Replicate]] = {}
    if spec.products is not None:
        missing = [replicate.settled(spec.products) for replicate in missing]
    for replicate in missing:
        by_architecture.setdefault(replicate.probed_with or replicate.architecture, []).append(replicate)
    chosen: list[tuple[bool, float, list[Replicate]]] = []
    for same in by_architecture.values():
        same.sort(key=lambda r: 0 if r.extrapolation is None else r.extrapolation.m)  # stable: in the order of the grid
        size = len(same) if same[0].probed_with else pack_size(spec, same[0])
        packs = -(-len(same) // size)
        for number in range(packs):  # of about equal size
            members = same[number * len(same) // packs : (number + 1) * len(same) // packs]
            costs = [predict_cost(spec, replicate) for replicate in members]
            without = not any(replicate.is_baseline for replicate in members)
            chosen.append((without, -sum(cost.total for cost in costs if cost is not None), members))
    chosen.sort(key=lambda each: each[:2])
    return [
        Pack(
            id=content_hash([spec.hash(), *map(replicate_key, members)]),
            replicates=tuple(members),
            threads=spec.resources.threads,
            device="cuda" if spec.resources.gpu else "cpu",
            gpu=spec.resources.gpu,
        )
        for _, _, members in chosen
    ]


def pack_size(spec: Spec, replicate: Replicate) -> int:
    """Return the largest number of replicates in a pack, for replicates such as this one."""
    if spec.resources.pack != "auto":
        return spec.resources.pack
    if spec.resources.gpu:
        return GPU_PACK
    cost = predict_cost(spec, replicate)
    small = cost is not None and cost.training / replicate.recipe.epochs < CPU_PACK_BELOW
    return CPU_PACK if small else 1
