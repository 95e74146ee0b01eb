"""Settle what makes the matrix products of a study, before its first pack: once, and for all of its packs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from study.errors import UserError
from study.execution.protocol import Execute
from study.planning.cells import baselines
from study.record import Record
from study.replicates.products_choice import ProductsChoice, TrainingShape, choose_by_largest
from study.replicates.replicate import Replicate
from study.specification import Spec


def settle_products(record: Record, spec: Spec, execute: Execute) -> Spec:
    """Return the spec with the products that all packs of its record have.

    A record that has made its choice keeps it, also on another machine; one that holds replicates without a choice was
    trained with torch's products. Otherwise both are timed on a machine that trains packs, and the choice is kept.

    Args:
        record: The study.
        spec: Its spec.
        execute: Trains packs.

    Raises:
        UserError: The study has products of oneDNN, which are not available where packs train.
    """
    from study.training.matrix_products import has_onednn

    if all(replicate.recipe.products == "torch" for replicate in _plain(spec)):
        return spec
    asked = spec.sections["training"]["products"]
    products = asked if asked != "auto" else record.products
    if products == "onednn" and not execute.call(has_onednn):
        raise UserError(_refusal(record, spec, asked))
    if products is None and (choice := choose(spec, execute.call)):
        record.keep_products(choice.to_dict())
        products = choice.chosen
    return replace(spec, products=products)


def choose(spec: Spec, call: Callable[..., Any]) -> ProductsChoice | None:
    """Return the choice for the trainings whose products are open; None if there are none.

    Args:
        spec: The study.
        call: Calls a function on a machine that trains packs, as of `Execute`.
    """

    def shape(replicate: Replicate) -> TrainingShape:
        sizes = spec.problem(replicate.parameters).sizes()
        return TrainingShape(replicate.recipe, sizes.inputs, sizes.outputs, sizes.train_samples)

    def time_both(training: TrainingShape) -> ProductsChoice:
        from study.training.choose_products import choose_products

        choice: ProductsChoice = call(choose_products, training, spec.resources.threads)
        return choice

    return choose_by_largest(map(shape, _plain(spec)), time_both)


def _plain(spec: Spec) -> list[Replicate]:
    """Return a plain training of every problem, network and recipe of a study."""
    return baselines(replace(spec, seeds=spec.seeds[:1]))


def _refusal(record: Record, spec: Spec, asked: str) -> str:
    without = "torch has no float32 products of oneDNN where the packs would train"
    if asked == "onednn":
        return f"training.products: onednn is not available here: {without}. Use auto or torch"
    return (
        f"{record.folder} was begun with matrix products of oneDNN, which all its packs must have, but {without}. Run "
        f"it where oneDNN is available, or begin the study in a new folder with torch's products: --out DIR --set "
        f"training.products=torch"
    )
