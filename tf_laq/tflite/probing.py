"""What a file is compared with its model on: inputs that mean something to the model, and the model's outputs there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_laq.adapters.inference import in_float32, initial_state
from tf_laq.adapters.signature import ModelInput, Signature
from tf_laq.errors import InputError
from tf_laq.tflite.report import ExportError
from tf_laq.tflite.running import as_dtype, in_order

RANDOM_EXAMPLES = 32
_LARGEST = {"uint8": 255}
_LARGEST_INTEGER = 9
_PADDED = 4
"""One example in this many ends with a 0, which is what sequences are padded with."""

Values = list[npt.NDArray[Any]]
"""One array for each input of a model."""


def comparison_inputs(signature: Signature, images: Any) -> Values:
    """Return the examples to compare on: those given, in the order of the inputs, or random ones.

    Random floats are in [0, 1). Random integers are token ids where the model looks them up, mostly not 0, since that
    may mean padding; uint8 are bytes of images, and other integers are from 0 to 9.

    Raises:
        InputError: The examples have other shapes or dtypes than the inputs, or are too few.
    """
    if images is None:
        random = np.random.default_rng(0)
        return [_random(random, each) for each in signature.inputs]
    given = in_order(images, [each.name for each in signature.inputs], "images")
    values = [as_dtype(value, each.dtype, "images") for value, each in zip(given, signature.inputs, strict=True)]
    for value, each in zip(values, signature.inputs, strict=True):
        if value.shape[1:] != each.shape or not len(value) == len(values[0]) >= RANDOM_EXAMPLES // 2:
            name = "" if len(values) == 1 else f" for input {each.name!r}, as many as for the others"
            raise InputError(
                "images",
                expected=f"at least {RANDOM_EXAMPLES // 2} of shape {each.shape}{name}",
                received=f"shape {value.shape}",
            )
    return values


def _random(random: np.random.Generator, of: ModelInput) -> npt.NDArray[Any]:
    shape = (RANDOM_EXAMPLES, *of.shape)
    if of.limit is not None:
        tokens = random.integers(min(1, of.limit - 1), of.limit, shape)
        if of.shape and of.shape[-1] > 1:
            tokens[::_PADDED, ..., -1] = 0
        return tokens.astype(of.dtype)
    if of.dtype == "float32":
        return random.random(shape, dtype=np.float32)
    largest = 1 if of.dtype == "bool" else _LARGEST.get(of.dtype, _LARGEST_INTEGER)
    return random.integers(0, largest + 1, shape).astype(of.dtype)


def outputs_in_float32(model: Any, signature: Signature, values: Values) -> npt.NDArray[np.float32]:
    """Return the model's outputs, computed in float32 whatever its dtype policy, every example from the initial state.

    Raises:
        ExportError: Some of them are NaN or infinite.
        InputError: The model cannot take the examples, or has several outputs.
    """
    with in_float32(model):
        outputs = outputs_of(model, signature, values)
    wrong = int(np.sum(~np.isfinite(outputs)))
    if wrong:
        raise ExportError(
            f"model {model.name!r}",
            expected=f"outputs that are numbers on {_described(signature, values)}",
            received=f"{int(np.isnan(outputs).sum())} NaN and {int(np.isinf(outputs).sum())} infinite outputs "
            f"of {outputs.size}",
            remedy="Check the weights for NaN, or give images= that the model is meant for.",
        )
    return outputs


def outputs_of(model: Any, signature: Signature, values: Values) -> npt.NDArray[np.float32]:
    """Return the model's outputs as they are, every example from the initial state.

    Raises:
        InputError: The model cannot take the examples, or has several outputs.
    """
    count = len(values[0])
    # A model that fixes its batch gets the first examples again where the last batch is not full.
    batch = signature.batch or count
    found = []
    for start in range(0, count, batch):
        rows = np.arange(start, start + batch) % count
        with initial_state(model):
            output = one_output(model, _call(model, signature, [value[rows] for value in values]))
        found.append(tf.cast(output, tf.float32).numpy())
    return np.concatenate(found)[:count]


def _call(model: Any, signature: Signature, values: Values) -> Any:
    try:
        return model(signature.packed([tf.constant(value) for value in values]), training=False)
    except Exception as error:  # Layers raise whatever their authors chose.
        raise InputError(
            f"model {model.name!r}",
            expected=f"a model that runs on {_described(signature, values)}",
            received=next((line for line in str(error).splitlines() if line.strip()), type(error).__name__),
            remedy="Give images= that the model is meant for.",
        ) from error


def one_output(model: Any, outputs: Any) -> Any:
    """Return the only output of a model.

    Raises:
        InputError: There are several.
    """
    flat = tf.nest.flatten(outputs)
    if len(flat) != 1:
        names = list(outputs) if isinstance(outputs, dict) else getattr(model, "output_names", None) or []
        raise InputError(
            f"model {model.name!r}",
            expected="one output, the logits",
            received=f"{len(flat)} outputs" + (f": {', '.join(map(repr, names))}" if names else ""),
            remedy="Export a model of the inputs and the one output that the file is for.",
        )
    return flat[0]


def _described(signature: Signature, values: Values) -> str:
    ranges = [
        f"{each.name!r} ({each.dtype}, {_number(value.min())} to {_number(value.max())})"
        for each, value in zip(signature.inputs, values, strict=True)
    ]
    return f"{len(values[0])} examples of {', '.join(ranges)}"


def _number(value: Any) -> str:
    return f"{float(value):.3g}"
