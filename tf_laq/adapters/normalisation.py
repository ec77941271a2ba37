"""The running statistics with which batch normalisations give what they give in the float model."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Moments = tuple[Any, Any]
"""Mean and variance per channel."""

# Of float32, after some additions.
_ROUNDING = 1e-5


def matched_statistics(running: Moments, epsilon: float, found: Moments, wanted: Moments) -> Moments:
    """Return running statistics that take off the difference between the inputs of a normalisation in two models.

        var' = r (var + e) - e,   mean' = m_q - (m_f - mean) sqrt(r),   r = v_q / v_f

    A channel that is constant in one of the two has r = 1. A var' below 0 becomes 0, and r in mean' is then
    (var' + e) / (var + e). Statistics come back to the last bit where nothing differs.

    Args:
        running: (mean, var), the running statistics in the float model; arrays or tensors of one float dtype, as all.
        epsilon: e, what the normalisation adds to a variance.
        found: (m_q, v_q), the moments of its inputs in the quantized model.
        wanted: (m_f, v_f), those in the float model.

    Returns:
        (mean', var'), tensors of that dtype. Works eagerly and inside a tf.function.

    Example:
        >>> mean, variance = matched_statistics(([0.0], [1.0]), 0.0, found=([3.0], [4.0]), wanted=([1.0], [1.0]))
        >>> float(mean[0]), float(variance[0])
        (1.0, 4.0)
    """
    mean, variance = running
    known = _varies(*found) & _varies(*wanted)
    ratio = tf.where(known, found[1], tf.ones_like(found[1])) / tf.where(known, wanted[1], tf.ones_like(wanted[1]))
    matched = tf.maximum(variance * ratio + epsilon * (ratio - 1.0), 0.0)
    before, after = variance + epsilon * tf.ones_like(ratio), matched + epsilon
    stretch = tf.sqrt(tf.where(before > 0.0, after, 1.0) / tf.where(before > 0.0, before, 1.0))
    return mean * stretch + (found[0] - wanted[0] * stretch), matched


def _varies(mean: Any, variance: Any) -> tf.Tensor:
    """Return whether a channel has more than one value, but for rounding."""
    return tf.sqrt(variance) > _ROUNDING * tf.abs(mean)
