"""Seeing what reaches the layers of a model while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


def in_call_order(layers: list[Any], run: Callable[[], None]) -> list[Any]:
    """Return the layers in the order in which a run of the model calls them; those it does not call are left out."""
    called: dict[int, Any] = {}

    def noting(layer: Any) -> Callable[[Any], Any]:
        return lambda inputs: called.setdefault(id(layer), layer)

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(before_each_call(layer, noting(layer)))
        run()
    return list(called.values())


@contextlib.contextmanager
def before_each_call(layer: Any, see: Callable[[Any], Any]) -> Iterator[None]:
    """Show the inputs of a layer to `see` before it is called; Keras 3 has no hook for that, nor has Keras 2."""
    call = layer.call

    def seen(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        see(inputs)
        return call(inputs, *args, **kwargs)

    layer.call = seen
    try:
        yield
    finally:
        del layer.call
