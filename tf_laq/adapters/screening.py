"""What a saved model would have Keras run, looked at as data before Keras is given the file.

Keras 2 imports any module and calls any function that a configuration names, and both versions run the code of a Lambda
layer. A model needs neither: it is made of Keras' own layers and functions, and of those that its user knows.
"""

from __future__ import annotations

import builtins
import functools
import io
import json
import sys
import types
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tf_laq._internal import limits
from tf_laq._internal.unreadable import EXPECTED, Remedies
from tf_laq.errors import InputError

_KERAS = ("keras", "tf_keras")
# Where Keras keeps functions on tensors, and everything that models are made of. Its other folders read files and
# download them, load models and run those of other libraries.
_FUNCTIONS = ("activations", "losses", "metrics", "ops")
_CLASSES = (
    *_FUNCTIONS,
    *("constraints", "dtype_policies", "engine", "initializers", "layers", "mixed_precision"),
    *("models", "optimizers", "quantizers", "random", "regularizers"),
)
# These call whatever attribute or operation of TensorFlow a file names, which can write files.
_CALLERS = {"ClassMethod", "InstanceMethod", "InstanceProperty", "ModuleWrapper", "TensorFlowOpLayer"}
# The vocabulary of these may be the path of a file.
_READERS = {"IndexLookup", "TextVectorization"}
# These make objects of configurations, and so do not take tensors.
_MAKERS = {"deserialize", "get", "serialize"}
_DATA = {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__", "__tuple__"}
# The modules in which TensorFlow defines functions on tensors that touch nothing else.
_OPERATIONS = {
    f"tensorflow.python.{module}"
    for module in (
        "framework.tensor_conversion",
        *(f"ops.gen_{kind}_ops" for kind in ("array", "bitwise", "image", "math", "nn", "spectral")),
        *(f"ops.{kind}_ops" for kind in ("array", "bitwise", "clip", "linalg", "math", "nn", "random", "sort")),
        *("ops.array_ops_stack", "ops.image_ops_impl", "ops.linalg.linalg_impl", "ops.nn_impl"),
        *("ops.special_math_ops", "ops.tensor_getitem_override"),
    )
}


class _Entry(NamedTuple):
    """Something in a configuration that Keras would make or call: an object of a class, or a function."""

    layer: str
    content: dict[str, Any]

    @property
    def is_function(self) -> bool:
        return bool(self.content["class_name"] == "function")

    @property
    def name(self) -> str:
        return str(self.content["config" if self.is_function else "class_name"])

    @property
    def module(self) -> str:
        return str(self.content.get("module") or "")

    @property
    def config(self) -> dict[str, Any]:
        config = self.content["config"]
        return config if isinstance(config, dict) else {}

    @property
    def has_one_name(self) -> bool:
        """Return whether the name under which it is registered, where Keras 2 looks too, is the same."""
        registered = self.content.get("registered_name")
        return registered is None or str(registered).rpartition(">")[2] == self.name

    def __str__(self) -> str:
        of = f" of {self.module}" if self.module else ""
        of += "" if self.has_one_name else f", registered as {self.content['registered_name']!r},"
        return f"the {'function' if self.is_function else 'class'} {self.name!r}{of} {self.where}"

    @property
    def where(self) -> str:
        return f"in the layer {self.layer!r}" if self.layer else "in the model"


def screen(path: Path, keras: Any, custom_objects: Mapping[str, Any], remedies: Remedies) -> None:
    """Raise an `InputError` if a file would run code, or read other files, when Keras loads it.

    Args:
        path: A `.keras` or HDF5 file.
        keras: The version of Keras that is to load it.
        custom_objects: Name -> class or function, beside those that are registered with Keras.
        remedies: What to do about a file that is refused.

    Raises:
        InputError: The same, with the layer and the class or function.
    """
    trusted = _Trusted(keras, custom_objects)
    for entry in _entries(_configuration(path)):
        if received := trusted.code_in(entry):
            raise InputError(str(path), expected=EXPECTED, received=received, remedy=remedies.unsafe)
        if trusted.knows(entry):
            continue
        if entry.module.partition(".")[0] in _KERAS or entry.name.startswith("__"):
            received, remedy = f"{entry}, of which Keras {keras.__version__} makes no models", remedies.unsafe
        else:
            received, remedy = f"{entry}, which is unknown", remedies.unknown.format(name=entry.name.split(">")[-1])
        raise InputError(str(path), expected=EXPECTED, received=received, remedy=remedy)


def _configuration(path: Path) -> Any:
    """Return the configuration of the model in a file, after a look at where its weights come from."""
    import h5py

    if not zipfile.is_zipfile(path):
        with h5py.File(path) as file:
            _check_links(path, file)
            return json.loads(file.attrs["model_config"])
    with zipfile.ZipFile(path) as archive:
        configuration = json.loads(archive.read("config.json"))
        if "model.weights.h5" in archive.namelist():
            with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
                _check_links(path, file)
    # Keras leaves out how the outermost model was compiled, which may name functions that only training needs.
    return configuration | {"compile_config": None}


def _check_links(path: Path, file: Any) -> None:
    """Raise an `InputError` if an HDF5 file has its content in other files."""
    import h5py

    groups, seen, size = [file], set(), 0
    while groups:
        group = groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            outside = isinstance(link, h5py.ExternalLink)
            if isinstance(link, h5py.HardLink):
                part = group[name]
                if isinstance(part, h5py.Dataset):
                    outside = bool(part.is_virtual or part.external)
                    size += part.nbytes
                    limits.check(str(path), size)
                elif isinstance(part, h5py.Group) and (place := h5py.h5o.get_info(part.id).addr) not in seen:
                    seen.add(place)
                    groups.append(part)
            if outside:
                received = f"weights that are in another file: {group.name.rstrip('/')}/{name}"
                raise InputError(str(path), expected=EXPECTED, received=received, remedy="Save the model again.")


def _entries(configuration: Any) -> Iterator[_Entry]:
    """Yield everything that a configuration has by a class or function, with the layer that it belongs to."""
    parts = [("", configuration)]
    while parts:
        layer, part = parts.pop()
        if isinstance(part, dict):
            if "class_name" in part and "config" in part:
                entry = _Entry(layer, part)
                layer = str(entry.config.get("name", layer))
                yield _Entry(layer, part)
            parts += [(layer, value) for value in part.values()]
        elif isinstance(part, list):
            parts += [(layer, value) for value in part]


class _Trusted:
    """The classes and functions that Keras itself makes models of, and those that are registered with it."""

    def __init__(self, keras: Any, custom_objects: Mapping[str, Any]) -> None:
        self._keras, self._custom_objects = keras, custom_objects

    def code_in(self, entry: _Entry) -> str | None:
        """Return what of an entry Keras would run or read, even if it knows its class, or None."""
        config = entry.config
        names = {cls.__name__ for cls in getattr(self._class(entry), "__mro__", ())}
        if entry.name == "__lambda__" or ("Lambda" in names and _has_code(config)):
            return f"Python code {entry.where}, which is disallowed by default"
        if names & _CALLERS or ("TFOpLambda" in names and not _is_operation(_exported(config.get("function")))):
            called = config.get("function") or config.get("method_name") or config.get("attr_name") or "an operation"
            return f"a call of TensorFlow's {called} {entry.where}, which is disallowed by default"
        if names & _READERS and isinstance(config.get("vocabulary"), str):
            return f"the path of another file, {config['vocabulary']!r}, {entry.where}"
        return None

    def knows(self, entry: _Entry) -> bool:
        """Return whether an entry is trusted, wherever Keras looks for it."""
        if not entry.is_function:
            return entry.name in _DATA or self._class(entry) is not None
        if not isinstance(entry.content["config"], str):
            return False
        if self._registered(entry.name) is not None:
            return True
        if self._own(entry, _FUNCTIONS, types.FunctionType) is not None:
            return entry.name not in _MAKERS
        return entry.has_one_name and _is_operation(getattr(sys.modules.get(entry.module), entry.name, None))

    def _class(self, entry: _Entry) -> Any:
        registered = self._registered(str(entry.content.get("registered_name", entry.name)))
        if registered is not None:
            return registered
        by_name = self._registered(entry.name)
        if by_name is not None and entry.has_one_name and entry.module in ("", by_name.__module__):
            return by_name
        return self._own(entry, _CLASSES, type)

    def _registered(self, name: str) -> Any:
        return self._keras.saving.get_registered_object(name, self._custom_objects)

    def _own(self, entry: _Entry, folders: tuple[str, ...], kind: type) -> Any:
        """Return what Keras itself has for an entry if it is defined in one of the folders, or None."""
        root, _, rest = entry.module.partition(".")
        if not entry.has_one_name:
            return None
        if root in _KERAS:
            found = getattr(sys.modules.get(f"{self._keras.__name__}.{rest}".rstrip(".")), entry.name, None)
            return found if _is_defined_in(found, self._places(folders), kind) else None
        # From "builtins" Keras 2 goes on to the functions of Python.
        if entry.module not in ("", "builtins") or hasattr(builtins, entry.name):
            return None
        return _defined_in(self._places(folders), kind).get(entry.name)

    def _places(self, folders: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{self._keras.__name__}.src.{folder}" for folder in folders)


@functools.cache
def _defined_in(places: tuple[str, ...], kind: type) -> dict[str, Any]:
    """Return the classes or functions of some places by name."""
    found = {
        name: value
        for module in [module for path, module in sys.modules.items() if path.startswith(places)]
        for name, value in vars(module).items()
        if _is_defined_in(value, places, kind)
    }
    # Old files have a number at the end of some names.
    return {f"{name}{end}": value for end in ("V1", "V2", "") for name, value in found.items()}


def _is_defined_in(value: object, places: tuple[str, ...], kind: type) -> bool:
    return isinstance(value, kind) and value.__module__.startswith(places)


def _has_code(config: dict[str, Any]) -> bool:
    """Return whether a Lambda layer has bytecode in place of the name of a function."""
    kinds = [config.get(f"{part}_type") for part in ("function", "mask", "output_shape")]
    return "lambda" in kinds or isinstance(config.get("function"), list)


def _exported(name: object) -> Any:
    """Return what TensorFlow exports under a name, or None."""
    from tensorflow.python.util import tf_export

    return tf_export.get_symbol_from_name(name) if isinstance(name, str) else None


def _is_operation(function: object) -> bool:
    return isinstance(function, types.FunctionType) and function.__module__ in _OPERATIONS
