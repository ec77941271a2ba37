"""One way to copy a Keras model of either version, that keeps everything, and the proof that it did.

Keras saves the model and loads it again, so that adapted statistics, lookup tables, ties, the states of random
generators and of recurrent layers come along. The classes and functions of the model are taken from the model itself:
nothing has to be registered, and what runs in this program already is trusted.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_laq._internal import files, hdf5
from tf_laq.errors import InputError

# Sides that a model leaves open: enough for its convolutions and poolings, and short enough to be quick.
_BATCH, _SIDE = 2, 32
# Another order of the same operations rounds by less.
_TOLERANCE = 1e-5


def copied(keras: Any, model: Any, make_anew: Callable[[Any], Any]) -> Any:
    """Return a copy of a built model: equal in its variables, names and outputs, with nothing shared.

    Args:
        keras: The module `tf_keras` or `keras`.
        model: A built model of it; it stays as it is.
        make_anew: Gives a model of the same configuration, its values its own: for what Keras' files do not hold.

    Raises:
        InputError: The model can neither be saved and loaded nor be copied deeply, or what comes out is not the same.
    """
    failures: list[str] = []
    errors: list[Exception] = []
    ways: dict[str, Callable[[], Any]] = {
        "saved and loaded again": lambda: _saved_and_loaded(keras, model),
        "as a deep copy": lambda: copy.deepcopy(model),
        "made anew": lambda: make_anew(model),
    }
    for way, copy_by in ways.items():
        try:
            with warnings.catch_warnings():
                # An optimizer's state that no one will use, a format that is called old.
                warnings.simplefilter("ignore")
                with keras.utils.custom_object_scope(own_objects(model)):
                    twin = copy_by()
            if len(_variables(twin)) < len(_variables(model)):  # Some layers build no sooner than in a call.
                _outputs_of(twin, probe(model))
            # The states of random generators and of recurrent layers are not in every file.
            for variable, given in zip(_variables(twin), _variables(model), strict=True):
                if not _equal(variable, given):
                    variable.assign(given.numpy())
        except Exception as error:  # Keras raises whatever the user's classes raise.
            errors.append(error)
            failures.append(f"{way}: {' '.join(str(error).split())[:300]}")
            continue
        _give_names(model, twin)
        _give_settings(keras, model, twin)
        difference = _difference(keras, model, twin)
        if not difference:
            return twin
        failures.append(f"{way}: {difference}")
    for each in errors:
        files.check_temporary(each)
    raise InputError(
        "model",
        expected="a model that can be copied",
        received=f"{type(model).__name__} {model.name!r}, whose copy fails ({'; '.join(failures)})",
        remedy="Give its classes get_config and from_config, so that Keras can save and load it.",
    )


def probe(model: Any) -> Any:
    """Return inputs that a model can be called on, or None where its input is not known.

    Floats are random in [0, 1), whole numbers 1, texts empty.
    """
    # Keras 3 and Keras 2 call it by other names; a subclassed model knows its shape at most.
    inputs = getattr(model, "_inputs_struct", None)
    inputs = getattr(model, "_nested_inputs", None) if inputs is None else inputs
    inputs = getattr(model, "inputs", None) if inputs is None else inputs
    if inputs is not None and len(tf.nest.flatten(inputs)):
        inputs = inputs[0] if isinstance(inputs, (list, tuple)) and len(inputs) == 1 else inputs
        return tf.nest.map_structure(lambda given: _values(given.shape, given.dtype), inputs)
    shape = getattr(model, "_build_input_shape", None)
    if shape is None and hasattr(model, "get_build_config"):
        shape = (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list, tf.TensorShape)) or not all(
        isinstance(side, (int, type(None))) for side in shape
    ):
        return None
    return _values(shape, "float32")


@contextlib.contextmanager
def values_kept(model: Any) -> Iterator[None]:
    """Bring back what calls of a model change by themselves: states, statistics and whatever is not trained."""
    # Keras 2 says of states that they are trained.
    changing = [variable for variable in model.variables if not getattr(variable, "trainable", True)]
    before = [(variable, variable.numpy()) for variable in _readable((*changing, *_states(model)))]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _outputs_of(model: Any, inputs: Any) -> list[Any] | None:
    """Return a model's outputs in inference mode as arrays, its variables being left as they were; None if it fails."""
    with values_kept(model):
        try:
            return [np.asarray(output) for output in tf.nest.flatten(model(inputs, training=False))]
        except Exception:  # The inputs may not be of the kind that the model takes.
            return None


