"""The plan of a quantized model travels with it: from `apply` and `bake` to training, files, and the export."""

from __future__ import annotations

from typing import Any, TypeVar

from tf_laq._internal.typed import typed
from tf_laq.adapters.dispatch import adapter_of
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan
from tf_laq.policies.base import measured_entry
from tf_laq.sensitivity import TensorSensitivity

_ATTRIBUTE = "_tf_laq_plan"
_FOUND = "as found in the model"

Model = TypeVar("Model")


def carry(model: Model, plan: QuantizationPlan | None) -> Model:
    """Give a model its plan, and return the model."""
    # Around Keras' own __setattr__, which would look for variables in it.
    object.__setattr__(model, _ATTRIBUTE, plan)
    return model


@typed
def plan_of(model: Any) -> QuantizationPlan | None:
    """Return the plan that a model was quantized by, or None for a float model.

    What `apply`, `bake` and `strip` return knows its plan; `save_model` writes it into the file and `load_model` reads
    it. Of a wrapped model that Keras itself saved and loaded, it is made anew from the quantizers in the model; a baked
    one has lost it then.

    Raises:
        InputError: It is no Keras model.

    Example:
        >>> import tf_keras
        >>> import tf_laq as laq
        >>> model = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2, name="dense")])
        >>> plan_of(model) is None
        True
        >>> plan_of(laq.bake(model, laq.uniform(model, "linear", 4))).entries[0].bits
        4
    """
    adapter = adapter_of(model)
    carried: QuantizationPlan | None = getattr(model, _ATTRIBUTE, None)
    if carried is not None or not adapter.is_wrapped(model):
        return carried
    quantizers = adapter.quantized_weights(model)
    tensors, left_alone = adapter.find_weights(adapter.float_twin(model))
    entries = [
        measured_entry(TensorSensitivity(tensor), quantizers.get((tensor.layer, tensor.weight)), _FOUND)
        for tensor in tensors
    ]
    return QuantizationPlan(_FOUND, "spectral", tuple(entries), tuple(left_alone))


def check_float(argument: str, model: Any) -> None:
    """Refuse a model that knows a plan where one in full precision is needed.

    Args:
        argument: How the error names the model.
        model: A Keras model. One that was quantized and knows no plan passes.
    """
    plan = plan_of(model)
    if plan is not None:
        raise InputError(
            argument,
            expected="a model in full precision",
            received=f"one that was quantized, to {plan.average_bits:.2f} bits a weight on average",
            remedy="Give the full-precision model that it was made from.",
        )
