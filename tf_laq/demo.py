"""The paper's experiment in one call, as an example of the whole package: train, quantize, attack, export, report.

Source: Song, Ranjan, Li, "A Layer-wise Adversarial-aware Quantization Optimization for Improving Robustness"
(2021), section 6. Its four models are `adv` (adversarially trained, full precision), `q1` (3-bit linear
everywhere), `q2` (3-bit log everywhere) and `lq` (Algorithm 1).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import tf_laq as laq
from tf_laq._internal import files
from tf_laq._internal.messages import Announce, print_now
from tf_laq._internal.validation import one_of, whole
from tf_laq.attacks import Battery
from tf_laq.datasets import Dataset
from tf_laq.report import ModelSize, Summary, size_table
from tf_laq.training import Recipe

PLAN_FILES = {"q1": "plan_q1.json", "q2": "plan_q2.json", "lq": "plan.json"}


def run(
    dataset: str | Dataset = "digits",
    *,
    out: str | os.PathLike[str],
    recipe: str | Recipe = "fast",
    examples: int = 500,
    preset: str = "standard",
    attacks: Sequence[str] | None = None,
    surrogates: Sequence[str] = ("twin",),
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
    command: str = "",
    announce: Announce = print_now,
    progress: bool = True,
) -> Summary:
    """Train `adv` and an independent twin, quantize `adv` in three ways, attack the four models, and export `lq`.

    A trained model is used again if the folder has it with the same data set, recipe, seed and version, and an
    evaluation that was interrupted goes on.

    Args:
        dataset: What `datasets.load` returned, or its name.
        out: The folder of all results.
        recipe: A training recipe with an attack, or the name of one for this data set.
        examples: Number of test images to attack; fewer if the data set has fewer.
        preset: The attacks and their strengths: "standard", "paper" or "strong".
        attacks: Names of the table's columns; None for all.
        surrogates: Where gray-box examples come from: "twin", and "adv" for the quantized models. A gray-box
            cell then counts what withstands both, which makes the row of `adv` look better beside the others.
        keras: The version of Keras that the networks are built with, 2 or 3.
        seed: Seed of `adv`, of the attacks and of the data split; the twin has the next one.
        retrain: Train even where there is a trained model.
        command: The command line that makes these results, for the report.
        announce: Receives a line at the start of each stage.
        progress: Show progress bars on a terminal.

    Returns:
        All results, as they are saved in `experiment.json`; they print as tables.

    Raises:
        InputError: An argument is wrong.
        OSError: The folder cannot be written.

    Warns:
        UnsatisfiedWarning: Algorithm 1 found no setting for a kernel.
    """

    def stage(number: int, line: str) -> None:
        announce(f"[{number}/6] {line}")

    name_of_recipe = recipe if isinstance(recipe, str) else "custom"
    data = laq.datasets.load(dataset, seed=seed) if isinstance(dataset, str) else dataset
    recipe = laq.training.recipe(data.name, recipe) if isinstance(recipe, str) else recipe
    if recipe.attack is None:
        received = f"{name_of_recipe}, which has no attack"
        raise laq.InputError("recipe", expected="adversarial training", received=received)
    battery = Battery.preset(data.name, preset)
    battery = battery if attacks is None else battery.only(attacks)
    whole("examples", examples)
    for surrogate in surrogates:
        one_of("surrogates", surrogate, ["twin", "adv"])
    folder = Path(out)

    trained = {
        name: laq.training.trained_model(
            data,
            recipe,
            folder / "models" / f"{name}.keras",
            keras=keras,
            seed=seed + number,
            retrain=retrain,
            announce=functools.partial(stage, number + 1),
            progress=progress,
        )
        for number, name in enumerate(["adv", "twin"])
    }
    adv = trained["adv"]

    stage(3, "Quantize: q1 (3-bit linear), q2 (3-bit log), lq (Algorithm 1)")
    plans = {
        "q1": laq.uniform(adv, "linear", 3, progress=progress),
        "q2": laq.uniform(adv, "log", 3, progress=progress),
        "lq": laq.search(adv, policy="paper", progress=progress),
    }
    quantized = {name: laq.bake(adv, plan) for name, plan in plans.items()}
    for name, plan in plans.items():
        plan.save(folder / PLAN_FILES[name])
        files.write_text((folder / PLAN_FILES[name]).with_suffix(".txt"), f"{plan}\n")
        laq.save_model(quantized[name], folder / "models" / f"{name}.keras")

    models = {"adv": adv, **quantized}
    images, labels = data.test.images[:examples], data.test.labels[:examples]
    stage(4, f"Attack {', '.join(models)} on {len(images)} test images, battery {battery.name}")
    robustness = laq.evaluate(
        models,
        images,
        labels,
        battery=battery,
        surrogates={name: trained[name] for name in surrogates},
        float_twins=dict.fromkeys(quantized, adv),
        seed=seed,
        folder=folder / "examples",
        overwrite=True,
        progress=progress,
    )
    robustness.write(folder)

    stage(5, "Export lq to TensorFlow Lite and compare it with the Keras model")
    export = laq.export_tflite(quantized["lq"], folder / "lq.tflite", images=data.test.images[:64])
    export.save(folder / "export.json")
    files.write_text(folder / "export.txt", f"{export}\n")

    stage(6, "Write the report")
    parameters = adv.count_params()
    in_full = ModelSize.of("adv", plans["lq"], parameters).in_float32()
    sizes = (in_full, *(ModelSize.of(name, plan, parameters) for name, plan in plans.items()))
    files.write_text(folder / "sizes.txt", size_table(sizes) + "\n")
    attack = ", ".join(f"{name} {value}" for name, value in recipe.attack.items())
    facts = {
        "Data set": f"{data.name}, {robustness.count} test images",
        "Network": str(recipe.model),
        "Training": f"adversarial, recipe {name_of_recipe}: {recipe.epochs} epochs of PGD ({attack})",
        "Seeds": f"{seed} (model, attacks, data split), {seed + 1} (independent twin)",
        "Attacks": f"battery {battery.name}: {', '.join(robustness.battery.names)}",
        "Software": f"tf_laq {laq.__version__}",
    }
    summary = Summary(facts=facts, plans=plans, sizes=sizes, robustness=robustness, export=export, command=command)
    summary.save(folder / "experiment.json")
    summary.write_report(folder)
    return summary
