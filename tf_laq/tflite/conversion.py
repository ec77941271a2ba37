"""From a Keras model to the bytes of a float32 TensorFlow Lite file with a batch of one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import tensorflow as tf

from tf_laq._internal import files
from tf_laq._internal.messages import without_native_messages
from tf_laq.adapters.inference import in_float32, without_state
from tf_laq.adapters.signature import Signature
from tf_laq.errors import InputError
from tf_laq.tflite.graph import Graph
from tf_laq.tflite.probing import one_output
from tf_laq.tflite.report import ExportError


def convert(model: Any, signature: Signature) -> bytes:
    """Return a model as a TensorFlow Lite file with built-in operators and float32 values only.

    Layers of other dtype policies compute in float32 in it, and recurrent layers start from their initial state.

    Args:
        model: A built Keras model.
        signature: Its inputs, which are those of the file.

    Raises:
        InputError: The model has several outputs.
        ExportError: TensorFlow Lite has no operator for a layer, or the conversion fails in another way.
    """
    converter, function = _converter(model, signature)
    try:
        with without_native_messages():
            content = bytes(converter.convert())
    except Exception as error:  # Not only ConverterError: the passes before it raise their own.
        files.check_temporary(error)
        expected = "layers that TensorFlow Lite has built-in operators for"
        raise _refusal(model, expected, error, _unsupported(str(error), function.graph)) from error
    return content if len(signature.inputs) == 1 else _in_order(content, [each.name for each in signature.inputs])


def stock_files(model: Any, signature: Signature) -> dict[str, bytes]:
    """Return the files that the stock converter makes with its own ways of making them small, by name."""
    found = {}
    for name in ("float16", "Optimize.DEFAULT"):
        converter, _ = _converter(model, signature)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if name == "float16":
            converter.target_spec.supported_types = [tf.float16]
        with without_native_messages():
            found[name] = bytes(converter.convert())
    return found


def _converter(model: Any, signature: Signature) -> tuple[Any, Any]:
    specs = [tf.TensorSpec((1, *each.shape), each.dtype, name=each.name) for each in signature.inputs]

    def traced(*values: Any) -> Any:
        return model(signature.packed(values), training=False)

    try:
        with in_float32(model), without_state(model):
            function = tf.function(traced).get_concrete_function(*specs)
    except InputError:
        raise
    except Exception as error:  # Layers raise whatever their authors chose.
        shapes = ", ".join(str(spec.shape) for spec in specs)
        raise _refusal(model, f"a model that can be traced at shape {shapes}", error) from error
    one_output(model, function.structured_outputs)
    holder = tf.Module()
    # The module keeps them alive and known to the converter; a variable of Keras 3 has TensorFlow's inside.
    holder.variables_to_store = [v if isinstance(v, tf.Variable) else v.value for v in model.variables]
    return tf.lite.TFLiteConverter.from_concrete_functions([function], holder), function


def _in_order(content: bytes, names: Sequence[str]) -> bytes:
    """Return a file with its inputs in the order of the names: the converter sorts them as it likes."""
    graph = Graph(content)
    (signature,) = graph.model.signatureDefs
    places = {m.name.decode() if isinstance(m.name, bytes) else m.name: m.tensorIndex for m in signature.inputs}
    graph.subgraphs[0].inputs = np.array([places[name] for name in names], np.int32)
    return graph.to_bytes(graph.runtime())


def _refusal(model: Any, expected: str, error: Exception, reason: str = "") -> ExportError:
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ExportError(
        f"model {model.name!r}",
        expected=expected,
        received=reason or first,
        remedy="Replace that layer, or run that part of the model outside the file.",
    )


def _unsupported(message: str, graph: Any) -> str:
    """Return the operators the converter complains of, each with the layers it comes from."""
    listed = re.search(r"(?:TF Select|Custom) ops: (.+)", message)
    kinds = [kind.strip() for kind in listed.group(1).split(",")] if listed else []
    places = {kind: sorted(_names(graph, kind)) for kind in kinds}
    return "; ".join(f"operator {kind}" + (f" in {', '.join(at)}" if at else "") for kind, at in places.items())


def _names(graph: Any, kind: str) -> Iterable[str]:
    """Return where the operations of a kind are, loop and branch bodies included."""
    nodes, functions = attrgetter("node", "library")(graph.as_graph_def())
    inner = (node for function in functions.function for node in function.node_def)
    return {node.name.rpartition("/")[0] or node.name for node in (*nodes, *inner) if node.op == kind}
