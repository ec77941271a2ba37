"""A model as a TensorFlow Lite file in every layout: quantized, converted once, its planned weights in few bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq import quantizers
from tf_laq._internal.typed import typed
from tf_laq.adapters import adapter_of, plan_of
from tf_laq.adapters.signature import Signature, signature_of
from tf_laq.errors import InputError
from tf_laq.plan import PlanEntry, QuantizationPlan
from tf_laq.sensitivity import WeightTensor
from tf_laq.tflite.conversion import convert
from tf_laq.tflite.encodings import CODEBOOK_OVERHEADS, LAYOUTS, Choice, Layout, choose
from tf_laq.tflite.graph import Constant, Graph, version_key
from tf_laq.tflite.matching import Match, PlannedTensor, match
from tf_laq.tflite.report import ExportError
from tf_laq.tflite.rewriting import Replacement, rewrite

_FLOAT32 = "float32"
_MOST_LEVELS = 2**16
_FASTER: dict[Layout, tuple[Layout, ...]] = {
    "int8": ("int8",),
    "auto": ("auto", "int8"),
    "packed": ("packed", "auto", "int8"),
}
"""A layout, and those that are faster."""


@dataclasses.dataclass(frozen=True)
class PackedModel:
    """What a model is as a file.

    Attributes:
        plain: The model without wrappers.
        tensors: Its weight tensors that can be quantized.
        float_content: Its float32 file.
        constants: The float32 constants of that file.
        matches: Those of them that hold planned tensors.
        contents: Layout -> the file in it, and the choice of an encoding for each match.
    """

    plain: Any
    tensors: list[WeightTensor]
    float_content: bytes
    constants: list[Constant]
    matches: list[Match]
    contents: dict[Layout, tuple[bytes, list[Choice]]]


@typed
def predicted_bytes(model: Any, plan: QuantizationPlan | None = None) -> dict[Layout, int]:
    """Return the size in bytes of the file that `export_tflite` writes in each layout.

    The sizes are exact: the model is converted and its weights are stored as for a file, which is neither run nor
    compared with the model.

    Args:
        model: A built Keras model with one output: float, wrapped or baked.
        plan: None for the plan that the model was quantized by. A plan quantizes a float model first.

    Raises:
        ExportError: The model cannot be exported under this plan.
        InputError: There is no plan, or it is for another model.

    Example:
        >>> import tf_keras
        >>> import tf_laq as laq
        >>> model = tf_keras.Sequential([tf_keras.Input((100,)), tf_keras.layers.Dense(100)])
        >>> sizes = predicted_bytes(model, laq.uniform(model, "linear", 3))
        >>> sizes["packed"] < sizes["auto"] < sizes["int8"]
        True
    """
    return {layout: len(content) for layout, (content, _) in _packed(model, plan).contents.items()}


@typed
def with_file_bytes(model: Any, plan: QuantizationPlan) -> QuantizationPlan:
    """Return a plan that knows the size of its file in each layout, and which weights the layout cannot keep.

    Arguments and errors are those of `predicted_bytes`.

    Example:
        >>> import tf_keras
        >>> import tf_laq as laq
        >>> model = tf_keras.Sequential([tf_keras.Input((100,)), tf_keras.layers.Dense(100, name="dense")])
        >>> plan = with_file_bytes(model, laq.uniform(model, "linear", 9))
        >>> plan.file_bytes["int8"] > 4 * 100 * 100, plan.widened["int8"], plan.widened["packed"]
        (True, ('dense/kernel',), ())
    """
    packed = _packed(model, plan)
    widened: dict[str, tuple[str, ...]] = {
        layout: tuple(dict.fromkeys(m.planned.name for m, c in zip(packed.matches, choices, strict=True) if not c.kept))
        for layout, (_, choices) in packed.contents.items()
    }
    sizes: dict[str, int] = {layout: len(content) for layout, (content, _) in packed.contents.items()}
    return dataclasses.replace(plan, file_bytes=sizes, widened=widened)


def _packed(model: Any, plan: QuantizationPlan | None) -> PackedModel:
    plan, signature = plan_for(model, plan), signature_of(model)
    return pack(quantized_model(model, plan), plan, signature)


def pack(
    model: Any, plan: QuantizationPlan | None, signature: Signature, min_runtime: str | None = None
) -> PackedModel:
    """Return a quantized model as a file in every layout.

    Args:
        model: The model, wrapped or not, with its weights on the plan's levels.
        plan: The plan, or None to leave all weights in float32.
        signature: The inputs of the file.
        min_runtime: The oldest runtime that the file has to load in, or None for any.

    Raises:
        ExportError: The weights are not on the plan's levels, one of them is not in the converted file, or a layer
            cannot be converted.
    """
    plain = _plain(model, plan)
    # Nothing is looked up before: the converter needs the memory.
    float_content = convert(plain, signature)
    tensors = adapter_of(plain).find_weights(plain)[0]
    planned = planned_tensors(tensors, plan)
    graph = Graph(float_content)
    _check_runtime(plain, graph.runtime(), min_runtime)
    constants = graph.float_constants()
    matches = match(constants, planned)
    written: dict[tuple[str, ...], bytes] = {}
    digest = plan.digest if plan else ""
    contents = {layout: encoded(float_content, matches, layout, min_runtime, digest, written) for layout in LAYOUTS}
    return PackedModel(plain, tensors, float_content, constants, matches, contents)


def plan_for(model: Any, plan: QuantizationPlan | str | None) -> QuantizationPlan | None:
    """Return the plan to export by; None for float32."""
    if isinstance(plan, QuantizationPlan):
        return plan
    if plan is None:
        carried = plan_of(model)
        if carried is not None:
            return carried
    elif plan == _FLOAT32:
        return None
    raise InputError(
        "plan",
        expected=f'a plan, "{_FLOAT32}", or a model that knows the plan it was quantized by',
        received="a model that knows none" if plan is None else repr(plan),
        remedy="Quantize the model with laq.apply or laq.bake, load it with laq.load_model, or give the plan.",
    )


def quantized_model(model: Any, plan: QuantizationPlan | None) -> Any:
    """Return the model that the file is made from: the one given, or what the plan makes of a float one."""
    adapter = adapter_of(model)
    if plan is None or adapter.is_wrapped(model):
        return model
    adapter.check_plan(model, plan)
    tensors = adapter.find_weights(model)[0]
    off = _off_levels(tensors, plan)
    if not off:
        return model
    planned = {(e.layer, e.weight) for e in plan.entries if e.quantizer is not None}
    if all(_is_float(t.values) or _is_constant(t.values) for t in tensors if (t.layer, t.weight) in planned):
        return adapter.bake(model, plan)
    raise _refusal(off, plan)


def planned_tensors(tensors: Sequence[WeightTensor], plan: QuantizationPlan | None) -> list[PlannedTensor]:
    """Return the codes of the tensors that a plan quantizes."""
    entries = {(e.layer, e.weight): e for e in plan.entries if e.quantizer is not None} if plan else {}
    planned = [(tensor, entries.get((tensor.layer, tensor.weight))) for tensor in tensors]
    return [PlannedTensor(t.layer, t.weight, _encode(entry, t.values)) for t, entry in planned if entry is not None]


def _encode(entry: PlanEntry, values: npt.NDArray[np.float32]) -> quantizers.Encoding:
    quantizer = quantizers.get(entry.quantizer or "", entry.bits)
    encoding = quantizer.encode(values)
    if np.array_equal(encoding.decode(), values):
        return encoding
    # Levels that move when computed anew from quantized values: the values are their own codebook.
    codebook, codes = np.unique(values, return_inverse=True)
    return quantizers.Encoding(codes.reshape(values.shape).astype(np.uint16), codebook)


def encoded(
    float_content: bytes,
    matches: Sequence[Match],
    layout: Layout,
    min_runtime: str | None,
    plan: str = "",
    written: dict[tuple[str, ...], bytes] | None = None,
) -> tuple[bytes, list[Choice]]:
    """Return the file in a layout, with the digest of its plan, and the choice of an encoding for each match.

    Layouts that choose the same encodings share a file: in `written`, by these.
    """
    written = {} if written is None else written
    possible: dict[tuple[str, ...], list[Choice]] = {}
    # What an encoding costs depends on the other tensors: what is chosen for each may be beaten by a faster layout.
    for allowed in _FASTER[layout]:
        for overhead in CODEBOOK_OVERHEADS if allowed == "packed" else CODEBOOK_OVERHEADS[:1]:
            choices = [
                Choice("float32", "the graph returns it", kept=False)
                if m.constant.is_output
                else choose(m.tensor, allowed, m.constant.consumers, min_runtime, overhead)
                for m in matches
            ]
            possible.setdefault(tuple(choice.encoding for choice in choices), choices)
    for encodings, choices in possible.items():
        if encodings not in written:
            written[encodings] = _rewritten(float_content, matches, choices, plan)
    candidates = [(written[encodings], choices) for encodings, choices in possible.items()]
    return min(candidates, key=lambda candidate: (sum(not choice.kept for choice in candidate[1]), len(candidate[0])))


def _rewritten(float_content: bytes, matches: Sequence[Match], choices: Sequence[Choice], plan: str) -> bytes:
    replacements = [
        Replacement(m.constant, m.tensor, choice.encoding) for m, choice in zip(matches, choices, strict=True)
    ]
    if not matches:  # Nothing is changed: it keeps its descriptions.
        graph = Graph(float_content)
        return graph.to_bytes(graph.runtime(), plan)
    return rewrite(float_content, replacements, plan)


def _check_runtime(model: Any, needed: str, min_runtime: str | None) -> None:
    if min_runtime is not None and version_key(needed) > version_key(min_runtime):
        raise ExportError(
            f"model {model.name!r}",
            expected=f"operators that runtime {min_runtime} has",
            received=f"operators that need runtime {needed}, without any encoding of weights",
            remedy=f"Ask for min_runtime={needed!r}, or replace the layers that need it.",
        )


def _plain(model: Any, plan: QuantizationPlan | None) -> Any:
    """Return a quantized model without wrappers."""
    adapter = adapter_of(model)
    if not adapter.is_wrapped(model):
        return model
    plain = adapter.strip(model)
    if plan is not None:
        adapter.check_plan(plain, plan)
        off = _off_levels(adapter.find_weights(plain)[0], plan)
        if off:
            raise _refusal(off, plan)
    return plain


def _off_levels(tensors: Sequence[WeightTensor], plan: QuantizationPlan) -> list[PlanEntry]:
    """Return the entries of a plan whose weights are not on the levels of their quantizers."""
    values = {(t.layer, t.weight): t.values for t in tensors}
    entries = (entry for entry in plan.entries if entry.quantizer is not None)
    return [entry for entry in entries if not _on_levels(entry, values[entry.layer, entry.weight])]


def _refusal(off: Sequence[PlanEntry], plan: QuantizationPlan) -> ExportError:
    first, count = off[0], sum(entry.quantizer is not None for entry in plan.entries)
    return ExportError(
        f"layer {first.layer!r}, weight {first.weight!r}",
        expected=f"values on the levels of the plan's quantizer ({first.quantizer}, {first.bits} bits)",
        received=f"other values ({len(off)} of {count} weights are off their levels)",
        remedy="Export the float model with the plan, or the quantized model with the plan it was made by.",
    )


def _on_levels(entry: PlanEntry, values: npt.NDArray[np.float32]) -> bool:
    """Return whether values are on the levels of their planned quantizer."""
    quantizer = quantizers.get(entry.quantizer or "", entry.bits)
    projected = quantizer.quantize(values)
    if np.array_equal(projected, values):
        return True
    # The levels of some quantizers move when computed anew from quantized values: there, only count them.
    moves = not np.array_equal(quantizer.quantize(projected), projected)
    return moves and np.unique(values).size <= 2**entry.bits


def _is_float(values: npt.NDArray[np.float32]) -> bool:
    """Return whether values look trained: most that are not zero differ, or too many do for any quantizer."""
    present = values[values != 0]
    # Of trained weights, a few are enough to know; sorting all takes longer than anything else here.
    parts = (present[: 4 * _MOST_LEVELS], present)
    return any(np.unique(part).size > min(present.size / 2, _MOST_LEVELS) for part in parts)


def _is_constant(values: npt.NDArray[np.float32]) -> bool:
    return bool(values.min() == values.max())
