"""Search, apply, bake, strip: the functions of `import tf_laq as laq` that take a Keras model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tf_laq import policies, quantizers, sensitivity
from tf_laq._internal.typed import typed
from tf_laq._internal.validation import one_of
from tf_laq.adapters import adapter_of, carry, plan_of
from tf_laq.errors import InputError
from tf_laq.lipschitz import NormName
from tf_laq.plan import LeftAlone, QuantizationPlan
from tf_laq.policies import DataDrivenPolicy, Policy, Uniform, make_plan
from tf_laq.quantizers import Quantizer
from tf_laq.sensitivity import IsAllowed, SensitivityTable, WeightTensor

if TYPE_CHECKING:
    from tf_laq.tflite.encodings import Layout

Overrides = Mapping[str, str | Quantizer | None]
"""Shell pattern of the layer path -> "quantizer:bits", "float32", a quantizer, or None for float32."""


@typed
def search(
    model: Any,
    *,
    policy: str | Policy | DataDrivenPolicy = policies.DEFAULT,
    average_bits: float | None = None,
    max_bytes: int | None = None,
    quantizers: tuple[str, ...] | None = None,
    max_bits: int | None = None,
    norm: NormName = "spectral",
    overrides: Overrides | None = None,
    layout: Layout | None = None,
    progress: bool = True,
) -> QuantizationPlan:
    """Choose a quantizer and a bit width for every kernel, by default the fewest bits within relative limits.

    Args:
        model: A built Keras model: Sequential, functional, nested or subclassed.
        policy: What chooses: "guarded" for the fewest bits within relative limits, "paper" for Algorithm 1, "budget"
            for the least predicted loss within a size, none of which needs data; or an object of `tf_laq.policies`.
        average_bits: Most bits a weight on average, for "budget"; either this or `max_bytes`.
        max_bytes: Most bytes of all codes, for "budget". The file is larger: `laq.Rule` limits that of `laq.compress`.
        quantizers: Names of the quantizers to choose from; None for linear and log with "paper", for all with the
            others.
        max_bits: Widest setting to try; None for the policy's own.
        norm: "spectral" (p = 2) or "inf".
        overrides: Settings by hand: shell pattern of the layer path -> "quantizer:bits", "float32", a quantizer, or
            None for float32. The last pattern that matches counts.
        layout: The layout of the `.tflite` file, "int8", "packed" or "auto" as in `export_tflite`: chosen are only
            settings whose bits it keeps. None for any setting; a layout may then store some kernels in float32.
        progress: Show a progress bar; in files and pipes, a line a minute.

    Raises:
        InputError: The model is not built, has NaN weights or nothing to quantize, an argument is wrong or not one of
            the policy's, or the layout keeps none of a kernel's settings.

    Warns:
        UnsatisfiedWarning: A kernel meets the policy's conditions under no setting.

    Example:
        >>> import tf_keras
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(2, kernel_initializer="ones", name="dense")])
        >>> model.build((None, 3))
        >>> entry = search(model).entries[0]
        >>> entry.layer, entry.quantizer, entry.bits
        ('dense', 'log', 1)
        >>> search(model, overrides={"dense": "linear:8"}).entries[0].bits
        8
    """
    is_allowed = None if layout is None else _kept_by(layout)
    settings: dict[str, Any] = {
        "average_bits": average_bits,
        "max_bytes": max_bytes,
        "quantizers": quantizers,
        "max_bits": max_bits,
    }
    if not isinstance(policy, (Policy, DataDrivenPolicy)):
        policy = policies.get(policy, **settings)
    else:
        for name, value in settings.items():
            if value is not None:
                raise InputError(name, expected="none beside a policy object, which has its own", received=repr(value))
    if isinstance(policy, DataDrivenPolicy):
        policy = policy.measure(model, progress=progress)
    plan = _plan(model, policy, norm, overrides, progress, is_allowed)
    return plan if layout is None else dataclasses.replace(plan, policy=f"{plan.policy}; layout {layout}")


@typed
def uniform(
    model: Any,
    quantizer: str,
    bits: int,
    *,
    norm: NormName = "spectral",
    overrides: Overrides | None = None,
    progress: bool = True,
) -> QuantizationPlan:
    """Plan the same quantizer and bit width for every kernel; the other arguments are those of `search`."""
    return _plan(model, Uniform(quantizers.get(quantizer, bits)), norm, overrides, progress)


@typed
def measure(model: Any, *, norm: NormName = "spectral", progress: bool = True) -> SensitivityTable:
    """Return the norms of every kernel under every setting of every registered quantizer."""
    return sensitivity.measure(_weights(model)[0], norm=norm, progress=progress)


@typed
def apply(model: Any, plan: QuantizationPlan | None = None) -> Any:
    """Return a trainable model that quantizes its weights at every step; the one given stays as it is.

    The gradient goes straight through to the float weights. `bake` gives a plain model whose outputs are the same bits.

    Args:
        model: A built Keras model.
        plan: Which quantizer and bit width each kernel gets; None for `search(model)`.

    Returns:
        The new model, not compiled; `plan_of` gives its plan.

    Raises:
        InputError: The plan is for another model, or a subclassed model cannot be copied or, in Keras 2, wrapped.

    Example:
        >>> import numpy as np, tf_keras
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(2, name="dense")])
        >>> model.build((None, 3))
        >>> quantized = apply(model, uniform(model, "linear", 2))
        >>> np.unique(strip(quantized).layers[0].kernel).size <= 3
        True
    """
    plan = search(model) if plan is None else plan
    return carry(adapter_of(model).wrap(model, plan), plan)


@typed
def bake(model: Any, plan: QuantizationPlan | None = None) -> Any:
    """Return a plain model with quantized values as weights; the one given stays as it is.

    Arguments, result and errors are those of `apply`, but every subclassed model that can be copied is taken.

    Example:
        >>> import numpy as np, tf_keras
        >>> model = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2, name="dense")])
        >>> np.unique(bake(model, uniform(model, "linear", 2)).layers[0].kernel).size <= 3
        True
    """
    plan = search(model) if plan is None else plan
    return carry(adapter_of(model).bake(model, plan), plan)


@typed
def strip(model: Any) -> Any:
    """Return a model that `apply` wrapped as a plain one with quantized values as weights; same outputs, same bits.

    Raises:
        InputError: The model has no wrapped layer.
    """
    return carry(adapter_of(model).strip(model), plan_of(model))


def _plan(
    model: Any,
    policy: Policy,
    norm: NormName,
    overrides: Overrides | None,
    progress: bool,
    is_allowed: IsAllowed | None = None,
) -> QuantizationPlan:
    tensors, left_alone = _weights(model)
    return make_plan(
        tensors, left_alone, policy, norm=norm, overrides=overrides, is_allowed=is_allowed, progress=progress
    )


def _kept_by(layout: Layout) -> IsAllowed:
    """Return which settings of a weight tensor a layout keeps."""
    from tf_laq.tflite.encodings import LAYOUTS, keeps

    one_of("layout", layout, LAYOUTS)
    return lambda tensor, quantizer: keeps(layout, quantizer.codebook(tensor.values), tensor.values.ndim)


def _weights(model: Any) -> tuple[list[WeightTensor], list[LeftAlone]]:
    tensors, left_alone = adapter_of(model).find_weights(model)
    if not tensors:
        layers = ", ".join(f"{layer.layer} ({layer.kind})" for layer in left_alone)
        raise InputError(
            "model",
            expected="at least one layer with a kernel",
            received=f"a model without any: {layers or 'no layers'}",
            remedy="See tf_laq.adapters.kernels for the layers that are known.",
        )
    return tensors, left_alone
