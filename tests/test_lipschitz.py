"""Norms against float64 singular values, and matrix layouts against the layers they stand for."""

import numpy as np
import pytest
import tensorflow as tf

from tf_laq import lipschitz
from tf_laq.errors import InputError

SHAPES = [(1, 1), (7, 1), (1, 9), (16, 16), (1440, 160), (300, 300), (700, 400), (400, 700)]
LARGE_SHAPES = [(1100, 1030), (1030, 1100)]
KINDS = ["normal", "heavy tails", "rank 1", "rank 5", "zero", "identity", "positive", "tiny", "huge"]


def make(shape, kind):
    random = np.random.default_rng(sum(shape))
    rows, columns = shape
    matrices = {
        "normal": lambda: random.normal(size=shape),
        "heavy tails": lambda: random.standard_t(2, size=shape),
        "rank 1": lambda: np.outer(random.normal(size=rows), random.normal(size=columns)),
        "rank 5": lambda: random.normal(size=(rows, 5)) @ random.normal(size=(5, columns)),
        "zero": lambda: np.zeros(shape),
        "identity": lambda: np.eye(rows, columns),
        "positive": lambda: random.uniform(size=shape),
        "tiny": lambda: random.normal(size=shape) * 1e-25,
        "huge": lambda: random.normal(size=shape) * 1e25,
    }
    return matrices[kind]().astype(np.float32)


def svd_norm(matrix):
    return np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_spectral_norm_is_that_of_the_float64_decomposition(shape, kind):
    matrix = make(shape, kind)
    assert lipschitz.spectral_norm(matrix[None]) == pytest.approx(svd_norm(matrix), rel=1e-6)


@pytest.mark.parametrize("kind", ["heavy tails", "rank 5", "zero", "identity", "tiny", "huge"])
@pytest.mark.parametrize("shape", LARGE_SHAPES, ids=str)
def test_the_norm_of_a_large_matrix_is_found_without_its_gram_matrix(shape, kind):
    matrix = make(shape, kind)
    # The Gram matrix in float64 costs a tenth of the decomposition.
    wide = matrix.astype(np.float64) / (np.abs(matrix).max() or 1)
    expected = np.sqrt(max(np.linalg.eigvalsh(wide.T @ wide)[-1], 0)) * np.abs(matrix).max()
    assert lipschitz.spectral_norm(matrix[None]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "rank 1", "zero", "identity", "huge"])
@pytest.mark.parametrize("shape", [(40, 30), (500, 300)], ids=str)
def test_a_limit_is_decided_as_the_norm_decides_it(shape, kind):
    matrix = make(shape, kind)
    norm = svd_norm(matrix)
    for factor in (0.01, 0.5, 0.9, 0.999, 0.99999):
        assert (lipschitz.spectral_norm_within(matrix[None], norm * factor) is None) == (norm > 0)
    for factor in (1.00001, 1.001, 1.1, 1e200):
        assert lipschitz.spectral_norm_within(matrix[None], norm * factor) == lipschitz.spectral_norm(matrix[None])


def test_a_limit_holds_for_the_largest_of_all_blocks():
    blocks = np.stack([np.eye(300, dtype=np.float32), 3 * np.eye(300, dtype=np.float32)])
    assert lipschitz.spectral_norm_within(blocks, 2.0) is None
    assert lipschitz.spectral_norm_within(blocks, 3.1) == pytest.approx(3)


def test_the_norm_of_blocks_is_that_of_the_block_diagonal_matrix():
    random = np.random.default_rng(0)
    for rows, columns in ((9, 2), (400, 300)):
        blocks = random.normal(size=(3, rows, columns)).astype(np.float32)
        whole = np.zeros((3 * rows, 3 * columns))
        for i, block in enumerate(blocks):
            whole[i * rows : (i + 1) * rows, i * columns : (i + 1) * columns] = block
        assert lipschitz.spectral_norm(blocks) == pytest.approx(svd_norm(whole), rel=1e-6)
        assert lipschitz.row_sum_norm(blocks) == pytest.approx(np.abs(whole.T).sum(axis=1).max())


