"""The command that quantizes a model, and the policy that its options stand for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tf_laq import api, lipschitz, policies, quantizers as known_quantizers
from tf_laq._internal import files
from tf_laq._internal.validation import one_of
from tf_laq.adapters import check_float
from tf_laq.cli.arguments import (
    DataArguments,
    battery_of,
    check_ending,
    first_images,
    load_model,
    parse_overrides,
    words,
)
from tf_laq.cli.checks import check_models, check_needed, check_new
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan
from tf_laq.policies import DataDrivenPolicy, Policy
from tf_laq.saving import save_model


def quantize(
    model: str,
    *,
    out: str = "quantized.keras",
    policy: str = policies.DEFAULT,
    quantizers: str = "",
    bits: int | None = None,
    max_bits: int | None = None,
    average_bits: float | None = None,
    max_bytes: int | None = None,
    data: str = "",
    examples: int | None = None,
    epsilon: str = "",
    attack_norm: str = "",
    seed: int | None = None,
    norm: str = "spectral",
    overrides: str = "",
    layout: str = "",
    overwrite: bool = False,
    size: str = "",
    data_dir: str = "",
    download: bool = False,
    unsafe: bool = False,
) -> None:
    """Choose a quantizer and a bit width for every kernel, and save the quantized model and the plan.

    Args:
        model: Saved Keras model in full precision.
        out: File to write, ending in .keras. It holds the plan, which goes beside it too, into .plan.json.
        policy: What chooses: guarded (the fewest bits within relative limits), paper (Algorithm 1), budget (the least
            predicted loss within a size), random (within a size), uniform (the same everywhere); and, on images of
            a data set, calibrated (the least change of the predictions, within a size), hawq (error times curvature,
            within a size) and noise_sensitivity (bits by how much adversarial noise changes a layer's outputs).
        quantizers: Quantizers to choose from (<quantizers>), separated by commas; empty for all but clipped, for paper
            for linear and log. For uniform, the one to use.
        bits: Bit width, for uniform.
        max_bits: Widest setting to try; for noise_sensitivity, that of the most sensitive layer.
        average_bits: Most bits a weight on average, for budget, random, calibrated and hawq; either this or max_bytes.
        max_bytes: Most bytes of all codes, for the same. The file is larger: laq compress --max_bytes limits the file.
        data: For calibrated, hawq and noise_sensitivity, a data set: digits, mnist, cifar10 or another name of
            TensorFlow Datasets, an .npz file, or a folder of images by class.
        examples: Number of its training images to measure on; unless told 64 for calibrated, 256 for the others.
        epsilon: Radius of the attack of calibrated and noise_sensitivity, such as 8/255 or 0.3; empty for that of
            digits, mnist and cifar10.
        attack_norm: Norm of that radius: linf, unless told, or l2.
        seed: Seed of random, calibrated, hawq and noise_sensitivity; 0 unless told.
        norm: Norm that is limited: spectral or inf.
        overrides: Layers set by hand, as '{"conv*": "linear:8", "dense1": "float32"}': a name or shell pattern, then
            a quantizer with its bits, or float32.
        layout: Choose only what this layout of the file keeps: int8, auto or packed, as in laq export; empty for any.
        overwrite: Replace the two files if they are there.
        size: Height and width that all images get, such as 96 or 96,128; empty for their own.
        data_dir: Folder of TensorFlow Datasets; empty for TFDS_DATA_DIR, or its default.
        download: Download a data set of TensorFlow Datasets that is not there.
        unsafe: Load a file even if that may run code from it, as Lambda layers and SavedModel folders do.
    """
    check_ending(out, ".keras")
    plan_path = Path(out).with_suffix(".plan.json")
    check_models(model)
    check_new(out, plan_path, overwrite=overwrite)
    one_of("norm", norm, lipschitz.NORMS)
    if not data:
        check_needed("data", size=size, data_dir=data_dir, download=download)
    by_hand = parse_overrides(overrides)
    for pattern, setting in by_hand.items():
        known_quantizers.parse(setting, f"overrides[{pattern!r}]")
    chosen = policy_of(
        policy,
        quantizers=tuple(words(quantizers)) or None,
        bits=bits,
        max_bits=max_bits,
        average_bits=average_bits,
        max_bytes=max_bytes,
        data=DataArguments(data, size, data_dir, download) if data else None,
        examples=examples,
        epsilon=epsilon or None,
        attack_norm=attack_norm or None,
        seed=seed,
    )
    network = load_model(model, unsafe)
    check_float("model", network)
    plan = api.search(
        network,
        policy=chosen,
        norm=norm,  # type: ignore[arg-type]
        overrides=by_hand,
        layout=layout or None,  # type: ignore[arg-type]
    )
    plan, no_file = _with_file_bytes(network, plan)
    quantized = api.bake(network, plan)
    with files.replacing_together(plan_path.parent) as temporary:
        save_model(quantized, temporary / Path(out).name)
        plan.save(temporary / plan_path.name)
    print(f"{plan}\n{no_file}\nQuantized model: {out}\nPlan: {plan_path}")


def _with_file_bytes(model: Any, plan: QuantizationPlan) -> tuple[QuantizationPlan, str]:
    """Return the plan with the sizes of its file; if there can be no file, the plan as it is, and why."""
    from tf_laq.tflite import with_file_bytes

    try:
        return with_file_bytes(model, plan), ""
    except InputError as error:  # A network need not fit TensorFlow Lite to be quantized.
        return plan, f"No TensorFlow Lite file can be written: {error}\n"


def policy_of(name: str, **options: Any) -> Policy | DataDrivenPolicy:
    """Return the policy of a name, with the options that are not None.

    Raises:
        InputError: There is no such policy, it does not have one of the options or needs another, or a value is wrong.

    Example:
        >>> policy_of("uniform", quantizers=("linear",), bits=3, average_bits=None).describe()
        'uniform linear, 3 bits'
    """
    one_of("policy", name, [*policies.NAMES, *_OTHERS])
    given = {option: value for option, value in options.items() if value is not None}
    known = policies.settings_of(name) if name in policies.NAMES else inspect.signature(_OTHERS[name]).parameters
    for option, value in given.items():
        if option not in known:
            remedy = f"It has {', '.join(f'--{other}' for other in options if other in known)}."
            raise InputError(option, expected=f"none with the policy {name}", received=repr(value), remedy=remedy)
    if name in policies.NAMES:
        return policies.get(name, **given)
    for option, parameter in inspect.signature(_OTHERS[name]).parameters.items():
        if option not in given and parameter.default is parameter.empty:
            raise InputError(option, expected=f"a value, which the policy {name} needs", received="none")
    return _OTHERS[name](**given)


def _uniform(quantizers: tuple[str, ...], bits: int) -> Policy:
    if len(quantizers) != 1:
        raise InputError("quantizers", expected="exactly one with the policy uniform", received=", ".join(quantizers))
    return policies.Uniform(known_quantizers.get(quantizers[0], bits))


def _calibrated(
    data: DataArguments,
    examples: int = 64,
    epsilon: str = "",
    attack_norm: str = "linf",
    average_bits: float | None = None,
    max_bytes: int | None = None,
    quantizers: tuple[str, ...] | None = None,
    max_bits: int | None = None,
    seed: int = 0,
) -> DataDrivenPolicy:
    limit = policies.Limit(average_bits=average_bits, max_bytes=max_bytes)
    attack = battery_of(data.data, "standard", epsilon, attack_norm).correction_attack
    images = first_images(data.load(), "train", examples).images
    return policies.Calibrated(images, limit=limit, attack=attack, quantizers=quantizers, max_bits=max_bits, seed=seed)


def _hawq(
    data: DataArguments,
    examples: int = 256,
    average_bits: float | None = None,
    max_bytes: int | None = None,
    quantizers: tuple[str, ...] | None = None,
    max_bits: int = 8,
    seed: int = 0,
) -> DataDrivenPolicy:
    limit = policies.Limit(average_bits=average_bits, max_bytes=max_bytes)
    seen = first_images(data.load(), "train", examples)
    return policies.Hawq(seen.images, seen.labels, limit=limit, quantizers=quantizers, max_bits=max_bits, seed=seed)


def _noise_sensitivity(
    data: DataArguments,
    examples: int = 256,
    epsilon: str = "",
    attack_norm: str = "linf",
    quantizers: tuple[str, ...] | None = None,
    max_bits: int = 8,
    seed: int = 0,
) -> DataDrivenPolicy:
    attack = battery_of(data.data, "standard", epsilon, attack_norm).pgd
    seen = first_images(data.load(), "train", examples)
    return policies.NoiseSensitivity(
        seen.images, seen.labels, attack=attack, initial_bits=max_bits, quantizers=quantizers, seed=seed
    )


_OTHERS: dict[str, Callable[..., Policy | DataDrivenPolicy]] = {
    "uniform": _uniform,
    "calibrated": _calibrated,
    "hawq": _hawq,
    "noise_sensitivity": _noise_sensitivity,
}
"""The policies that `policies.get` does not know; their parameters are the options that they have."""
