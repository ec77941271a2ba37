"""The main job on a small example: train adversarially, compress, and see beside it what the paper's method does.

Source: Song, Ranjan, Li, "A Layer-wise Adversarial-aware Quantization Optimization for Improving Robustness"
(2021), section 6. Its four models are `adv` (adversarially trained, full precision), `q1` (3-bit linear
everywhere), `q2` (3-bit log everywhere) and `lq` (Algorithm 1).
"""

from __future__ import annotations

import os
from pathlib import Path

import tf_laq as laq
from tf_laq import policies, quantizers
from tf_laq._internal.messages import Announce, print_now
from tf_laq._internal.validation import whole
from tf_laq.attacks import Battery
from tf_laq.compression import Candidate, Compression, Rule
from tf_laq.datasets import Dataset
from tf_laq.training import Recipe

PAPER = tuple(
    # As in the paper, without a correction.
    Candidate(name=name, policy=policy, matched=False, always_attacked=True)
    for name, policy in {
        "q1": policies.Uniform(quantizers.get("linear", 3)),
        "q2": policies.Uniform(quantizers.get("log", 3)),
        "lq": policies.Algorithm1(),
    }.items()
)
"""The paper's quantized models."""


def run(
    dataset: str | Dataset = "digits",
    *,
    out: str | os.PathLike[str],
    recipe: str | Recipe = "fast",
    examples: int = 500,
    preset: str = "strong",
    rule: Rule | None = None,
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
    command: str = "",
    announce: Announce = print_now,
    progress: bool = True,
) -> Compression:
    """Train a network adversarially and compress it, with the paper's `q1`, `q2` and `lq` among the candidates.

    A trained network is used again if the folder has it with the same data set, recipe, seed and version, and a
    compression that was interrupted goes on. One of another network or other settings is begun anew.

    Args:
        dataset: What `datasets.load` returned, or its name: "digits", "mnist" or "cifar10".
        out: The folder of all results.
        recipe: A training recipe with an attack, or the name of one for this data set.
        examples: Number of test images to attack; fewer if the data set has fewer.
        preset: The attacks of the worst case: "strong", "standard" or "paper".
        rule: What the file has to keep; None for a loss of at most one point.
        keras: The version of Keras that the network is built with, 2 or 3.
        seed: Seed of the network, of the attacks and of the data split.
        retrain: Train even where there is a trained network.
        command: The command line that makes these results, for the report.
        announce: Receives a line at the start of each stage.
        progress: Show progress bars; in files and pipes, a line a minute.

    Returns:
        What `laq.compress` returns.

    Raises:
        InputError: An argument is wrong.
        OSError: The folder cannot be written.

    Warns:
        UnsatisfiedWarning: Algorithm 1 found no setting for a kernel.
    """
    name_of_recipe = recipe if isinstance(recipe, str) else "custom"
    data = laq.datasets.load(dataset, seed=seed)
    Battery.preset(data.name, preset)
    recipe = laq.training.recipe(data.name, recipe) if isinstance(recipe, str) else recipe
    if recipe.attack is None:
        received = f"{name_of_recipe}, which has no attack"
        raise laq.InputError("recipe", expected="adversarial training", received=received)
    whole("examples", examples)
    folder = Path(out)
    adv = laq.training.trained_model(
        data,
        recipe,
        folder / "adv.keras",
        keras=keras,
        seed=seed,
        retrain=retrain,
        announce=announce,
        progress=progress,
    )
    return laq.compress(
        adv,
        data,
        out=folder,
        preset=preset,
        rule=rule,
        also=PAPER,
        examples=examples,
        seed=seed,
        overwrite=True,
        command=command,
        announce=announce,
        progress=progress,
    )
