"""Which coded tensors of a file are decoded together, and which share a variable: what a tensor costs beside its codes.

Tensors of one width of code form a group, whose codes are taken apart together. The tensors of a group whose levels
are the same but for a factor are a family, turned into values together. Those of a family that differ in the length
of their first axis only share a variable, one after the other, which the graph cuts into them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tf_laq.tflite.coding import CodedTensor, digits_of
from tf_laq.tflite.encodings import LARGEST_BROADCAST_RANK

_GROUP_CODES = 1 << 20
"""Tensors of up to this many codes together form a group: fewer operators, and still little memory."""

_GROUP_BYTES = 500
_VARIABLE_BYTES = 300
"""About what the operators of a further group, and of a further variable, take in the file."""


@dataclasses.dataclass(frozen=True)
class Variable:
    """What a variable of the file holds: a tensor, or several along its first axis.

    Attributes:
        tensor: The values, as codes.
        members: The numbers of the tensors, in their order.
    """

    tensor: CodedTensor
    members: tuple[int, ...]


Family = list[Variable]


def groups(tensors: Sequence[CodedTensor], alone: Container[int] = ()) -> list[list[Family]]:
    """Return groups of families of variables that hold some tensors, each once.

    Args:
        tensors: The tensors.
        alone: Numbers of tensors that need a variable each.
    """
    found = []
    for numbers in _by_width(tensors):
        base = max(tensors[number].codebook.size for number in numbers)
        count = sum(tensors[number].codes.size for number in numbers)
        families = _families({number: tensors[number] for number in numbers}, base, count)
        found.append([_variables(family, alone) for family in families])
    return found


def stacked(tensors: Sequence[CodedTensor]) -> CodedTensor:
    """Return tensors with one codebook as one tensor, along their first axis."""
    codes = np.concatenate([tensor.codes for tensor in tensors])
    return CodedTensor(tensors[0].name, codes, tensors[0].codebook, None, np.concatenate(_channel_factors(tensors)))


def _by_width(tensors: Sequence[CodedTensor]) -> Iterator[list[int]]:
    """Give the numbers of the tensors in groups; a group of few codes joins that of the next width."""
    group: list[int] = []
    widths = sorted({tensor.bits for tensor in tensors})
    for bits, wider in zip(widths, [*widths[1:], None], strict=True):
        for number in (n for n, tensor in enumerate(tensors) if tensor.bits == bits):
            if group and _count(tensors, [*group, number]) > _GROUP_CODES:
                yield group
                group = []
            group.append(number)
        if wider is None or _count(tensors, group) * (wider - bits) > 8 * _GROUP_BYTES:
            yield group
            group = []


def _count(tensors: Sequence[CodedTensor], numbers: Iterable[int]) -> int:
    return sum(tensors[number].codes.size for number in numbers)


def _families(tensors: dict[int, CodedTensor], base: int, count: int) -> list[dict[int, CodedTensor]]:
    """Return the tensors by family, those of a family with a common codebook.

    A common codebook may have more levels than each of the tensors', if a code takes no more bits by it.
    """
    families: list[tuple[npt.NDArray[np.float32], list[int]]] = []
    for number, tensor in tensors.items():
        levels, _ = tensor.levels_and_factors(whole=True)
        for index, (common, members) in enumerate(families):
            union = np.union1d(common, levels)
            if _fits(union.size, base, count) and _is_multiplied(tensor) and _is_multiplied(tensors[members[0]]):
                families[index] = union, [*members, number]
                break
        else:
            families.append((levels, [number]))
    return [
        {n: _recoded(tensors[n], common) for n in members} if len(members) > 1 else {members[0]: tensors[members[0]]}
        for common, members in families
    ]


def _fits(levels: int, base: int, count: int) -> bool:
    """Return whether codes of so many levels take no more bits than those of a base."""
    widths = [int(size - 1).bit_length() for size in (levels, base)]
    return levels <= base or (widths[0] == widths[1] and digits_of(levels, count) == digits_of(base, count))


def _is_multiplied(tensor: CodedTensor) -> bool:
    """Return whether the runtime can multiply the tensor by factors."""
    return tensor.codes.ndim <= LARGEST_BROADCAST_RANK


def _recoded(tensor: CodedTensor, codebook: npt.NDArray[np.float32]) -> CodedTensor:
    """Return a tensor with the codes of another codebook, which has its levels."""
    levels, factors = tensor.levels_and_factors(whole=True)
    codes = np.searchsorted(codebook, levels)[tensor.codes].astype(np.uint8 if codebook.size <= 256 else np.uint16)
    return CodedTensor(
        tensor.name, codes, codebook, None, None if factors is None else factors.reshape(-1), tensor.axis
    )


def _variables(family: dict[int, CodedTensor], alone: Container[int]) -> Family:
    """Return the variables for a family: one for tensors that can share it."""
    shared: dict[tuple[int, ...], list[int]] = {}
    variables = []
    for number, tensor in family.items():
        channels = len(tensor.codes)
        per_channel = tensor.factors is not None and tensor.factors.size == channels and tensor.axis == 0
        per_tensor = tensor.factors is None or tensor.factors.size == 1
        # Sharing takes a factor a channel.
        if number not in alone and (per_channel or (per_tensor and 4 * channels < _VARIABLE_BYTES)):
            shared.setdefault(tensor.codes.shape[1:], []).append(number)
        else:
            variables.append(Variable(tensor, (number,)))
    for members in shared.values():
        tensors = [family[number] for number in members]
        variables.append(Variable(stacked(tensors) if len(tensors) > 1 else tensors[0], tuple(members)))
    return variables


def _channel_factors(tensors: Sequence[CodedTensor]) -> list[npt.NDArray[np.float32]]:
    one = np.ones(1, np.float32)
    return [np.broadcast_to(one if t.factors is None else t.factors, len(t.codes)) for t in tensors]
