"""One model whose weights are exchanged, so that TensorFlow traces it and every attack on it once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from tf_laq.adapters import adapter_of
from tf_laq.attacks import Logits
from tf_laq.plan import FLOAT_BITS, PlanEntry, QuantizationPlan
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import WeightTensor

WeightKey = tuple[str, str]
"""Path of a layer, and of a weight in it."""


class Canvas:
    """A float copy of a model. Tracing an attack on a deep network takes seconds, and here it is done once.

    Args:
        model: A built Keras model, which stays as it is.

    Attributes:
        model: The copy.
        logits: The same as a function from images to logits.
        tensors: Its weight tensors that can be quantized, with the float values, in the model's order.
        variables: Their TensorFlow variables.
    """

    def __init__(self, model: Any) -> None:
        adapter = adapter_of(model)
        self.tensors, left_alone = adapter.find_weights(model)
        entries = [
            PlanEntry(t.layer, t.weight, tuple(t.values.shape), None, FLOAT_BITS, norm=0.0) for t in self.tensors
        ]
        self.model = adapter.bake(model, QuantizationPlan("float32", "spectral", tuple(entries), tuple(left_alone)))
        self.logits: Logits = adapter.logits(self.model)
        # A variable of Keras 3 holds that of TensorFlow.
        self.variables: dict[WeightKey, tf.Variable] = {
            key: variable if isinstance(variable, tf.Variable) else variable.value
            for key, variable in adapter.kinds.variables(self.model).items()
        }
        self._layers = dict(adapter.kinds.walk(self.model))

    def layer(self, tensor: WeightTensor) -> Any:
        """Return the layer of a weight tensor."""
        return self._layers[tensor.layer]

    def fill(self, weights: Sequence[npt.NDArray[Any]]) -> None:
        """Put other weights into the model, all of them."""
        self.model.set_weights(weights)

    @contextlib.contextmanager
    def quantized(self, tensor: WeightTensor, quantizer: Quantizer) -> Iterator[None]:
        """Quantize one kernel, and put its float values back at the end."""
        variable = self.variables[tensor.layer, tensor.weight]
        variable.assign(quantizer.quantize(tensor.values))
        try:
            yield
        finally:
            variable.assign(tensor.values)
