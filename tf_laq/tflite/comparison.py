"""How close the outputs of a file come to those of its model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tf_laq.adapters.inference import other_precision
from tf_laq.adapters.signature import Signature
from tf_laq.tflite.probing import Values, outputs_of
from tf_laq.tflite.report import ExportError, Parity
from tf_laq.tflite.running import TFLiteModel

TOLERANCE = 1e-5
"""Largest accepted |file - model|, in units of max |model|; another order of sums gives 1e-6."""

ROUNDINGS = 32
"""Largest accepted difference from a model that computes in another dtype than float32, in roundings of that dtype."""

_EPSILONS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float64": 2.0**-52}


def file_outputs(content: bytes, model: Any, inputs: Values) -> npt.NDArray[np.float32]:
    """Return the outputs of a file, one row an example."""
    run = TFLiteModel(content, f"the file made from model {model.name!r}")
    return run(inputs if len(inputs) > 1 else inputs[0])


def parity_of(outputs: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], relative_tolerance: float) -> Parity:
    """Return how outputs compare with the expected ones, within a tolerance in units of the largest of these."""
    magnitude = float(np.abs(expected).max())
    return Parity(
        images=len(outputs),
        max_difference=float(np.abs(outputs - expected).max()),
        max_output=magnitude,
        tolerance=relative_tolerance * magnitude,
        differing_predictions=int(np.sum(outputs.argmax(-1) != expected.argmax(-1))),
    )


def check_parity(model: Any, parity: Parity, float_parity: Parity) -> None:
    """Raise an `ExportError` if the file's outputs are not the model's."""
    if not parity.holds:
        raise ExportError(
            f"model {model.name!r}",
            expected=f"a file whose outputs are within {parity.tolerance:.2g} of the model's",
            received=f"outputs that differ by up to {parity.max_difference:.2g} on {parity.images} images "
            f"(those of the plain float32 file by {float_parity.max_difference:.2g})",
            remedy="Check the model for layers that are random in inference mode.",
        )


def own_parity(model: Any, signature: Signature, inputs: Values, outputs: npt.NDArray[np.float32]) -> Parity | None:
    """Return the comparison with a model as it computes in another precision than float32; None if it does not."""
    dtype = other_precision(model)
    if dtype is None:
        return None
    tolerance = max(TOLERANCE, ROUNDINGS * _EPSILONS[dtype])
    parity = parity_of(outputs, outputs_of(model, signature, inputs), tolerance)
    if not parity.holds:
        raise ExportError(
            f"model {model.name!r}",
            expected=f"a float32 file whose outputs are within {parity.tolerance:.2g} of the model's in {dtype}",
            received=f"outputs that differ by up to {parity.max_difference:.2g} on {parity.images} images",
            remedy=f"Give images= that the model is meant for: on these {dtype} is too coarse, or overflows.",
        )
    return parity
