"""Parts of an evaluation in other processes: what is sent there, what is done there, and what comes back."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tf_laq.adapters import is_keras_model
from tf_laq.adapters.copying import own_objects
from tf_laq.attacks.battery import Battery
from tf_laq.errors import InputError
from tf_laq.evaluation.classifier import Classifier
from tf_laq.evaluation.examples import LOOKED_AT, Examples
from tf_laq.evaluation.models import EvaluatedModels, ZeroGradients
from tf_laq.evaluation.outcomes import PartResult
from tf_laq.evaluation.parts import Progress, run_part
from tf_laq.evaluation.store import Worst, different_models
from tf_laq.evaluation.tasks import Task, tasks_of
from tf_laq.saving import load_model, save_model

FinishedPart = tuple[int, tuple[PartResult, Worst]]
"""The number of a part, and what `run_part` returned."""


class _Work(NamedTuple):
    """What all parts of an evaluation have in common.

    Attributes:
        classifiers: Argument of `evaluate` -> name -> the model.
        described: The same with what the sending process saw of each model.
        gradients: What that process found of the evaluated models' gradients.
        first: The first examples, by which models are settled and told apart.
        battery: The attacks.
        keep_worst: Whether the worst examples are wanted.
    """

    classifiers: Mapping[str, Mapping[str, Classifier]]
    described: Mapping[str, Mapping[str, Mapping[str, Any]]]
    gradients: list[ZeroGradients | None]
    first: Examples
    battery: Battery
    keep_worst: bool


def check_executor(executor: Executor | None) -> None:
    """Refuse processes that are forked, since they would wait forever for threads of TensorFlow that they lack.

    Raises:
        InputError: The executor starts such processes.
    """
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise InputError(
            "executor",
            expected="one whose processes begin anew",
            received="one that forks this process, whose threads TensorFlow would miss there",
            remedy='Give ProcessPoolExecutor(..., mp_context=multiprocessing.get_context("spawn")).',
        )


def packed(models: EvaluatedModels, battery: Battery, *, keep_worst: bool) -> bytes:
    """Return what all parts of an evaluation have in common, to be sent to other processes.

    A Keras model goes as its file, a path as a path.

    Raises:
        InputError: A model, or what prepares its images, exists in this process only.
    """
    data = models.models[0].data
    work = _Work(
        {
            argument: {name: _anywhere(model.classifier) for name, model in some.items()}
            for argument, some in models.by_argument.items()
        },
        models.described,
        [model.gradients for model in models.models],
        data.only(np.arange(min(len(data.images), max(LOOKED_AT, data.batch_size)))),
        battery,
        keep_worst,
    )
    for argument, some in work.classifiers.items():
        for name, classifier in some.items():
            try:
                _pickled(classifier)
            except (pickle.PicklingError, AttributeError, TypeError, InputError) as error:
                raise InputError(
                    f"{argument}[{name!r}]",
                    expected="a model that can be sent to another process",
                    received=f"{classifier.model!r} ({error})",
                    remedy="Give the path of a saved model, a Keras model that Keras can save, or a function from the "
                    "top of a module; or leave executor out.",
                ) from error
    return _pickled(work)


def finished_parts(executor: Executor, work: bytes, parts: Mapping[int, Examples]) -> Iterator[FinishedPart]:
    """Let an executor run parts, and yield each as it is finished.

    Raises:
        InputError: The executor cannot go on, since one of its processes has ended.
    """
    waiting: dict[Future[tuple[PartResult, Worst]], int] = {}
    try:
        waiting |= {executor.submit(_run, work, part): number for number, part in parts.items()}
        for future in as_completed(waiting):
            yield waiting.pop(future), future.result()
    except BrokenExecutor as error:
        raise InputError(
            "executor",
            expected="processes that live as long as the evaluation",
            received=f"one that ended ({error})",
            remedy="If its memory was full, take fewer processes or smaller parts. Finished parts are kept where there "
            "is a folder: the same call with a new executor goes on after them.",
        ) from error
    finally:
        for future in waiting:
            future.cancel()


def _run(work: bytes, part: Examples) -> tuple[PartResult, Worst]:
    tasks, battery, keep_worst = _unpacked(work)
    with Progress(0, shown=False) as bar:
        return run_part(part, tasks, battery, bar, keep_worst=keep_worst)


@functools.lru_cache(maxsize=1)
def _unpacked(work: bytes) -> tuple[list[list[Task]], Battery, bool]:
    """Return the tasks of an evaluation, on models that are loaded once for all parts that come here."""
    sent: _Work = pickle.loads(work)
    models = EvaluatedModels.of(**sent.classifiers, data=sent.first)
    for argument, here in models.described.items():
        for name in different_models(argument, sent.described[argument], here):
            raise InputError(
                name,
                expected="the same model in all processes",
                received="one with other weights or outputs here",
                remedy="Give all machines the same file and the same versions of TensorFlow and Keras.",
            )
    same = [model.with_gradients(found) for model, found in zip(models.models, sent.gradients, strict=True)]
    return tasks_of(sent.battery, dataclasses.replace(models, models=same)), sent.battery, sent.keep_worst


def _anywhere(classifier: Classifier) -> Classifier:
    """Return a classifier whose path, if it has one, does not depend on the working directory."""
    if isinstance(classifier.model, (str, os.PathLike)):
        return dataclasses.replace(classifier, model=str(Path(classifier.model).resolve()))
    return classifier


class _Pickler(pickle.Pickler):
    """Pickles Keras models too: one that several classifiers share is written, and read, once."""

    def reducer_override(self, thing: Any) -> Any:
        if not is_keras_model(thing):
            return NotImplemented
        return _loaded, (_file_of(thing), {n: own for n, own in own_objects(thing).items() if _can_be_imported(own)})


def _can_be_imported(thing: Any) -> bool:
    """Return whether a class or function is found in its module by its name."""
    found = sys.modules.get(thing.__module__)
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def _pickled(thing: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(thing)
    return stream.getvalue()


def _file_of(model: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        save_model(model, path)
        return path.read_bytes()


def _loaded(content: bytes, own: Mapping[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(content)
        # It comes from the process that started this one.
        return load_model(path, own, safe_mode=False)
