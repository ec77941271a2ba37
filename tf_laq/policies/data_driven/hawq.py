"""HAWQ-style selection: the error of a weight tensor times the curvature of the loss at it.

Dong et al. 2020, "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks"; the selection as an integer
program is that of Yao et al. 2021, "HAWQ-V3".
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq import quantizers
from tf_laq._internal.batches import ImageData
from tf_laq._internal.progress import progress_bar
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import one_of, whole
from tf_laq.policies.base import DataDrivenPolicy
from tf_laq.policies.budget import Budget, Limit
from tf_laq.policies.data_driven.data import Key, as_float, checked_batch, cross_entropy, kernels
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import TensorSensitivity

Curvature = Literal["hessian", "gradient"]


@dataclasses.dataclass(frozen=True)
class CurvatureCost:
    """curvature / n * ||W - W_q||_F^2, for n weights: a cost for `Budget`.

    Attributes:
        curvatures: Layer path and weight path -> curvature of the tensor.
        name: What a plan calls it.
    """

    curvatures: dict[Key, float]
    name: str = "HAWQ-style"

    def __call__(self, sensitivity: TensorSensitivity, quantizer: Quantizer) -> float:
        """Return the predicted loss from one setting of one weight tensor."""
        tensor = sensitivity.tensor
        mean = self.curvatures[tensor.layer, tensor.weight] / tensor.values.size
        return mean * sensitivity.squared_error(quantizer)


@typed
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Hawq(DataDrivenPolicy):
    """The least sum over layers of trace_l / n_l * ||W_l - Q(W_l)||_F^2 within a limit on the size.

    Attributes:
        images: Images to measure the curvature on, as for every `DataDrivenPolicy`; with the labels, the only settings
            that may be given without their names.
        labels: Their classes; none beside batches.
        limit: What all codes may take together.
        curvature: "hessian" for the trace of the Hessian of the cross-entropy by Hutchinson's estimator; "gradient"
            for the squared norm of its gradient, which costs one step.
        samples: Random vectors of the estimator.
        seed: Of these vectors.
        quantizers: Names of the quantizers to choose from; None for all but those that are `by_name_only`.
        max_bits: Widest setting.

    Raises:
        InputError: A setting is out of range.
    """

    labels: npt.ArrayLike | None = dataclasses.field(default=None, kw_only=False)
    limit: Limit
    curvature: Curvature = "hessian"
    samples: int = 16
    seed: int = 0
    quantizers: tuple[str, ...] | None = None
    max_bits: int = 8

    def __post_init__(self) -> None:
        one_of("curvature", self.curvature, ("hessian", "gradient"))
        whole("samples", self.samples)
        whole("seed", self.seed, minimum=0)
        quantizers.candidates(self.quantizers, self.max_bits)

    def measure(self, model: Any, *, progress: bool = True) -> Budget:
        """Return the budget with the curvature of the loss at this model's weights as cost."""
        if self.curvature == "hessian":
            samples, seed = self.samples, self.seed
            found = hessian_traces(model, self.images, self.labels, samples=samples, seed=seed, progress=progress)
        else:
            found = squared_gradients(model, self.images, self.labels)
        # A saddle has directions of negative curvature; what is predicted to gain from errors counts as indifferent.
        cost = CurvatureCost({key: max(value, 0.0) for key, value in found.items()}, f"HAWQ-style {self.curvature}")
        return Budget(limit=self.limit, cost=cost, quantizers=self.quantizers, max_bits=self.max_bits)


@typed
def hessian_traces(
    model: Any,
    images: ImageData,
    labels: npt.ArrayLike | None = None,
    *,
    samples: int = 16,
    seed: int = 0,
    progress: bool = True,
) -> dict[Key, float]:
    """Return the trace of the Hessian of the mean cross-entropy for every weight tensor.

    Hutchinson's estimator: E[v^T H v] over vectors v of random signs is the trace of H. All tensors share a product
    with H, since the terms between different tensors have mean 0.

    Args:
        model: A built Keras model that outputs logits or probabilities.
        images: Floating-point images (n, height, width, channels) in [0, 1].
        labels: Their class numbers (n,).
        samples: Number of vectors v.
        seed: Of the vectors.
        progress: Show a progress bar; in files and pipes, a line a minute.

    Returns:
        Layer path and weight path -> trace.

    Example:
        >>> import tf_keras
        >>> layers = [tf_keras.layers.Flatten(), tf_keras.layers.Dense(2, name="dense")]
        >>> model = tf_keras.Sequential([tf_keras.layers.Input((2, 2, 1)), *layers])
        >>> traces = hessian_traces(model, np.ones((1, 2, 2, 1)), [0], progress=False)
        >>> list(traces), traces["dense", "kernel"] > 0
        ([('dense', 'kernel')], True)
    """
    whole("samples", samples)
    whole("seed", seed, minimum=0)
    batch, variables = checked_batch(model, images, labels), kernels(model)
    random = np.random.default_rng(seed)
    totals = dict.fromkeys(variables, 0.0)
    for _ in progress_bar(range(samples), shown=progress, desc="Hessian traces", unit="sample"):
        signs = [tf.constant(random.choice([-1.0, 1.0], v.shape), v.dtype) for v in variables.values()]
        with tf.GradientTape() as outer:
            outer.watch(list(variables.values()))
            with tf.GradientTape() as inner:
                inner.watch(list(variables.values()))
                loss = cross_entropy(model, *batch)
            gradients = inner.gradient(loss, list(variables.values()), unconnected_gradients="zero")
            along = tf.add_n([tf.reduce_sum(g * v) for g, v in zip(gradients, signs, strict=True)])
        products = outer.gradient(along, list(variables.values()), unconnected_gradients="zero")
        for key, product, sign in zip(totals, products, signs, strict=True):
            totals[key] += as_float(tf.reduce_sum(product * sign)) / samples
    return totals


def squared_gradients(model: Any, images: ImageData, labels: npt.ArrayLike | None = None) -> dict[Key, float]:
    """Return the squared norm of the gradient of the mean cross-entropy for every weight tensor."""
    batch, variables = checked_batch(model, images, labels), kernels(model)
    with tf.GradientTape() as tape:
        tape.watch(list(variables.values()))
        loss = cross_entropy(model, *batch)
    gradients = tape.gradient(loss, list(variables.values()), unconnected_gradients="zero")
    return {
        key: as_float(tf.reduce_sum(tf.square(gradient))) for key, gradient in zip(variables, gradients, strict=True)
    }
