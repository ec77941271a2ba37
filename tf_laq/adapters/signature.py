"""What a Keras model takes: the name, shape and dtype of each input, in the structure that it is called with."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tf_laq.adapters.dispatch import adapter_of
from tf_laq.adapters.reaching import consumers_of, first_layers, steps_of
from tf_laq.errors import InputError

# What Keras calls inputs that their author gave no name; it counts, so that two copies of a model have two names.
_BY_KERAS = re.compile(r"(input|keras_tensor|input_layer)(_\d+)?|.*_input(_\d+)?|args_\d+(_\d+)?")
_LIMITS = {"Embedding": "input_dim", "CategoryEncoding": "num_tokens"}
"""Layers that take whole numbers below a limit, and the attribute that has it."""


@dataclasses.dataclass(frozen=True)
class ModelInput:
    """One input of a model.

    Attributes:
        name: The user's name for it; "images", or "input_0" and so on, if there is none.
        shape: Shape of one example, without the batch axis.
        dtype: Its dtype; floats of any width are "float32".
        limit: The integers that it takes are below this number, such as the `input_dim` of an Embedding; None if the
            model does not tell.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    limit: int | None = None


@dataclasses.dataclass(frozen=True)
class Signature:
    """The inputs of a model.

    Attributes:
        inputs: The inputs in their order.
        structure: Their positions in the list or dict that the model is called with.
        batch: The number of examples that the model fixes for a call, or None.
    """

    inputs: tuple[ModelInput, ...]
    structure: Any
    batch: int | None = None

    def packed(self, values: Sequence[Any]) -> Any:
        """Return values, one for each input, in the structure that the model is called with."""
        return tf.nest.pack_sequence_as(self.structure, values)


def signature_of(model: Any) -> Signature:
    """Return what a built model takes.

    Raises:
        InputError: The model is not built, takes strings, or has an input without fixed sizes.
    """
    structure = _structure(model)
    found = list(_leaves(structure))
    _check_no_strings(model, [leaf for _, leaf in found])
    dtypes = [tf.as_dtype(leaf.dtype) for _, leaf in found]
    inputs = [
        ModelInput(name, _shape(model, leaf), "float32" if dtype.is_floating else dtype.name, _limit(model, leaf))
        for name, (_, leaf), dtype in zip(_names([name for name, _ in found]), found, dtypes, strict=True)
    ]
    positions = tf.nest.pack_sequence_as(structure, range(len(inputs)))
    batch = next((leaf.shape[0] for _, leaf in found if leaf.shape[0] is not None), None)
    return Signature(tuple(inputs), positions, batch)


def _structure(model: Any) -> Any:
    """Return the inputs of a model, objects with a shape and a dtype, in the structure that it is called with."""
    adapter = adapter_of(model)
    if adapter.is_functional(model):
        return model.input
    if isinstance(model, adapter.keras.Sequential) and model.inputs:
        return model.inputs[0]
    spec = model.save_spec() if hasattr(model, "save_spec") else None
    if spec is not None and len(spec[0]) == 1 and not spec[1]:
        return tf.nest.map_structure(lambda each: tf.TensorSpec((None, *each.shape[1:]), each.dtype), spec[0][0])
    shapes = adapter.known_input_shape(model)
    if not _is_shape(shapes):
        if isinstance(shapes, (dict, list, tuple)) and shapes:
            return _specs(shapes, tf.float32)
        shapes = adapter.input_shape(model)  # Says what is missing.
    first = first_layers(model, lambda layer: bool(adapter.kinds.kernels_of(layer)))
    takes_tokens = any(id(layer) in first for layer in _layers_with_limits(model))
    return _specs(shapes, tf.int32 if takes_tokens else tf.float32)


def _is_shape(shapes: Any) -> bool:
    return isinstance(shapes, tf.TensorShape) or (
        isinstance(shapes, (list, tuple)) and all(side is None or isinstance(side, int) for side in shapes)
    )


