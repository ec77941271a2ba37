"""Lipschitz constants of linear layers: the norms of their kernels as matrices.

A kernel acts on its input, or on the unfolded patches of it, as a matrix; `MatrixLayout` says which kernel axes are
the matrix's inputs and which its outputs, as convolutions are read in Parseval networks (Cisse et al. 2017). The norm
of that matrix is the layer's Lipschitz constant L_W (paper, Eqs. 2 and 9):

    p = 2     the spectral norm, the largest singular value
    p = inf   the maximum absolute row sum of the matrix that multiplies the input (a row per output)
"""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import threadpoolctl

from tf_laq.errors import InputError

Matrix = npt.NDArray[Any]
NormName = Literal["spectral", "inf"]
NORMS: tuple[NormName, ...] = ("spectral", "inf")

# Up to the first side all eigenvalues of the Gram matrix cost least, up to the second a Krylov space of the Gram
# matrix, and above it, where that matrix is dear, a Krylov space of the matrix itself.
_EIGENVALUES_SIDE = 256
_GRAM_SIDE = 1024
# The error of a Ritz value is at most its residual, and of the order of the residual squared.
_RELATIVE_RESIDUAL = 1e-5
# Sums of squares run in float32; bounds from them count only where they decide by more than this.
_FLOAT32_SLACK = 1e-3


@dataclasses.dataclass(frozen=True)
class MatrixLayout:
    """Which axes of a kernel are the inputs and which the outputs of the matrix it stands for.

    The matrix has shape (blocks, product of input axes, product of output axes): one matrix for most layers, and one
    per channel or group where the layer connects inputs and outputs only within it (the whole is block diagonal, its
    norm the largest of its blocks').

    Attributes:
        inputs: Kernel axes that meet the input.
        outputs: Kernel axes of the output.
        blocks: Kernel axes that number the blocks.
        groups: Groups into which the last output axis falls apart (grouped convolution).
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    blocks: tuple[int, ...] = ()
    groups: int = 1

    def matrices(self, kernel: npt.NDArray[Any]) -> Matrix:
        """Return the kernel as float32 matrices (blocks, inputs, outputs).

        Example:
            >>> conv2d(groups=2).matrices(np.zeros((3, 3, 4, 10))).shape
            (2, 36, 5)
        """
        shape = kernel.shape
        rows = math.prod(shape[axis] for axis in self.inputs)
        columns = math.prod(shape[axis] for axis in self.outputs)
        blocks = math.prod(shape[axis] for axis in self.blocks)
        ordered = kernel.transpose(*self.blocks, *self.inputs, *self.outputs)
        matrices = ordered.reshape(blocks, rows, columns).astype(np.float32, copy=False)
        if self.groups == 1:
            return matrices
        grouped = matrices.reshape(rows, self.groups, columns // self.groups)
        return np.ascontiguousarray(grouped.transpose(1, 0, 2))


def dense() -> MatrixLayout:
    """Return the layout of Dense, Embedding and recurrent kernels: (inputs, outputs)."""
    return MatrixLayout((0,), (1,))


def conv1d(groups: int = 1) -> MatrixLayout:
    """Return the layout of Conv1D kernels (k, c_in / groups, c_out): the matrix is (k * c_in, c_out)."""
    return MatrixLayout((0, 1), (2,), groups=groups)


def conv2d(groups: int = 1) -> MatrixLayout:
    """Return the layout of Conv2D kernels (k, k, c_in / groups, c_out): the matrix is (k * k * c_in, c_out)."""
    return MatrixLayout((0, 1, 2), (3,), groups=groups)


def conv3d(groups: int = 1) -> MatrixLayout:
    """Return the layout of Conv3D kernels (k, k, k, c_in / groups, c_out)."""
    return MatrixLayout((0, 1, 2, 3), (4,), groups=groups)


def transposed_convolution(rank: int) -> MatrixLayout:
    """Return the layout of transposed convolutions, (k, ..., c_out, c_in) with `rank` spatial axes k.

    The matrix is that of a convolution with the same kernel axes: (k * ... * c_in, c_out).
    """
    return MatrixLayout((*range(rank), rank + 1), (rank,))


def depthwise_convolution(rank: int) -> MatrixLayout:
    """Return the layout of depthwise kernels, (k, ..., c_in, multiplier) with `rank` spatial axes k.

    A channel sees only itself: there are c_in blocks of shape (k * ..., multiplier).
    """
    return MatrixLayout(tuple(range(rank)), (rank + 1,), blocks=(rank,))


def einsum(equation: str) -> MatrixLayout:
    """Return the layout of an EinsumDense kernel: its axes that the input shares are inputs, the others outputs.

    Axes that input, kernel and output all share number blocks.

    Example:
        >>> einsum("abc,cde->abde")
        MatrixLayout(inputs=(0,), outputs=(1, 2), blocks=(), groups=1)
    """
    operands, output = equation.replace(" ", "").replace("...", "").split("->")
    data, kernel = operands.split(",")
    axes = dict(enumerate(kernel))
    return MatrixLayout(
        inputs=tuple(a for a, letter in axes.items() if letter in data and letter not in output),
        outputs=tuple(a for a, letter in axes.items() if letter not in data),
        blocks=tuple(a for a, letter in axes.items() if letter in data and letter in output),
    )


def norm(matrices: Matrix, which: NormName = "spectral") -> float:
    """Return the norm of block-diagonal `matrices` (blocks, inputs, outputs): the largest of the blocks' norms.

    Raises:
        InputError: There is no such norm.

    Example:
        >>> norm(np.array([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 5.0], [0.0, 0.0]]]))
        5.0
        >>> norm(np.array([[[3.0, -1.0], [2.0, 1.0]]]), "inf")
        5.0
    """
    if which == "spectral":
        return spectral_norm(matrices)
    if which == "inf":
        return row_sum_norm(matrices)
    raise InputError("norm", expected=f"one of {', '.join(NORMS)}", received=repr(which))


def row_sum_norm(matrices: Matrix) -> float:
    """Return the p = inf norm of matrices (blocks, inputs, outputs): max over outputs of the sum over inputs of |w|."""
    return float(np.abs(matrices).sum(axis=-2, dtype=np.float64).max())


def spectral_norm(matrices: Matrix) -> float:
    """Return the largest singular value of matrices (blocks, inputs, outputs), in float64.

    Where a side is at most 256: the root of the largest eigenvalue of the Gram matrix of that side. Otherwise:
    Golub-Kahan-Lanczos bidiagonalisation with full reorthogonalisation, of the float32 Gram matrix where a side is at
    most 1024, else of the matrix itself. Relative error below 1e-6.
    """
    with _blas().limit(limits=1):
        if min(matrices.shape[1:]) <= _EIGENVALUES_SIDE:
            return _eigenvalue_norm(matrices)
        return max(_krylov_norm(matrix) for matrix in matrices)


def spectral_norm_exceeds(matrices: Matrix, threshold: float) -> bool:
    """Return whether the spectral norm is above `threshold`, as soon as that is certain.

    With n the smaller side: ||E||_F is an upper bound, ||E||_F / sqrt(n) and the longest row or column are lower ones.
    Where they do not decide, the Ritz values of the Lanczos process approach the norm from below, and it stops once
    one has passed the threshold.
    """
    with np.errstate(over="ignore"):
        columns = np.einsum("bij,bij->bj", matrices, matrices)
        rows = np.einsum("bij,bij->bi", matrices, matrices)
        frobenius = math.sqrt(rows.sum(axis=1).max())
    smaller_side = min(matrices.shape[1:])
    lower_bound = max(math.sqrt(max(columns.max(), rows.max())), frobenius / math.sqrt(smaller_side))
    if frobenius * (1 + _FLOAT32_SLACK) <= threshold:
        return False
    if threshold * (1 + _FLOAT32_SLACK) < lower_bound < math.inf:
        return True
    with _blas().limit(limits=1):
        if smaller_side <= _EIGENVALUES_SIDE:
            return _eigenvalue_norm(matrices) > threshold
        return any(_krylov_norm(matrix, threshold) > threshold for matrix in matrices)


@cache
def _blas() -> threadpoolctl.ThreadpoolController:
    """Return the control of BLAS threads: on matrices of these sizes, several threads mostly wait for each other."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def _eigenvalue_norm(matrices: Matrix) -> float:
    tall = matrices if matrices.shape[1] >= matrices.shape[2] else matrices.swapaxes(1, 2)
    scaled, scale = _scaled(tall.astype(np.float64))
    largest = np.linalg.eigvalsh(scaled.swapaxes(1, 2) @ scaled)[:, -1].max()
    return math.sqrt(max(largest, 0.0)) * scale


