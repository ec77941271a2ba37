"""The k-means quantizer: a codebook that fits the weights."""

from __future__ import annotations

from tf_laq.quantizers.arithmetic import whole_steps
from tf_laq.quantizers.arrays import Array, ArrayOperations
from tf_laq.quantizers.base import Quantizer
from tf_laq.quantizers.clustering import best_levels
from tf_laq.quantizers.registry import register

# As many as an int8 holds on each side.
_STEPS = 127


@register
class KMeans(Quantizer):
    """Codebook of one tensor: the 2**b levels with the smallest squared error, zero among them, 2 to 6 bits.

    The levels are -127 D ... 127 D, for D the smallest power of two that reaches max|W|; those are chosen that fit
    the weights, rounded to whole D, best (k-means in one dimension, solved exactly), and w becomes the nearest one.
    Where few weights are large, as in most trained networks, the levels lie where the weights are, while those of the
    linear quantizer are spread evenly up to max|W|.

    Example:
        >>> KMeans(bits=2).quantize([-0.1, 0.0, 0.1, 0.1, 0.5, 0.5, 12.0, 11.0])
        array([ 0. ,  0. ,  0. ,  0. ,  0.5,  0.5, 12. , 11. ], dtype=float32)
    """

    name = "kmeans"
    min_bits = 2
    max_bits = 6

    def scale(self, weights: Array, operations: ArrayOperations) -> Array:
        """Return the levels."""
        counts, step = whole_steps(weights, _STEPS, operations)
        return operations.as_float(best_levels(counts, 2**self.bits, operations)) * step

    def levels(self, scale: Array, operations: ArrayOperations) -> Array:
        """Return the levels: 2**bits, some of them equal where the weights have fewer values."""
        return scale
