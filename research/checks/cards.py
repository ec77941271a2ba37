r"""Put a trained network into saved_models/, with its card: recipe, seed, log of the training, and scores.

    laq train --dataset mnist --recipe fast --seed 0 --out adv.keras
    python -m research.checks.cards mnist_adv --model adv.keras --minutes 3 \
        --about "four-layer CNN, adversarially trained" \
        --command "laq train --dataset mnist --recipe fast --seed 0 --out adv.keras"

The scores: clean accuracy on all test images, and the worst case of Auto-PGD (100 steps) and Square on the first ones.
With `--float16` the weights are rounded to float16, which halves the file, if no prediction on a test image changes.
Networks that were trained in PyTorch get in by `research.checks.converted`.
saved_models/README.md is made from all cards.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from tabulate import tabulate

import tf_laq as laq
from research import files
from research.checks.program import SAVED_MODELS
from tf_laq import attacks, datasets, evaluation, training
from tf_laq.attacks import Attack, Battery, Column
from tf_laq.errors import InputError
from tf_laq.evaluation import Share
from tf_laq.models import CARD, WEIGHTS, Card

README = """# Trained networks

One folder per network: its weights (`model.keras`) and a card (`card.json`) with the recipe, the seed, the command that
trains it again, the log of the training and the scores. They are not part of the installed package, which finds them in
a clone of its repository, or where TF_LAQ_MODELS says:

    import tf_laq as laq
    model = laq.models.load("mnist_adv")           # tf_keras
    model = laq.models.load("mnist_adv", keras=3)  # Keras 3, the same weights
    laq.models.trained()["mnist_adv"].scores       # the card

Percent of the test images still classified correctly, with 95 % Wilson intervals; the worst case is per image over the
attacks named below it. CIFAR-10 stands for a copy of CIFAR-10 whose images were stored as JPEG (quality 75) before the
training and the tests: figures on the original images differ.

The networks `cifar10_wrn4_*` were trained in PyTorch, on a GPU. The command in their cards trains a network of the same
kind with the settings that the recipe `wide` can say, not the same weights again.

{table}

{attacks}
"""


def log_of_epochs(path: Path) -> tuple[Mapping[str, float], ...]:
    """Return the log that `laq train` left; none of a network that was trained before there were logs."""
    if not path.is_file():
        return ()
    with path.open(newline="") as lines:
        return tuple({name: round(float(value), 6) for name, value in row.items()} for row in csv.DictReader(lines))


def rounded(path: Path, images: npt.NDArray[np.float32]) -> tuple[Any, bytes]:
    """Return a network with its weights rounded to float16, and its file.

    Raises:
        SystemExit: A prediction on one of the images changes.
    """
    model = laq.load_model(path)
    before = model.predict(images, batch_size=500, verbose=0).argmax(axis=1)
    model.set_weights([weight.astype(np.float16).astype(weight.dtype) for weight in model.get_weights()])
    changed = int((model.predict(images, batch_size=500, verbose=0).argmax(axis=1) != before).sum())
    if changed:
        raise SystemExit(f"float16 weights change {changed} of {len(images)} predictions: store them as float32.")
    return model, packed(model)


def packed(model: Any) -> bytes:
    """Return the `.keras` file of a tf_keras model, compressed, with float16 where that holds the weights exactly.

    Keras casts what it reads to the type of its weight.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved, content = Path(folder) / WEIGHTS, io.BytesIO()
        model.save(saved)
        with zipfile.ZipFile(saved) as source, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as target:
            for name in source.namelist():
                read = source.read(name)
                # Without the time at which it was written, a file is the same whenever it is made.
                target.writestr(
                    zipfile.ZipInfo(name), halved(read) if name.endswith(".h5") else read, zipfile.ZIP_DEFLATED
                )
    return content.getvalue()


def halved(weights: bytes) -> bytes:
    """Return a file of Keras' weights with those in float16 that it holds exactly."""
    content = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as source, h5py.File(content, "w") as target:
        target.attrs.update(source.attrs)

        def take(name: str, thing: Any) -> None:
            if isinstance(thing, h5py.Group):
                taken = target.require_group(name)
            else:
                values = thing[()]
                exact = values.dtype == np.float32 and np.array_equal(values.astype(np.float16), values)
                values = values.astype(np.float16) if exact else values
                taken = target.create_dataset(name, data=values, track_times=False)
            taken.attrs.update(thing.attrs)

        source.visititems(take)
    return content.getvalue()