def _saved_and_loaded(keras: Any, model: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        if keras.__name__ == "keras":  # A folder takes less memory than an archive; Keras 2 has only these.
            path = Path(folder) / "model"
            hdf5.check_room(folder, model.variables)
            model.save(path, zipped=False)
        else:
            path = Path(folder) / "model.keras"
            model.save(path)
        return keras.models.load_model(path, compile=False, safe_mode=False)


def _give_names(model: Any, twin: Any) -> None:
    """Give a copy and all layers in it the names of the original: Keras may have counted on.

    A plan names layers, and so a plan for the model is one for the copy.
    """
    renamed = {}
    parts = list(zip(model._flatten_layers(), twin._flatten_layers(), strict=False))
    for part, its_twin in parts:
        renamed[its_twin.name] = part.name
        setattr(its_twin, "_name" if hasattr(its_twin, "_name") else "name", part.name)
    for part, its_twin in parts:
        if hasattr(its_twin, "_network_nodes"):  # Keras 2 knows the nodes of a graph by the names of their layers.
            nodes = (node.rpartition("_ib-") for node in its_twin._network_nodes)
            its_twin._network_nodes = {f"{renamed.get(name, name)}_ib-{number}" for name, _, number in nodes}
            its_twin.input_names, its_twin.output_names = list(part.input_names), list(part.output_names)


def _give_settings(keras: Any, model: Any, twin: Any) -> None:
    """Give the layers of a copy the numbers and texts that the configuration of the original does not tell."""
    of_keras = vars(keras.Sequential())
    for part, its_twin in zip(model._flatten_layers(), twin._flatten_layers(), strict=False):
        for name, value in vars(part).items():
            if name.startswith("_") or name in of_keras or not _is_plain(value):
                continue
            if not _is_plain(getattr(its_twin, name, None)) or not np.array_equal(value, getattr(its_twin, name)):
                setattr(its_twin, name, _copy_of_plain(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str, np.ndarray, np.generic))


def _copy_of_plain(value: Any) -> Any:
    # Keras keeps account of what lists hold, and a deep copy would take that along.
    if isinstance(value, (list, tuple)):
        inner = [_copy_of_plain(each) for each in value]
        return tuple(inner) if isinstance(value, tuple) else inner
    return copy.copy(value)


def own_objects(model: Any) -> dict[str, Any]:
    """Return the classes and functions of a model that are not those of Keras, by name."""
    found: dict[str, Any] = {}
    for thing in _things(model):
        made = thing if inspect.isclass(thing) or inspect.isfunction(thing) else type(thing)
        if made.__module__.partition(".")[0] not in ("keras", "tf_keras", "tensorflow", "numpy", "builtins"):
            found[made.__name__] = made
    return found


def _things(model: Any) -> Iterator[Any]:
    """Give the layers of a model, and what they have in their attributes."""
    for part in model._flatten_layers():
        yield part
        for value in vars(part).values():
            yield from value if isinstance(value, (list, tuple)) else [value]


def _variables(model: Any) -> list[Any]:
    """Return the variables of a model, those of random generators and the states of recurrent layers included."""
    return _readable((*model.variables, *_states(model)))


def _states(model: Any) -> list[Any]:
    recurrent = [part for part in model._flatten_layers() if getattr(part, "stateful", False)]
    return [state for part in recurrent for state in tf.nest.flatten(getattr(part, "states", None) or ())]


def _readable(variables: Iterable[Any]) -> list[Any]:
    """Return each variable once; tables are none."""
    found = {id(variable): variable for variable in variables}
    return [variable for variable in found.values() if hasattr(variable, "numpy") and hasattr(variable, "assign")]


def _values(shape: Any, dtype: Any) -> Any:
    kind = tf.as_dtype(dtype)
    sides = tuple(shape)
    sizes = tuple((_SIDE if place else _BATCH) if side is None else int(side) for place, side in enumerate(sides))
    if kind == tf.string:
        return tf.constant("", shape=sizes)
    if kind.is_floating:
        return tf.cast(np.random.default_rng(0).random(sizes), kind)
    return tf.ones(sizes, kind)


def _difference(keras: Any, model: Any, twin: Any) -> str:
    """Return the first difference between a model and its copy in words; "" if there is none."""
    if type(twin) is not type(model):
        return f"a {type(twin).__name__} in the place of a {type(model).__name__}"
    parts, its_parts = list(model._flatten_layers()), list(twin._flatten_layers())
    if len(parts) != len(its_parts):
        return f"{len(its_parts)} layers in the place of {len(parts)}"
    for part, its_twin in zip(parts, its_parts, strict=True):
        ours, theirs = _variables(part), _variables(its_twin)
        if [tuple(v.shape) for v in ours] != [tuple(v.shape) for v in theirs]:
            return f"layer {part.name!r} has other variables"
    ours, theirs = _variables(model), _variables(twin)
    if len(ours) != len(theirs) or {id(variable) for variable in ours} & {id(variable) for variable in theirs}:
        return f"{len(theirs)} variables in the place of {len(ours)}, all of its own"
    for variable, its_twin in zip(ours, theirs, strict=True):
        if not _equal(variable, its_twin):
            return f"the variable {variable.name} has other values"
    inputs = probe(model)
    expected = None if inputs is None else _outputs_of(model, inputs)
    found = None if expected is None else _outputs_of(twin, inputs)
    if expected is None:
        return ""
    if found is None or len(found) != len(expected) or not all(map(_same, expected, found)):
        return f"other outputs{_first_layer(keras, model, twin, inputs)}"
    return ""


def _equal(variable: Any, other: Any) -> bool:
    ours, theirs = tf.convert_to_tensor(variable), tf.convert_to_tensor(other)
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    if ours.dtype.is_floating:  # As bits: not a number is equal to itself.
        bits = {1: tf.int8, 2: tf.int16, 4: tf.int32, 8: tf.int64}[ours.dtype.size]
        ours, theirs = tf.bitcast(ours, bits), tf.bitcast(theirs, bits)
    return bool(tf.reduce_all(tf.equal(ours, theirs)))


def _same(expected: Any, found: Any) -> bool:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if not np.issubdtype(expected.dtype, np.floating):
        return np.array_equal(expected, found)
    limit = _TOLERANCE * float(np.nanmax(np.abs(expected), initial=0.0))
    return bool(np.allclose(expected, found, rtol=0.0, atol=limit, equal_nan=True))


def _first_layer(keras: Any, model: Any, twin: Any, inputs: Any) -> str:
    """Return in words where two graphs of the same layers begin to differ; "" where there is no graph."""
    for layer, its_twin in zip(model.layers, twin.layers, strict=False):
        try:
            heads = [keras.Model(of.inputs, part.output) for of, part in ((model, layer), (twin, its_twin))]
        except (AttributeError, ValueError, TypeError):
            return ""
        expected, found = (_outputs_of(head, inputs) for head in heads)
        if expected is None or found is None or not all(map(_same, expected, found)):
            return f", from layer {layer.name!r} on"
    return ""
