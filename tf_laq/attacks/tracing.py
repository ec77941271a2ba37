"""Graphs of attacks: one for each model, which is meant to be so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

_Function = TypeVar("_Function", bound=Callable[..., Any])
_of_attacks: set[str] = set()


def traced(function: _Function) -> _Function:
    """Decorate a function whose first argument is a model: TensorFlow makes a graph of it for each model.

    TensorFlow advises against tracing a function often. For this one the advice is not shown.

    Example:
        >>> @traced
        ... def twice(logits, images):
        ...     return logits(logits(images))
        >>> float(twice(lambda images: images + 1.0, tf.constant(0.0)))
        2.0
    """
    _of_attacks.add(repr(function))
    graphs: _Function = tf.function(function, reduce_retracing=True)
    return graphs


def _is_no_advice_on_attacks(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return "triggered tf.function retracing" not in message or not any(name in message for name in _of_attacks)


tf.get_logger().addFilter(_is_no_advice_on_attacks)