def score(attack: str, share: Share, **settings: Any) -> Mapping[str, Any]:
    """Return one accuracy with what it takes to judge it."""
    interval = [round(bound, 4) for bound in share.interval]
    return {"attack": attack, "count": share.count, "accuracy": share.value, "wilson_95": interval, **settings}


def scores(model: Any, dataset: str, examples: int, queries: int) -> tuple[Mapping[str, Any], ...]:
    """Return the clean accuracy on all test images and the worst case on the first `examples`."""
    test = datasets.load(dataset).test
    epsilon = (training.recipe(dataset).attack or {})["epsilon"]
    tried: dict[str, dict[str, Attack]] = {
        "clean": {"none": attacks.get("clean")},
        "apgd_ce": {"white": attacks.get("apgd_ce", epsilon=epsilon, steps=100)},
        "square": {"white": attacks.get("square", epsilon=epsilon, queries=queries)},
    }
    columns = tuple(Column(name=name, attacks=column) for name, column in tried.items())
    report = evaluation.evaluate(
        {"model": model},
        test.images[:examples],
        test.labels[:examples],
        battery=Battery(name="card", columns=columns, ensemble=True),
        check_strength=False,
    )
    clean = int((model.predict(test.images, batch_size=500, verbose=0).argmax(axis=1) == test.labels).sum())
    worst = report.worst_case("model")
    attack = f"worst case of Auto-PGD (cross-entropy, 100 steps) and Square ({queries:,} queries), L-inf {epsilon:.4g}"
    return (
        score("none", Share(clean, len(test))),
        score(attack, worst, images="the first of the test images", attack_seed=report.seed),
    )


def readme() -> str:
    """Return the page about all networks that are there."""
    cards = [Card.load(path) for path in sorted(SAVED_MODELS.glob(f"*/{CARD}"))]
    tried = sorted({score["attack"] for card in cards for score in card.scores} - {"none"})
    rows = []
    for card in cards:
        clean, *attacked = card.scores
        worst = [f"{percent(score)} ({tried.index(score['attack']) + 1})" for score in attacked]
        rows.append([f"`{card.name}`", card.about, percent(clean), *(worst or ["not measured"])])
    headers = ["network", "what it is", "clean", "worst case"]
    lines = [f"{number}. {attack}." for number, attack in enumerate(tried, start=1)]
    return README.format(table=tabulate(rows, headers, "github"), attacks="\n".join(lines))


def percent(score: Mapping[str, Any]) -> str:
    """Return an accuracy with its interval and count."""
    low, high = score["wilson_95"]
    return f"{100 * score['accuracy']:.2f} [{100 * low:.1f}, {100 * high:.1f}], N = {score['count']:,}"


def ship(card: Card, content: bytes) -> None:
    """Write a trained network, its card and the page of all of them, and print its scores."""
    folder = SAVED_MODELS / card.name
    files.write(folder / WEIGHTS, content)
    card.save(folder / CARD)
    files.write(SAVED_MODELS / "README.md", readme())
    print(json.dumps(card.scores, indent=1))


def main(argv: Sequence[str] | None = None) -> int:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of the network, such as mnist_adv")
    parser.add_argument("--model", type=Path, required=True, help="file that laq train wrote")
    parser.add_argument("--about", required=True, help="what it is, in a line")
    parser.add_argument("--minutes", type=float, required=True, help="processor time of the training")
    parser.add_argument("--command", required=True, help="what trains it again")
    parser.add_argument("--examples", type=int, default=500, help="test images under attack (default: 500)")
    parser.add_argument("--float16", action="store_true", help="round the weights to float16")
    parser.add_argument("--queries", type=int, default=5000, help="queries of Square (default: 5000)")
    options = parser.parse_args(argv)
    record = json.loads(options.model.with_suffix(".training.json").read_text(encoding="utf-8"))
    network = record["recipe"]["model"]
    if network is None:
        expected = "one that tf_laq.models builds, so that its card says which"
        raise InputError("model", expected=expected, received=f"a network of its own, {options.model}")
    model, content = laq.load_model(options.model), options.model.read_bytes()
    if options.float16:
        model, content = rounded(options.model, np.asarray(datasets.load(record["dataset"]).test.images))
    card = Card(
        name=options.name,
        about=options.about,
        dataset=record["dataset"],
        network=network,
        options=record["recipe"]["model_options"],
        recipe=record["recipe"],
        seed=record["seed"],
        command=options.command,
        minutes=options.minutes,
        epochs=log_of_epochs(options.model.with_suffix(".log.csv")),
        scores=scores(model, record["dataset"], options.examples, options.queries),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    ship(card, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
