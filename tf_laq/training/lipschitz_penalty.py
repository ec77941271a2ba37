"""The Lipschitz regulariser of Defensive Quantization: kernels are pulled towards orthogonal matrices.

Source: Lin, Gan, Han 2019, "Defensive Quantization: When Efficiency Meets Robustness" (arXiv 1904.08444), section 4.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tf_laq._internal.typed import typed
from tf_laq._internal.validation import real
from tf_laq.adapters import adapter_of, keras_module, keras_version, kernels
from tf_laq.adapters.kernels import LayerKinds
from tf_laq.lipschitz import MatrixLayout


@typed
def add_lipschitz_penalty(model: Any, beta: float) -> None:
    """Add beta / 2 * sum over kernels of ||W^T W - I||_F^2 to the losses of a model, in place.

    W is the kernel as a matrix (inputs, outputs), a convolution as (k * k * c_in, c_out); see `tf_laq.lipschitz`. With
    singular values near 1 a layer does not amplify what comes in, such as a perturbation or the error of
    quantization. The term belongs to the model's `losses`: every training of it, with or without an attack, has it.
    A saved model does not.

    Args:
        model: A built Keras model.
        beta: The factor, at least 0; the paper's range is about 3e-4 to 6e-4.

    Raises:
        InputError: beta is negative, or the model is not a built float model.

    Example:
        >>> import tf_keras
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(2, kernel_initializer="ones")])
        >>> model.build((None, 2))
        >>> add_lipschitz_penalty(model, 0.5)
        >>> [float(loss) for loss in model.losses]
        [2.5]
    """
    real("beta", beta)
    version = keras_version(model)
    kinds = LayerKinds(keras_module(version))
    adapter_of(model).find_weights(model)  # Refuses what is not built or is quantized already.
    for _, layer, found in kinds.kernels_by_layer(model):
        for path, layout in found.items():
            _add(layer, kernels.attribute(layer, path), layout, beta, version)


def orthogonality(kernel: Any, layout: MatrixLayout) -> Any:
    """Return ||W^T W - I||_F^2 of a kernel as a float32 scalar tensor, summed over the blocks of its matrix."""
    shape = kernel.shape
    matrices = tf.transpose(tf.cast(kernel, tf.float32), (*layout.blocks, *layout.inputs, *layout.outputs))
    rows, columns = (math.prod(shape[axis] for axis in axes) for axes in (layout.inputs, layout.outputs))
    matrices = tf.reshape(matrices, (-1, rows, layout.groups, columns // layout.groups))
    matrices = tf.reshape(tf.transpose(matrices, (0, 2, 1, 3)), (-1, rows, columns // layout.groups))
    # W^T W and W W^T have the same eigenvalues other than 0, so the smaller one will do; each of the others adds 1.
    added = max(columns // layout.groups - rows, 0) * matrices.shape[0]
    gram = tf.matmul(matrices, matrices, transpose_a=not added, transpose_b=bool(added))
    return tf.reduce_sum((gram - tf.eye(gram.shape[-1])) ** 2) + float(added)


def _add(layer: Any, kernel: Any, layout: MatrixLayout, beta: float, version: int) -> None:
    def penalty(weights: Any = kernel) -> Any:
        return beta / 2 * orthogonality(weights, layout)

    if version == 2:
        layer.add_loss(penalty)
        return
    given = kernel.regularizer

    # Not the function itself: Keras 3.12, the last for Python 3.10, takes instances of its own class alone.
    class Penalty(keras_module(version).regularizers.Regularizer):  # type: ignore[misc]
        def __call__(self, weights: Any) -> Any:
            return penalty(weights) if given is None else given(weights) + penalty(weights)

    kernel.regularizer = Penalty()
