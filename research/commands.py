"""The commands of this folder: text in, pages out. The scripts of their names run them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tf_laq.cli.main import run
from tf_laq.errors import InputError


def main(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command as its script, and return the exit code.

    Args:
        name: Name of the command.
        arguments: Its arguments; None for those of this process.
    """
    script = f"scripts/{name}.py"
    return run({script: COMMANDS[name]}, [script, *(sys.argv[1:] if arguments is None else arguments)], name="python")


def reproduce(
    what: str = "all",
    dataset: str = "mnist",
    out: str = "reproduced",
    cache: str = "runs",
    models: str = "",
    plans: str = "",
    network: str = "",
    clean_examples: int | None = None,
    examples: int | None = None,
    strong_examples: int | None = None,
    seed: int = 0,
) -> None:
    """Make the paper's tables and figure again, beside its own numbers.

    A run that was killed goes on where it was, if it is started again with the same cache.

    Args:
        what: table1 to table5, figure1, all of these that the paper has for the data set, claims, or selection: more
            ways to choose the bits, by size and worst case.
        dataset: mnist, cifar10, or digits, for which the paper has nothing.
        out: Folder of the pages; remarks on them, written by hand, are taken from its folder remarks.
        cache: Folder of the evaluations, which no table makes again.
        models: Networks by their role, as "adv=path,twin=path"; the roles are orig, adv, twin and fl. Empty for those
            of saved_models.
        plans: More quantized rows, as "name=plan.json,name=plan.json".
        network: Other networks of the data set than those in place of the paper's: madry or separable for mnist, wrn4
            for cifar10.
        clean_examples: Number of test images for accuracies without an attack; the data set's own unless told.
        examples: The same for the paper's quick attacks.
        strong_examples: The same for CW-L2 and the worst case.
        seed: Seed of the random attacks.
    """
    import tf_laq as laq
    from research.paper.results import reproduce as make

    networks = {role: laq.load_model(path) for role, path in _paths("models", models).items()}
    chosen = {name: laq.QuantizationPlan.load(path) for name, path in _paths("plans", plans).items()}
    make(
        what,
        dataset,
        out=out,
        cache=cache,
        models=networks or None,
        plans=chosen,
        network=network,
        seed=seed,
        clean_examples=clean_examples,
        examples=examples,
        strong_examples=strong_examples,
    )


def sensitivity(
    model: str = "mnist_adv",
    dataset: str = "",
    out: str = "sensitivity",
    cache: str = "runs",
    quantizers: str = "",
    bits: str = "2,3,4,5,6",
    max_settings: int | None = None,
    examples: int = 200,
    steps: int = 20,
    queries: int = 300,
    epsilon: float | None = None,
    calibration: int = 64,
    seed: int = 0,
) -> None:
    """Quantize one layer at a time, attack, and rank what may predict the loss: norms, gradients, outputs.

    A run that was killed goes on where it was, if it is started again with the same cache.

    Args:
        model: Name of a trained network of saved_models, or a saved Keras model with logits as outputs.
        dataset: digits, mnist or cifar10; empty for that of a network of saved_models.
        out: Folder of the page, the CSV file and the plots.
        cache: Folder of the measured losses.
        quantizers: Quantizers to try (<quantizers>), separated by commas; empty for all.
        bits: Bit widths to try, separated by commas.
        max_settings: Most layers times quantizers times bits: with fewer than all, some layers are drawn.
        examples: Number of test images that the float network withstands, to be attacked again.
        steps: Steps of Auto-PGD.
        queries: Queries of Square.
        epsilon: L-inf radius of the attacks in pixel units; the data set's customary one unless told.
        calibration: Number of training images that predictors with data look at.
        seed: Seed of the attacks and of the layers that are drawn.
    """
    import tf_laq as laq
    from research.layers.results import study

    cards = laq.models.trained()
    if model in cards:
        network, dataset = laq.models.load(model), dataset or cards[model].dataset
    elif dataset:
        network = laq.load_model(model)
    else:
        raise InputError(
            "dataset",
            expected=f"a data set for {model}",
            received="none",
            remedy=f"Known networks: {', '.join(cards)}.",
        )
    changes: dict[str, Any] = {
        "max_settings": max_settings,
        "examples": examples,
        "steps": steps,
        "queries": queries,
        "epsilon": epsilon,
        "calibration": calibration,
        "seed": seed,
    }
    given = {"dataset": dataset, "quantizers": quantizers or None, "bits": bits, **changes}
    options = " ".join(f"--{name} {value}" for name, value in given.items() if value is not None)
    page = study(
        network,
        dataset,
        name=Path(model).stem,
        out=out,
        cache=cache,
        command=f"python scripts/sensitivity.py {model} {options}",
        quantizers=tuple(_words(quantizers)) or None,
        bits=_widths(bits),
        **changes,
    )
    print(f"\n{page}")


def feedback(
    model: str,
    dataset: str = "digits",
    out: str = "fl.keras",
    rounds: int | None = None,
    images: int | None = None,
    seed: int = 0,
) -> None:
    """Retrain a network by feedback learning, on examples at its decision boundary, and save it.

    Args:
        model: Saved Keras model, plainly trained.
        dataset: digits, mnist or cifar10.
        out: File to write, ending in .keras.
        rounds: Times that distances are measured and the network is retrained, in place of the data set's own.
        images: Training images that are measured in a round, in place of the data set's own.
        seed: Seed of the images and directions that are drawn.
    """
    import tf_laq as laq
    from research.feedback import FeedbackSettings, feedback_learning

    settings = FeedbackSettings.preset(dataset)
    settings = settings if rounds is None else dataclasses.replace(settings, rounds=rounds)
    settings = settings if images is None else dataclasses.replace(settings, images_per_round=images)
    laq.save_model(feedback_learning(laq.load_model(model), dataset, settings, seed=seed), out)
    print(f"{out}: see laq evaluate for its accuracy")


def _widths(text: str) -> tuple[int, ...]:
    parts = _words(text)
    if not parts or not all(part.isdigit() for part in parts):
        raise InputError("bits", expected="whole numbers, separated by commas", received=repr(text))
    return tuple(dict.fromkeys(map(int, parts)))


def _paths(argument: str, text: str) -> dict[str, str]:
    """Return "name=path,path" as paths by name; without a name, a path has its file's."""
    parts = [part.partition("=") if "=" in part else (Path(part).stem, "=", part) for part in _words(text)]
    found = {name: path for name, _, path in parts}
    if len(found) < len(parts) or not all(name and path for name, path in found.items()):
        raise InputError(argument, expected="paths, or name=path, each name once", received=repr(text))
    return found


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


COMMANDS: dict[str, Callable[..., object]] = {"reproduce": reproduce, "sensitivity": sensitivity, "feedback": feedback}
