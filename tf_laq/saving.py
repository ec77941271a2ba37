"""Keras models as files: saved whole or not at all, and loaded with quantized layers known."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tf_laq._internal import files, hdf5
from tf_laq._internal.typed import typed
from tf_laq._internal.unreadable import EXPECTED, Remedies, check_content, explained, summary
from tf_laq.adapters.carrying import carry, plan_of
from tf_laq.adapters.dispatch import keras_module, keras_version, load_adapter
from tf_laq.adapters.screening import screen
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan

# A file among those of Keras in the archive or folder, and an attribute beside those of Keras in an HDF5 file.
_PLAN = "tf_laq_plan.json"
# The folder that TensorFlow keeps for files that are not its own.
_EXTRA = "assets.extra"
_HDF5 = (".h5", ".hdf5")

_IN_PYTHON = Remedies(
    unknown="Pass custom_objects={{'{name}': {name}}} if you know it, or register it with Keras and import it before.",
    unsafe="To load it may run code that came with it: pass safe_mode=False if you trust the file.",
)


@typed
def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Save a Keras model, with the plan that it was quantized by, whole or not at all.

    Keras cannot load every model that it saves, above all from `.h5`. A quantized model loads from every format that
    its float model loads from; whether it does is not tried here, as that takes longer than saving.

    Args:
        model: The model.
        path: The file, which ends in `.keras` or `.h5`; of a model of Keras 2 also a SavedModel folder, which is a
            name without an ending.

    Raises:
        InputError: The path ends in something else or cannot be written, or Keras cannot save the model in this format.
    """
    check_path(path, keras_version(model))
    plan, ending = plan_of(model), Path(path).suffix
    with files.replacing(path) if ending else files.replacing_folder(path, "saved_model.pb") as temporary:
        _save(model, temporary)
        if plan is not None:
            _write_plan(plan.to_json(), temporary)
        if ending in _HDF5:
            hdf5.sign(temporary)


def check_path(path: str | os.PathLike[str], version: int) -> None:
    """Raise an `InputError` if a path has not the ending of a format that this version of Keras saves.

    Raises:
        InputError: The same.
    """
    ending = Path(path).suffix
    if ending not in (".keras", *_HDF5) and (ending or version != 2):
        expected = "a file name that ends in .keras or .h5"
        expected += ", or a folder without an ending" if version == 2 else ""
        raise InputError("path", expected=expected, received=repr(str(path)))


@typed
def load_model(
    path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None, safe_mode: bool = True
) -> Any:
    """Load a model, quantized or not, with the version of Keras that saved it.

    The model is not compiled. Before Keras reads a file, its configuration is read as data, and refused if it names a
    class or function that is neither Keras' own, registered with Keras nor one of `custom_objects`.

    Args:
        path: A `.keras` or `.h5` file, or a SavedModel folder of Keras 2.
        custom_objects: Name -> class or function, for those that are not registered with Keras.
        safe_mode: Refuse everything that would run code from the file: unknown functions, Lambda layers with bytecode,
            SavedModel folders, which are programs of TensorFlow. With False, loading may do whatever the file says.

    Raises:
        InputError: There is no such file, it would run code, or Keras cannot load it; the message has the reason and
            what to do.
    """
    return read_model(path, custom_objects, safe_mode, remedies=_IN_PYTHON)


def read_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
    *,
    remedies: Remedies,
) -> Any:
    """Do what `load_model` does, with remedies in the words of the caller."""
    place = Path(path)
    if not place.exists():
        raise InputError(str(path), expected="a saved Keras model", received="no such file")
    check_content(place)
    if safe_mode and place.is_dir():
        received = "a SavedModel folder, which is a program for TensorFlow to run"
        raise InputError(str(path), expected="a .keras or .h5 file", received=received, remedy=remedies.unsafe)
    saved_by = _saved_by(place)
    version = 3 if saved_by.startswith("3") else 2
    keras = keras_module(version)
    # This registers the wrappers and quantizers; in nested models .h5 files have the bare name of a class.
    known = {cls.__name__: cls for cls in load_adapter(version).wrappers} | dict(custom_objects or {})
    try:
        with warnings.catch_warnings(), _safe_mode(keras, safe_mode), _for_keras(place, version) as given:
            # An optimizer's state that no one will use; TensorFlow warns that it is not restored.
            warnings.simplefilter("ignore")
            if safe_mode:
                screen(place, keras, known, remedies)
            model = keras.models.load_model(given, custom_objects=known, compile=False, safe_mode=safe_mode)
    except InputError:
        raise
    except Exception as error:  # Each of the formats fails in ways of its own.
        names = {*known, *keras.saving.get_custom_objects()}
        raise explained(place, error, saved_by, keras.__version__, names, remedies) from error
    if not isinstance(model, keras.Model):
        raise InputError(
            str(path),
            expected=EXPECTED,
            received=f"a {type(model).__name__} without layers",
            remedy="It was exported to be run only: save the model with laq.save_model or model.save.",
        )
    return carry(model, _saved_plan(place))