def test_the_infinity_norm_bounds_the_output_under_a_bounded_input():
    kernel = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    norm = lipschitz.norm(kernel[None], "inf")
    worst = max(np.abs(np.sign(kernel[:, j]) @ kernel).max() for j in range(5))
    assert norm == pytest.approx(worst, rel=1e-6)


def unfolded_matrix(layer, size, channels):
    """The matrix that a layer's output at one place is of the input patch, by pushing unit inputs through it."""
    basis = np.eye(size * channels, dtype=np.float32).reshape(-1, *layer_input(layer, size, channels))
    return np.asarray(layer(tf.constant(basis))).reshape(size * channels, -1)


def layer_input(layer, size, channels):
    side = round(size ** (1 / layer.rank))
    return (side,) * layer.rank + (channels,)


@pytest.mark.parametrize(
    ("layer", "taps", "channels", "layout", "weight"),
    [
        ("Conv1D", 3, 4, lipschitz.conv1d(), "kernel"),
        ("Conv2D", 9, 4, lipschitz.conv2d(), "kernel"),
        ("Conv3D", 27, 2, lipschitz.conv3d(), "kernel"),
        ("Grouped", 9, 4, lipschitz.conv2d(groups=2), "kernel"),
        ("DepthwiseConv1D", 3, 5, lipschitz.depthwise_convolution(1), "depthwise_kernel"),
        ("DepthwiseConv2D", 9, 5, lipschitz.depthwise_convolution(2), "depthwise_kernel"),
    ],
)
def test_a_convolution_layout_is_the_matrix_from_a_patch_to_an_output(layer, taps, channels, layout, weight):
    import tf_keras

    made = {
        "Conv1D": lambda: tf_keras.layers.Conv1D(6, 3, use_bias=False),
        "Conv2D": lambda: tf_keras.layers.Conv2D(6, 3, use_bias=False),
        "Conv3D": lambda: tf_keras.layers.Conv3D(6, 3, use_bias=False),
        "Grouped": lambda: tf_keras.layers.Conv2D(6, 3, groups=2, use_bias=False),
        "DepthwiseConv1D": lambda: tf_keras.layers.DepthwiseConv1D(3, depth_multiplier=2, use_bias=False),
        "DepthwiseConv2D": lambda: tf_keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False),
    }[layer]()
    matrix = unfolded_matrix(made, taps, channels)
    kernel = np.asarray(getattr(made, weight))
    assert lipschitz.spectral_norm(layout.matrices(kernel)) == pytest.approx(svd_norm(matrix), rel=1e-5)
    assert lipschitz.row_sum_norm(layout.matrices(kernel)) == pytest.approx(np.abs(matrix).sum(0).max(), rel=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_transposed_convolution_is_read_as_a_convolution_with_its_channels_in_order(rank):
    kernel = np.random.default_rng(rank).normal(size=(*(2,) * rank, 3, 5)).astype(np.float32)
    convolution = (lipschitz.conv1d, lipschitz.conv2d, lipschitz.conv3d)[rank - 1]()
    same = np.swapaxes(kernel, -1, -2)
    layout = lipschitz.transposed_convolution(rank)
    assert lipschitz.spectral_norm(layout.matrices(kernel)) == lipschitz.spectral_norm(convolution.matrices(same))


@pytest.mark.parametrize(
    ("equation", "kernel_shape", "matrix_shape"),
    [
        ("ab,bc->ac", (4, 5), (1, 4, 5)),
        ("abc,cde->abde", (4, 2, 3), (1, 4, 6)),
        ("abcd,cde->abe", (2, 3, 5), (1, 6, 5)),
        ("...x,xy->...y", (4, 5), (1, 4, 5)),
        ("abc,bcd->abd", (3, 4, 5), (3, 4, 5)),
    ],
)
def test_an_einsum_kernel_is_read_by_its_equation(equation, kernel_shape, matrix_shape):
    assert lipschitz.einsum(equation).matrices(np.zeros(kernel_shape)).shape == matrix_shape


def test_an_unknown_norm_is_refused():
    with pytest.raises(InputError, match="norm: expected one of spectral, inf. Received: 'frobenius'"):
        lipschitz.norm(np.ones((1, 2, 2)), "frobenius")