def _specs(shapes: Any, dtype: tf.DType) -> Any:
    # The batch is that of the first call, which fixes nothing.
    if _is_shape(shapes):
        return tf.TensorSpec((None, *shapes[1:]), dtype)
    if isinstance(shapes, dict):
        return {name: _specs(shape, dtype) for name, shape in shapes.items()}
    return [_specs(shape, dtype) for shape in shapes]


def _leaves(structure: Any, name: str | None = None) -> Iterator[tuple[str | None, Any]]:
    """Give the inputs, each with its key in a dict or its own name, in the order of `tf.nest`."""
    if isinstance(structure, dict):
        for key in sorted(structure):
            yield from _leaves(structure[key], str(key))
    elif isinstance(structure, (list, tuple)):
        for each in structure:
            yield from _leaves(each)
    else:
        yield name or getattr(structure, "name", None), structure


def _names(given: Sequence[str | None]) -> list[str]:
    """Return the names, in letters that TensorFlow takes and each once."""
    found: list[str] = []
    for position, name in enumerate(given):
        default = "images" if len(given) == 1 else f"input_{position}"
        plain = re.sub(r"\W", "_", name or "")
        usable = plain[:1].isalpha() and not _BY_KERAS.fullmatch(plain) and plain not in found
        found.append(plain if usable else default)
    return found


def _shape(model: Any, leaf: Any) -> tuple[int, ...]:
    sides = tuple(side for side in leaf.shape[1:] if side is not None)
    if len(sides) != len(leaf.shape) - 1:
        raise InputError(
            f"input of model {model.name!r}",
            expected="fixed sizes, since the file takes images of one size",
            received=f"shape {tuple(leaf.shape)}",
            remedy="Build the model with an Input of the size it will be used at.",
        )
    return sides


def _check_no_strings(model: Any, leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        if tf.as_dtype(leaf.dtype) == tf.string:
            readers = [f"{layer.name!r} ({type(layer).__name__})" for layer in _consumers(model, leaf)]
            raise InputError(
                f"input {leaf.name!r} of model {model.name!r}",
                expected="numbers, which are all that the file takes",
                received="strings" + (f", read by {', '.join(readers)}" if readers else ""),
                remedy="Export the part of the model after the lookup or vectorisation, and run that part before it.",
            )


def _limit(model: Any, leaf: Any) -> int | None:
    """Return the least limit of the layers that an input reaches through layers without weights, or None."""
    if hasattr(leaf, "_keras_history"):
        reached = list(_reached(model, leaf, tf.as_dtype(leaf.dtype).is_integer))
    else:
        reached = _layers_with_limits(model) if tf.as_dtype(leaf.dtype).is_integer else []
    return min((limit for layer in reached if (limit := _own_limit(layer))), default=None)


def _own_limit(layer: Any) -> int | None:
    kinds = [kind.__name__ for kind in type(layer).__mro__]
    return next((getattr(layer, name) for kind, name in _LIMITS.items() if kind in kinds), None)


def _layers_with_limits(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers() if _own_limit(layer)]


def _reached(model: Any, tensor: Any, is_integer: bool) -> Iterator[Any]:
    """Give the layers with limits that an input reaches through layers without weights, in composite layers too."""
    for layer in _consumers(model, tensor):
        inside = getattr(layer, "inputs", None) if hasattr(layer, "layers") else None
        if inside:
            for inner in inside:
                yield from _reached(layer, inner, is_integer)
        elif _own_limit(layer):
            yield layer
        elif is_integer and getattr(layer, "weights", None):
            yield from _layers_with_limits(layer) if hasattr(layer, "_flatten_layers") else ()
        # Arithmetic may follow on a float; on integers, layers without weights mostly move them.
        elif is_integer:
            for output in tf.nest.flatten(layer.output):
                yield from _reached(model, output, is_integer)


def _consumers(model: Any, tensor: Any) -> list[Any]:
    """Return the layers of a functional or Sequential model that read a tensor."""
    if not hasattr(tensor, "_keras_history"):
        return []
    own = {id(step) for step in steps_of(model)}
    return [step for step in consumers_of(tensor._keras_history[0]) if id(step) in own]
