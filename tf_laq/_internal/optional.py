"""Libraries that only a part of the package needs: each is in an extra, and its absence says in which."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

from tf_laq.errors import InputError

_EXTRAS = {
    "data": ("tensorflow_datasets",),
    "report": ("jinja2", "matplotlib"),
    "train": ("cleverhans",),
    "keras2": ("tf_keras", "tensorflow_model_optimization"),
}
_WHAT_FOR = {
    "data": "data sets of TensorFlow Datasets",
    "report": "report pages and plots",
    "train": "attacks and adversarial training",
    "keras2": "models of Keras 2",
}


@contextlib.contextmanager
def of_extra(name: str) -> Iterator[None]:
    """Import libraries of an extra in this block.

    Raises:
        InputError: One of them is not installed.

    Example:
        >>> with of_extra("report"):
        ...     import no_such_library
        Traceback (most recent call last):
        ...
        tf_laq.errors.InputError: no_such_library: expected an installed library, which report pages and plots need. \
Received: none. Run pip install "tf_laq[report]".
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise _absence(name, error.name or str(error)) from error


def check_extra(name: str) -> None:
    """Refuse what will need an extra that is not installed, before it has taken time.

    Raises:
        InputError: One of its libraries is not installed.

    Example:
        >>> check_extra("report")
    """
    for library in _EXTRAS[name]:
        if importlib.util.find_spec(library) is None:
            raise _absence(name, library)


def _absence(name: str, library: str) -> InputError:
    expected = f"an installed library, which {_WHAT_FOR[name]} need"
    return InputError(library, expected=expected, received="none", remedy=f'Run pip install "tf_laq[{name}]".')
