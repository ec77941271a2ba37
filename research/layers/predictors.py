"""What might predict the loss from quantizing one layer: numbers that need no attack on the quantized network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from research.canvas import Canvas, WeightKey
from research.layers.operator_norm import operator_norm
from research.layers.settings import LayerSettings
from tf_laq import lipschitz
from tf_laq.attacks import APGDCrossEntropy, Images, Labels, margins
from tf_laq.policies import hessian_traces, relative_changes
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import WeightTensor

_HESSIAN_SAMPLES = 8


class Predictor(NamedTuple):
    """A candidate: `about` in words, and whether it needs images. Larger ones predict larger losses."""

    about: str
    needs_images: bool


PREDICTORS: Mapping[str, Predictor] = {
    "few_bits": Predictor("fewer bits", False),
    "error": Predictor("‖E‖₂, as in Eq. (11b)", False),
    "relative_error": Predictor("‖E‖₂ / ‖W‖₂", False),
    "later_error": Predictor("‖E‖₂ times ‖W‖₂ of all later layers", False),
    "inf_error": Predictor("‖E‖∞", False),
    "relative_inf_error": Predictor("‖E‖∞ / ‖W‖∞", False),
    "operator_error": Predictor("operator norm of E", False),
    "relative_operator_error": Predictor("operator norm of E / that of W", False),
    "relative_squared_error": Predictor("‖E‖F / ‖W‖F", False),
    "noise_sensitivity": Predictor("ANS of the layer", True),
    "noise_sensitivity_error": Predictor("ANS times ‖E‖₂ / ‖W‖₂", True),
    "first_order": Predictor("⟨gradient, E⟩ without its sign", True),
    "gradient": Predictor("‖gradient‖² ‖E‖F² / n", True),
    "curvature": Predictor("Hessian trace ‖E‖F² / n", True),
    "output_clean": Predictor("change of the outputs, clean images", True),
    "output_adversarial": Predictor("change of the outputs, adversarial images", True),
    "output_corner": Predictor("change of the outputs, random corners of the ball", True),
    "margin_adversarial": Predictor("fall of the margin, adversarial images", True),
}


class WeightPredictors:
    """The predictors that need no data.

    E = W - W_q; norms are of the kernel as a matrix (`lipschitz`), but for the operator norm of a convolution. Later
    layers are those after it in the model's order; skip connections and normalisation are not looked at.

    Args:
        canvas: The float network.
    """

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._matrices = [tensor.layout.matrices(tensor.values) for tensor in canvas.tensors]
        self._norms = [lipschitz.spectral_norm(matrices) for matrices in self._matrices]

    def of(self, place: int, quantizer: Quantizer) -> dict[str, float]:
        """Return the predictors for one setting of the weight tensor at this place."""
        tensor, matrices, norm = self._canvas.tensors[place], self._matrices[place], self._norms[place]
        layer, error = self._canvas.layer(tensor), tensor.values - quantizer.quantize(tensor.values)
        errors = tensor.layout.matrices(error)
        spectral, row_sum = lipschitz.spectral_norm(errors), lipschitz.row_sum_norm(errors)
        operator = operator_norm(layer, tensor, error)
        return {
            "few_bits": -float(quantizer.bits),
            "error": spectral,
            "relative_error": spectral / norm,
            "later_error": spectral * math.prod(self._norms[place + 1 :]),
            "inf_error": row_sum,
            "relative_inf_error": row_sum / lipschitz.row_sum_norm(matrices),
            "operator_error": operator,
            "relative_operator_error": operator / operator_norm(layer, tensor, tensor.values),
            "relative_squared_error": float(np.linalg.norm(error) / np.linalg.norm(tensor.values)),
        }


class ImagePredictors:
    """The predictors that look at a few training images, and at adversarial ones made of them on the float network.

    Gradient and Hessian are those of the mean cross-entropy on the adversarial images. Changes of the outputs are mean
    L2 distances of the logits; the margin is the true logit minus the largest other one.

    Args:
        canvas: The float network.
        images: The images (n, height, width, channels).
        labels: Their class numbers (n,).
        settings: The attack's strength, and the seed.
    """

    def __init__(self, canvas: Canvas, images: Images, labels: Labels, settings: LayerSettings) -> None:
        self._canvas, self._labels = canvas, labels
        attack = APGDCrossEntropy(epsilon=settings.epsilon, steps=settings.steps, stop_when_broken=False)
        adversarial = attack(canvas.logits, images, labels, seed=settings.seed)
        signs = np.random.default_rng(settings.seed).choice([-1.0, 1.0], images.shape).astype(np.float32)
        corner = np.clip(images + np.float32(settings.epsilon) * signs, 0.0, 1.0)
        self._images = {"clean": images, "adversarial": adversarial, "corner": corner}
        self._before = {name: self._outputs(each) for name, each in self._images.items()}
        self._noise_sensitivities = relative_changes(canvas.model, images, adversarial)
        self._gradients = _gradients(canvas, adversarial, labels)
        self._traces = hessian_traces(
            canvas.model, adversarial, labels, samples=_HESSIAN_SAMPLES, seed=settings.seed, progress=False
        )

    def of(self, tensor: WeightTensor, quantizer: Quantizer) -> dict[str, float]:
        """Return the predictors for one setting of a weight tensor."""
        key = tensor.layer, tensor.weight
        error = tensor.values - quantizer.quantize(tensor.values)
        gradient, mean_square = self._gradients[key], float(np.mean(np.square(error, dtype=np.float64)))
        relative = lipschitz.spectral_norm(tensor.layout.matrices(error))
        relative /= lipschitz.spectral_norm(tensor.layout.matrices(tensor.values))
        sensitivity = self._noise_sensitivities[tensor.layer]
        with self._canvas.quantized(tensor, quantizer):
            outputs = {name: self._outputs(images) for name, images in self._images.items()}
        changes = {name: np.linalg.norm(outputs[name] - self._before[name], axis=1).mean() for name in outputs}
        return {
            "noise_sensitivity": sensitivity,
            "noise_sensitivity_error": sensitivity * relative,
            "first_order": abs(float(np.sum(gradient * error, dtype=np.float64))),
            "gradient": float(np.sum(np.square(gradient), dtype=np.float64)) * mean_square,
            # A saddle has directions of negative curvature: as in `hawq`, they count as flat.
            "curvature": max(self._traces[key], 0.0) * mean_square,
            **{f"output_{name}": float(change) for name, change in changes.items()},
            "margin_adversarial": self._margin(self._before["adversarial"]) - self._margin(outputs["adversarial"]),
        }

    def _outputs(self, images: Images) -> npt.NDArray[np.float32]:
        return np.asarray(self._canvas.logits(tf.constant(images)))

    def _margin(self, outputs: npt.NDArray[np.float32]) -> float:
        return float(tf.reduce_mean(margins(tf.constant(outputs), tf.constant(self._labels))))


def _gradients(canvas: Canvas, images: Images, labels: Labels) -> dict[WeightKey, npt.NDArray[np.float32]]:
    """Return the gradient of the mean cross-entropy for every kernel."""
    variables = list(canvas.variables.values())
    with tf.GradientTape() as tape:
        tape.watch(variables)
        outputs = canvas.logits(tf.constant(images))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs))
    gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    return {key: np.asarray(gradient) for key, gradient in zip(canvas.variables, gradients, strict=True)}