def _save(model: Any, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            # The user chose the format.
            warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
            if path.suffix in _HDF5:
                hdf5.check_room(path.parent, model.variables)
            model.save(path)
    except OSError:  # The disk, not the model.
        raise
    except Exception as error:  # Each of the formats fails in ways of its own.
        if files.is_out_of_space(error):
            raise
        raise InputError(
            "model",
            expected=f"one that Keras can save as {path.suffix or 'a SavedModel folder'}",
            received=f"{type(model).__name__} {model.name!r} ({summary(error)})",
            remedy="" if path.suffix == ".keras" else "Save it as .keras.",
        ) from error


def _safe_mode(keras: Any, safe_mode: bool) -> contextlib.AbstractContextManager[object]:
    """Return a scope for the formats in which Keras 2 does not look at its argument `safe_mode`."""
    saving = importlib.import_module(f"{keras.__name__}.src.saving.serialization_lib")
    chosen_by_user = saving.in_safe_mode() is not None
    scope: contextlib.AbstractContextManager[object] = saving.SafeModeScope(safe_mode)
    return contextlib.nullcontext() if chosen_by_user else scope


@contextlib.contextmanager
def _for_keras(path: Path, version: int) -> Iterator[Path]:
    """Give a file, or of a `.keras` file of Keras 2 with a plan a copy without it.

    For a file that is not its own, Keras 2 unpacks the whole archive while it reads the weights from it, and the
    `zipfile` of some releases of Python, such as 3.12.1 and 3.13.0, then goes on from the wrong place.
    """
    if version == 3 or not zipfile.is_zipfile(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="laq-model-") as folder, zipfile.ZipFile(path) as archive:
        if _PLAN not in archive.namelist():
            yield path
            return
        copy = Path(folder, path.name)
        with zipfile.ZipFile(copy, "w") as bare:
            for name in archive.namelist():
                if name != _PLAN:
                    with archive.open(name) as source, bare.open(name, "w", force_zip64=True) as target:
                        shutil.copyfileobj(source, target)
        yield copy


def _write_plan(plan: str, path: Path) -> None:
    """Put a plan into what Keras saved."""
    if path.is_dir():
        (path / _EXTRA).mkdir(exist_ok=True)
        (path / _EXTRA / _PLAN).write_text(plan, encoding="utf-8")
    elif path.suffix in _HDF5:
        import h5py

        with h5py.File(path, "a") as file:
            file.attrs[_PLAN] = plan
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(_PLAN, plan)


def _saved_plan(path: Path) -> QuantizationPlan | None:
    """Return the plan that `save_model` put into a file or folder, or None."""
    plan: str | None = None
    if path.is_dir():
        with contextlib.suppress(FileNotFoundError):
            plan = (path / _EXTRA / _PLAN).read_text(encoding="utf-8")
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, contextlib.suppress(KeyError):
            plan = archive.read(_PLAN).decode()
    else:
        import h5py

        with h5py.File(path) as file:
            plan = file.attrs.get(_PLAN)
    return None if plan is None else QuantizationPlan.from_json(plan, source=f"{path}, {_PLAN}")


def _saved_by(path: Path) -> str:
    """Return the version of Keras that saved a model, or an empty text if the file does not say."""
    if path.is_dir():
        return ""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, contextlib.suppress(KeyError, ValueError):
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    else:
        import h5py

        with h5py.File(path) as file:
            return str(file.attrs.get("keras_version", ""))
    return ""
