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
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import threadpoolctl

from tf_laq.errors import InputError

Matrix = npt.NDArray[Any]
Vector = npt.NDArray[np.float64]
Product = Callable[[Vector], Vector]
NormName = Literal["spectral", "inf"]
NORMS: tuple[NormName, ...] = ("spectral", "inf")

# Up to the first side all eigenvalues of the Gram matrix cost least, up to the second a Krylov space of it, and above,
# where that matrix is dear, the same space by products with the matrix itself.
_EIGENVALUES_SIDE = 256
_GRAM_SIDE = 1024
# A matrix with contiguous rows is multiplied by blocks of them that stay in the cache: memory is read once a product.
_BLOCK_BYTES = 1 << 21
# Squares of weights within these are normal numbers.
_SQUARABLE = 2.0**-50, 2.0**50
# The error of a Ritz value is at most its residual, and of the order of the residual squared.
_RELATIVE_RESIDUAL = 1e-5
# For so many steps there is room at first.
_STEPS = 64
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

    It is the root of the largest eigenvalue of the Gram matrix of the smaller side. Where that side is at most 256, all
    eigenvalues are computed; otherwise the Lanczos process with full reorthogonalisation finds the largest, with the
    float32 Gram matrix where the side is at most 1024, else without forming it. Relative error below 1e-6.
    """
    with _blas().limit(limits=1):
        return max(_norm(part, math.inf) for part in _at_once(matrices))


def spectral_norm_within(matrices: Matrix, limit: float) -> float | None:
    """Return the spectral norm, or None as soon as it is certain to be above `limit`.

    With n the smaller side, ||E||_F / sqrt(n) and the longest row or column are lower bounds. Where they do not decide,
    the Ritz values of the Lanczos process approach the norm from below, and it stops once one has passed the limit.

    Example:
        >>> matrices = np.array([[[3.0, 0.0], [0.0, 4.0]]])
        >>> spectral_norm_within(matrices, 5.0), spectral_norm_within(matrices, 3.5)
        (4.0, None)
    """
    if limit < math.inf and _lower_bound(matrices) > limit * (1 + _FLOAT32_SLACK):
        return None
    largest = 0.0
    with _blas().limit(limits=1):
        for part in _at_once(matrices):
            largest = max(largest, _norm(part, limit))
            if largest > limit:
                return None
    return largest


@cache
def _blas() -> threadpoolctl.ThreadpoolController:
    """Return the control of BLAS threads: on matrices of these sizes, several threads mostly wait for each other."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def _lower_bound(matrices: Matrix) -> float:
    with np.errstate(over="ignore"):
        columns = np.einsum("bij,bij->bj", matrices, matrices)
        rows = np.einsum("bij,bij->bi", matrices, matrices)
        frobenius = math.sqrt(rows.sum(axis=1).max())
    found = max(math.sqrt(max(columns.max(), rows.max())), frobenius / math.sqrt(min(matrices.shape[1:])))
    return found if found < math.inf else 0.0


def _at_once(matrices: Matrix) -> Iterable[Matrix]:
    """Give the matrices in the parts whose norms are computed together."""
    return [matrices] if min(matrices.shape[1:]) <= _EIGENVALUES_SIDE else matrices[:, None]


def _norm(matrices: Matrix, limit: float) -> float:
    """Return the largest norm of some matrices that are computed together; above the limit, a lower bound will do."""
    tall = matrices if matrices.shape[1] >= matrices.shape[2] else matrices.swapaxes(1, 2)
    if tall.shape[2] <= _EIGENVALUES_SIDE:
        scaled, scale = _scaled(tall.astype(np.float64))
        return math.sqrt(max(np.linalg.eigvalsh(scaled.swapaxes(1, 2) @ scaled)[:, -1].max(), 0.0)) * scale
    scaled, scale = _scaled(tall[0])
    product = _product_with(scaled.T @ scaled) if tall.shape[2] <= _GRAM_SIDE else _gram_product_with(scaled)
    ratio = float(limit) / scale  # Whose product, unlike its power or NumPy's, becomes infinite without a word.
    return math.sqrt(_largest_eigenvalue(product, tall.shape[2], ratio * ratio)) * scale


def _scaled(matrices: Matrix) -> tuple[Matrix, float]:
    """Return matrices, divided by a power of two if the squares of their weights would be tiny or huge, and it."""
    largest = max(matrices.max(), -matrices.min())
    if largest == 0 or _SQUARABLE[0] < largest < _SQUARABLE[1]:
        return matrices, 1.0
    scale = 2.0 ** max(math.frexp(largest)[1], -126)
    return matrices * matrices.dtype.type(1 / scale), scale


def _product_with(gram: Matrix) -> Product:
    return lambda vector: (gram @ vector.astype(np.float32)).astype(np.float64)


def _gram_product_with(tall: Matrix) -> Product:
    rows, columns = tall.shape
    step = -(-_BLOCK_BYTES // tall[0].nbytes) if tall.flags.c_contiguous else rows

    def product(vector: Vector) -> Vector:
        narrow, total = vector.astype(np.float32), np.zeros(columns)
        for start in range(0, rows, step):
            block = tall[start : start + step]
            total += (block @ narrow) @ block
        return total

    return product


def _largest_eigenvalue(product: Product, side: int, limit: float) -> float:
    """Return the largest eigenvalue of a Gram matrix, or a lower bound above `limit` as soon as there is one.

    Args:
        product: Multiplies a vector (side,) by the matrix.
        side: Of the matrix.
        limit: An eigenvalue.
    """
    vector = np.random.default_rng(0).standard_normal(side)
    basis, diagonal, beside = np.empty((_STEPS, side)), np.zeros(side), np.zeros(side)
    basis[0] = vector / np.linalg.norm(vector)
    value = 0.0
    for k in range(side):
        vector = product(basis[k])
        diagonal[k] = vector @ basis[k]
        beside[k] = _orthonormalise(vector, basis[: k + 1])
        if k % 4 == 3 or k == side - 1 or beside[k] <= value * _RELATIVE_RESIDUAL:
            tridiagonal = np.diag(diagonal[: k + 1]) + np.diag(beside[:k], -1)
            values, vectors = np.linalg.eigh(tridiagonal)
            value = max(float(values[-1]), 0.0)
            residual = beside[k] * abs(vectors[-1, -1])
            if value > limit * (1 + 2 * _RELATIVE_RESIDUAL) or residual <= _RELATIVE_RESIDUAL * value:
                return value
        if k + 1 == len(basis) < side:
            basis = np.concatenate([basis, np.empty_like(basis)])
        if k + 1 < side:
            basis[k + 1] = vector
    return value


def _orthonormalise(vector: Vector, basis: npt.NDArray[np.float64]) -> float:
    """Make `vector` orthogonal to the rows of `basis` and of length 1, in place; return its length."""
    for _ in range(2):  # What one projection leaves over, a second removes.
        vector -= (basis @ vector) @ basis
    length = float(np.linalg.norm(vector))
    if length > 0:
        vector /= length
    return length
