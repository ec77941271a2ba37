"""A copy of a network in which one kernel at a time is quantized."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tf_laq.adapters import adapter_of, keras_module, keras_version
from tf_laq.adapters.kernels import LayerKinds
from tf_laq.attacks.base import Logits
from tf_laq.plan import FLOAT_BITS, PlanEntry, QuantizationPlan
from tf_laq.policies.data_driven.data import kernels
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import WeightTensor


class Canvas:
    """A float copy of a network; it is one model whatever is quantized, so attacks on it are traced once.

    Args:
        model: A built Keras model, which stays as it is.

    Attributes:
        model: The copy.
        logits: The same as a function from images to logits.
        tensors: Its weight tensors that can be quantized, in the model's order.
    """

    def __init__(self, model: Any) -> None:
        adapter = adapter_of(model)
        self.tensors, left_alone = adapter.find_weights(model)
        entries = [
            PlanEntry(t.layer, t.weight, tuple(t.values.shape), None, FLOAT_BITS, norm=0.0) for t in self.tensors
        ]
        self.model = adapter.bake(model, QuantizationPlan("float32", "spectral", tuple(entries), tuple(left_alone)))
        self.logits: Logits = adapter.logits(self.model)
        self._variables = kernels(self.model)
        self._layers = dict(LayerKinds(keras_module(keras_version(model))).walk(self.model))

    def layer(self, tensor: WeightTensor) -> Any:
        """Return the layer of a weight tensor."""
        return self._layers[tensor.layer]

    @contextlib.contextmanager
    def quantized(self, tensor: WeightTensor, quantizer: Quantizer) -> Iterator[None]:
        """Quantize one kernel, and put its float values back at the end."""
        variable = self._variables[tensor.layer, tensor.weight]
        variable.assign(quantizer.quantize(tensor.values))
        try:
            yield
        finally:
            variable.assign(tensor.values)
