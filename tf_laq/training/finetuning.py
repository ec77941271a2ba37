"""Adversarial fine-tuning of quantized networks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_laq import api, datasets
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import one_of
from tf_laq.adapters import adapter_of, check_float
from tf_laq.attacks.base import Logits
from tf_laq.datasets import Dataset
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan
from tf_laq.training import recipes
from tf_laq.training.copying import check_gives_logits, copy_of, with_precision
from tf_laq.training.devices import scope_of
from tf_laq.training.fitting import fit
from tf_laq.training.recipes import Recipe

EXAMPLES = ("both", "float", "quantized")


@typed
def fine_tune(
    model: Any,
    plan: QuantizationPlan,
    dataset: str | Dataset,
    recipe: str | Recipe = "finetune",
    *,
    examples: str = "both",
    seed: int = 0,
    callbacks: Sequence[Any] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    strategy: tf.distribute.Strategy | None = None,
    progress: bool = True,
) -> Any:
    """Train a network adversarially under its quantization: what it computes with stays on the grid of the plan.

    min over W of E[loss(f(x + d; Q(W)), y)]. The gradient at Q(W) goes straight through to the float weights W
    (Bengio et al. 2013). Quantizers and bits are the plan's; the scales follow the weights as they move, and that of
    a log grid, a power of two, may jump by a factor of two.

    What the examples x + d are made on matters. Quantized weights are often zero and so are entries of the gradient:
    examples made on such a network leave pixels as they are, and it learns to withstand its own blinded gradient
    instead of an attack. The float network underneath is not blinded, but drifts away from the one that is trained. On
    an MNIST network (20,000 images, 3 epochs of PGD-5; worst case of APGD-CE and Square on 200 images):

    | plan | before | "quantized" | "float" | "both" |
    | --- | --- | --- | --- | --- |
    | log 3 everywhere | 0.0 % | 4.5 % | 60.5 % | 73.5 % |
    | linear 8 in the first layer, log 3 in the others | 6.5 % | 71.5 % | 61.0 % | 71.0 % |
    | linear 3 everywhere | 0.0 % | not measured | 58.5 % | 69.0 % |

    Args:
        model: A built float model to logits, as a rule adversarially trained; it stays as it is.
        plan: A plan for it.
        dataset: What `datasets.load` returned, or its name or path.
        recipe: A recipe with an attack, or the name of one for this data set, or, for data without recipes of their
            own, `recipe(dataset, "finetune", epsilon=...)`; the network that it names is ignored.
        examples: What training examples are made on: "quantized", the network itself; "float", the float network
            underneath, with the weights of the moment; "both", half of each batch on either.
        seed: Of the order of the images and the random starts, at least 0.
        callbacks: Further Keras callbacks, as in `train`.
        checkpoint: A folder to keep the state of the training in, as in `train`.
        strategy: For several devices or machines, as in `train`.
        progress: Show a bar; in files and pipes, a line a minute.

    Returns:
        The wrapped model, not compiled: `strip` makes it a plain one with values on the grid.

    Raises:
        InputError: The plan is for another model, the recipe has no attack or a Lipschitz penalty, the model is
            quantized or does not give logits of the data set's classes, or an argument is wrong.
    """
    one_of("examples", examples, EXAMPLES)
    dataset = datasets.load(dataset)
    recipe = recipes.recipe(dataset, recipe) if isinstance(recipe, str) else recipe
    check_can_be_tuned(model, dataset, recipe)
    trained = api.apply(with_precision(model, recipe.precision), plan)
    with scope_of(strategy, model):
        trained = trained if strategy is None else copy_of(trained)
        fit(
            trained,
            dataset,
            recipe,
            examples_from=_examples_from(trained, examples),
            seed=seed,
            callbacks=callbacks,
            checkpoint=checkpoint,
            progress=progress,
        )
    # A new one, since the layers of the trained one are in the graph of its float twin too.
    tuned = api.apply(model, plan)
    tuned.set_weights(trained.get_weights())
    return tuned


def check_can_be_tuned(model: Any, dataset: Dataset, recipe: Recipe) -> None:
    """Refuse what `fine_tune` does not train.

    Raises:
        InputError: As for `fine_tune`, but for the plan.
    """
    if recipe.attack is None:
        raise InputError("recipe", expected="one with an attack", received="one without")
    if recipe.lipschitz_penalty:
        expected = "one without lipschitz_penalty, which is for the training of float networks"
        raise InputError("recipe", expected=expected, received=f"a penalty of {recipe.lipschitz_penalty:g}")
    check_gives_logits(model, dataset)
    check_float("model", model)


def _examples_from(wrapped: Any, examples: str) -> Logits | None:
    if examples == "quantized":
        return None
    twin = adapter_of(wrapped).float_twin(wrapped)

    def float_logits(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(twin(images, training=False), tf.float32)

    def both_logits(images: tf.Tensor) -> tf.Tensor:
        half = tf.shape(images)[0] // 2
        # TensorFlow fails on no images at all: of one image alone, both networks take it.
        quantized = tf.cast(wrapped(images[: tf.maximum(half, 1)], training=False), tf.float32)
        return tf.concat([quantized[:half], float_logits(images[half:])], axis=0)

    return float_logits if examples == "float" else both_logits