def _krylov_norm(matrix: Matrix, threshold: float | None = None) -> float:
    """Return the norm of one matrix; with a threshold, a lower bound above it will do."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    if tall.shape[1] > _GRAM_SIDE:
        return _lanczos_norm(tall, threshold)
    scaled, scale = _scaled(tall)
    squared = None if threshold is None else (threshold / scale) ** 2
    return math.sqrt(_lanczos_norm(scaled.T @ scaled, squared)) * scale


def _scaled(matrices: Matrix) -> tuple[Matrix, float]:
    """Return matrices divided by a power of two, so that the squares of tiny or huge weights stay in range, and it."""
    scale = 2.0 ** max(math.frexp(np.abs(matrices).max())[1], -126)
    return matrices * matrices.dtype.type(1 / scale), scale


def _lanczos_norm(tall: Matrix, threshold: float | None) -> float:
    """Return the largest singular value of one matrix, or a lower bound above `threshold` as soon as there is one.

    Products with the matrix run in float32, the bases and the bidiagonal matrix in float64.
    """
    rows, columns = tall.shape
    right = np.zeros((columns, columns))
    left = np.zeros((columns, rows))
    diagonal, above = np.zeros(columns), np.zeros(columns)
    vector = np.random.default_rng(0).standard_normal(columns)
    right[0] = vector / np.linalg.norm(vector)
    value = 0.0
    for k in range(columns):
        u = (tall @ right[k].astype(np.float32)).astype(np.float64)
        diagonal[k] = _orthonormalise(u, left[:k])
        left[k] = u
        v = (u.astype(np.float32) @ tall).astype(np.float64)
        above[k] = _orthonormalise(v, right[: k + 1])
        if k % 4 == 3 or k == columns - 1 or above[k] <= value * _RELATIVE_RESIDUAL:
            bidiagonal = np.diag(diagonal[: k + 1]) + np.diag(above[:k], 1)
            left_vectors, values, _ = np.linalg.svd(bidiagonal)
            value = float(values[0])
            residual = above[k] * abs(left_vectors[-1, 0])
            passed = threshold is not None and value > threshold * (1 + _RELATIVE_RESIDUAL)
            if passed or residual <= _RELATIVE_RESIDUAL * value:
                return value
        if k + 1 < columns:
            right[k + 1] = v
    return value


def _orthonormalise(vector: npt.NDArray[np.float64], basis: npt.NDArray[np.float64]) -> float:
    """Make `vector` orthogonal to the rows of `basis` and of length 1, in place; return its length."""
    for _ in range(2):  # What one projection leaves over, a second removes.
        vector -= (basis @ vector) @ basis
    length = float(np.linalg.norm(vector))
    if length > 0:
        vector /= length
    return length
