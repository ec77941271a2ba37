"""The commands: each turns text into the arguments of a library function and prints what it returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tf_laq import api, policies, quantizers
from tf_laq.cli import evaluation, retraining, tflite
from tf_laq.cli.arguments import check_ending, parse_overrides, words
from tf_laq.errors import InputError
from tf_laq.saving import load_model, save_model

DATA_DRIVEN = ("hawq", "ans")


def demo(
    dataset: str = "digits",
    out: str = "results",
    recipe: str = "fast",
    preset: str = "standard",
    examples: int = 500,
    attacks: str = "",
    surrogates: str = "twin",
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
) -> None:
    """Run the whole experiment: train, quantize in three ways, attack, export, report.

    Trains an adversarially robust network and an independent twin, quantizes the first to 3-bit linear (q1),
    3-bit log (q2) and by Algorithm 1 (lq), attacks all four, and writes tables, plots, report.html and
    lq.tflite. Networks that an earlier run left in the folder are used again.

    Args:
        dataset: digits, mnist or cifar10.
        out: Results folder.
        recipe: Training recipe: fast, or full.
        preset: The attacks and their strengths: standard, paper or strong.
        examples: Number of test images to attack.
        attacks: Columns of the table, separated by commas; empty for all.
        surrogates: What gray-box examples are made on: twin, or twin,adv.
        keras: Version of Keras that the networks are built with: 2 (tf_keras) or 3.
        seed: Seed of the network and the attacks; the twin has the next one.
        retrain: Train even where the folder has the network.
    """
    from tf_laq import experiment

    result = experiment.run(
        dataset,
        out=out,
        recipe=recipe,
        preset=preset,
        examples=examples,
        attacks=words(attacks) or None,
        surrogates=words(surrogates),
        keras=keras,
        seed=seed,
        retrain=retrain,
    )
    print(f"\n{result}")


def train(
    dataset: str = "digits",
    out: str = "model.keras",
    recipe: str = "fast",
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
) -> None:
    """Train a network adversarially and save it.

    A file that was trained with the same data set, recipe and seed is left as it is.

    Args:
        dataset: digits, mnist or cifar10.
        out: File to write, ending in .keras; what it was trained with goes beside it, into .training.json.
        recipe: Training recipe: fast, full, plain (no attack); for mnist also madry and separable, other networks.
        keras: Version of Keras that the network is built with: 2 (tf_keras) or 3.
        seed: Seed of the weights, the order of the images and the random starts.
        retrain: Train even if the file is there.
    """
    from tf_laq import datasets, experiment, training

    check_ending(out, ".keras", "out")
    settings = training.recipe(dataset, recipe)
    data = datasets.load(dataset, seed=seed)
    model, _ = experiment.trained_model(data, settings, keras, seed, Path(out), retrain=retrain)
    print(f"{out}: {model.name}, {model.count_params():,} parameters; see laq evaluate for its accuracy")


def quantize(
    model: str,
    out: str = "quantized.keras",
    method: str = policies.DEFAULT,
    quantizer: str = "",
    bits: int | None = None,
    max_bits: int | None = None,
    average_bits: float | None = None,
    max_bytes: int | None = None,
    dataset: str = "",
    examples: int = 256,
    seed: int = 0,
    norm: str = "spectral",
    overrides: str = "",
) -> None:
    """Choose a quantizer and a bit width for every kernel, and save the quantized model and the plan.

    Args:
        model: Saved Keras model.
        out: File to write, ending in .keras; the plan goes beside it, into .plan.json.
        method: guarded (the fewest bits within relative limits), paper (its Algorithm 1), budget (the least
            predicted loss within a size), uniform (the same everywhere), random (within a size); and, on images of
            a data set, hawq (error times curvature, within a size) and ans (by adversarial noise sensitivity).
        quantizer: Quantizers to choose from (<quantizers>), separated by commas; empty for all but clipped, for paper
            for linear and log. For uniform, the one to use.
        bits: Bit width, for uniform.
        max_bits: Widest setting to try; for ans, that of the most sensitive layer.
        average_bits: Most bits a weight on average, for budget, random and hawq; either this or max_bytes.
        max_bytes: Most bytes of all codes.
        dataset: digits, mnist or cifar10, for hawq and ans.
        examples: Number of its training images to measure on.
        seed: Seed of random, hawq and ans.
        norm: Norm that is limited: spectral or inf.
        overrides: Layers set by hand, as "conv1=linear:8,dense*=float32": a name or shell pattern, then a
            quantizer with its bits, or float32.
    """
    check_ending(out, ".keras", "out")
    by_hand = parse_overrides(overrides)
    network = load_model(model)
    methods = tuple(words(quantizer)) or None
    size: dict[str, Any] = {"average_bits": average_bits, "max_bytes": max_bytes}
    if method == "uniform":
        if not quantizer or bits is None or max_bits is not None:
            raise InputError(
                "method uniform", expected="a quantizer and bits", received=_given(quantizer, bits, max_bits)
            )
        policy: policies.Policy | policies.DataDrivenPolicy = policies.Uniform(quantizers.get(quantizer, bits))
    elif bits is not None:
        raise InputError("bits", expected=f"none with {method}", received=bits, remedy="Use max_bits.")
    elif method in DATA_DRIVEN:
        policy = _data_driven(
            method, network, dataset, examples, quantizers=methods, max_bits=max_bits, seed=seed, size=size
        )
    else:
        if method not in policies.NAMES:
            names = ["uniform", *policies.NAMES, *DATA_DRIVEN]
            raise InputError("method", expected=f"one of {', '.join(names)}", received=repr(method))
        seeded = {"seed": seed} if method == "random" else {}
        policy = policies.get(method, quantizers=methods, max_bits=max_bits, **size, **seeded)
    plan = api.search(network, policy=policy, norm=norm, overrides=by_hand)  # type: ignore[arg-type]
    save_model(api.bake(network, plan), out)
    plan_path = Path(out).with_suffix(".plan.json")
    plan.save(plan_path)
    print(f"{plan}\n\nQuantized model: {out}\nPlan: {plan_path}")


def _data_driven(
    method: str,
    network: Any,
    dataset: str,
    examples: int,
    *,
    quantizers: tuple[str, ...] | None,
    max_bits: int | None,
    seed: int,
    size: dict[str, Any],
) -> policies.DataDrivenPolicy:
    """Return the policy `method`, measured on the first training images of the data set."""
    from tf_laq import datasets
    from tf_laq._internal.validation import whole
    from tf_laq.attacks.battery import Battery

    whole("examples", examples)
    if not dataset:
        raise InputError("dataset", expected=f"a data set, which {method} measures on", received="none")
    train = datasets.load(dataset).train
    batch = train.images[:examples], train.labels[:examples]
    bits = 8 if max_bits is None else max_bits
    if method == "hawq":
        return policies.Hawq(*batch, limit=policies.Limit(**size), quantizers=quantizers, max_bits=bits, seed=seed)
    for name, value in size.items():
        if value is not None:
            raise InputError(name, expected="none with ans", received=value, remedy="Use max_bits.")
    attack = Battery.preset(dataset).only("pgd").columns[0].attacks["white"]
    return policies.NoiseSensitivity(*batch, attack=attack, initial_bits=bits, quantizers=quantizers, seed=seed)


def _given(quantizer: str, bits: int | None, max_bits: int | None) -> str:
    settings = {"quantizer": quantizer or None, "bits": bits, "max_bits": max_bits}
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None) or "neither"


COMMANDS: dict[str, Callable[..., object]] = {
    "demo": demo,
    "train": train,
    "feedback": retraining.feedback,
    "quantize": quantize,
    "finetune": retraining.finetune,
    "correct": retraining.correct,
    "recalibrate": retraining.recalibrate,
    "evaluate": evaluation.evaluate,
    "pictures": evaluation.pictures,
    "curve": evaluation.curve,
    "export": tflite.export,
    "inspect": tflite.inspect,
    "report": evaluation.report,
}
