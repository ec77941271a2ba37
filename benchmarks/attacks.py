"""Speed and strength of the attacks: ours against CleverHans, Foolbox and ART, interleaved in the same run.

Images per CPU-second (process_time, TensorFlow on one thread), the best of several repeats where a run is short. The
network is the four-layer MNIST CNN in saved_models/mnist_adv; without it, or without the MNIST images, a small
network trained on the digits for a few seconds, whose figures are not comparable. AutoAttack is not on the package
index: its figures, measured with its published code on another four-layer MNIST CNN of about 40 % robust accuracy, are
constants here.

    python benchmarks/attacks.py                 everything; three to six minutes on two idle cores
    python benchmarks/attacks.py --examples 32   a first look
    python benchmarks/attacks.py --model a.keras another tf_keras network for MNIST
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Before TensorFlow: with several threads, CPU time counts how they wait for each other.
os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", CUDA_VISIBLE_DEVICES="-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tf_laq import attacks, datasets, models
from tf_laq.adapters import logits_function
from tf_laq.errors import InputError
from tf_laq.saving import load_model

SAVED = Path(__file__).parents[1] / "saved_models" / "mnist_adv" / "model.keras"
PUBLISHED = {"apgd_t": 2.6, "square": 4.2}
PGD = {"steps": 40, "step_size": 0.01}
QUERIES = 5000

Run = Callable[[], np.ndarray]


class Bench:
    """A network, its images, and the peers that are installed."""

    def __init__(self, network: Any, epsilon: float, images: np.ndarray, labels: np.ndarray) -> None:
        self.network, self.logits, self.epsilon = network, logits_function(network), epsilon
        right = np.argmax(self.logits(tf.constant(images)), axis=1) == labels
        self.images, self.labels = images[right], labels[right].astype(np.int64)
        self.tensors = tf.constant(self.images), tf.constant(self.labels)
        self.foolbox = self.classifier = None
        if importlib.util.find_spec("foolbox"):
            import foolbox

            self.foolbox, self.theirs = foolbox, foolbox.TensorFlowModel(network, bounds=(0, 1))
        if importlib.util.find_spec("art"):
            from art.estimators.classification import TensorFlowV2Classifier

            self.classifier = TensorFlowV2Classifier(
                network,
                nb_classes=10,
                input_shape=images.shape[1:],
                clip_values=(0, 1),
                loss_object=tf.nn.softmax_cross_entropy_with_logits,
            )

    def ours(self, name: str, **settings: Any) -> Run:
        """Return a run of an attack of this package."""
        attack = attacks.get(name, **settings)
        return lambda: attack(self.logits, self.images, self.labels)

    def in_foolbox(self, name: str, epsilon: float | None, **settings: Any) -> Run:
        """Return a run of one of Foolbox."""
        attack = getattr(self.foolbox.attacks, name)(**settings)
        return lambda: attack(self.theirs, *self.tensors, epsilons=epsilon)[1].numpy()

    def in_art(self, name: str, rows: Any = slice(None), **settings: Any) -> Run:
        """Return a run of one of ART on some of the images."""
        from art.attacks import evasion

        attack = getattr(evasion, name)(self.classifier, batch_size=len(self.images), verbose=False, **settings)
        return lambda: attack.generate(self.images[rows], np.eye(10, dtype=np.float32)[self.labels[rows]])

    def right(self, adversarial: np.ndarray, rows: Any = slice(None)) -> np.ndarray:
        """Return where the network is right on adversarial images."""
        return np.argmax(self.logits(tf.constant(adversarial)), axis=1) == self.labels[rows]

    def epsilon_for(self, accuracy: float, name: str, **settings: Any) -> float:
        """Return the radius at which an attack leaves about this accuracy."""
        lower, upper = 0.0, 2.0 * self.epsilon
        for _ in range(7):
            middle = (lower + upper) / 2
            left = self.right(self.ours(name, epsilon=middle, **settings)()).mean()
            lower, upper = (middle, upper) if left > accuracy else (lower, middle)
        return middle


def timed(runs: Mapping[str, Run], repeats: int) -> dict[str, tuple[float, np.ndarray]]:
    """Return the CPU seconds, the best of interleaved repeats after a first run that is not counted, and the result."""
    seconds = dict.fromkeys(runs, np.inf)
    results = {name: run() for name, run in runs.items()}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.process_time()
            results[name] = run()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return {name: (seconds[name], results[name]) for name in runs}


def pgd_rows(bench: Bench, epsilon: float, title: str) -> Iterator[str]:
    """PGD-40 against the same attack elsewhere."""
    settings = {"epsilon": epsilon, **PGD}
    runs = {
        "ours": bench.ours("pgd", **settings),
        "ours, leaving broken": bench.ours("pgd", **settings, stop_when_broken=True),
        "CleverHans": lambda: cleverhans_pgd(bench, epsilon),
    }
    if bench.foolbox:
        runs["Foolbox"] = bench.in_foolbox(
            "LinfProjectedGradientDescentAttack", epsilon, abs_stepsize=PGD["step_size"], steps=PGD["steps"]
        )
    if bench.classifier:
        art = {"eps": epsilon, "eps_step": PGD["step_size"], "max_iter": PGD["steps"], "num_random_init": 1}
        runs["ART"] = bench.in_art("ProjectedGradientDescentNumpy", **art)
    found = timed(runs, repeats=3)
    yield f"\nPGD-40, epsilon {epsilon:.3f}, {title}"
    for name, (seconds, adversarial) in found.items():
        one, other = (seconds / found[ours][0] for ours in ("ours", "ours, leaving broken"))
        ratio = f"ours is {one:5.2f} x, leaving broken {other:5.2f} x"
        yield row(name, len(bench.images) / seconds, f"accuracy {bench.right(adversarial).mean():.3f}   {ratio}")


def cleverhans_pgd(bench: Bench, epsilon: float) -> np.ndarray:
    from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

    images, labels = bench.tensors
    return projected_gradient_descent(
        bench.logits, images, epsilon, PGD["step_size"], PGD["steps"], np.inf,
        clip_min=0.0, clip_max=1.0, y=labels, rand_init=1.0, sanity_checks=False,
    ).numpy()  # fmt: skip


def minimum_norm_rows(bench: Bench) -> Iterator[str]:
    """CW-L2 and DDN against Foolbox's, by median distortion."""
    runs = {"ours, cw_l2": bench.ours("cw_l2"), "ours, ddn": bench.ours("ddn")}
    found = timed(runs, repeats=2)
    if bench.foolbox:
        settings = {"binary_search_steps": 5, "steps": 100, "stepsize": 0.05, "initial_const": 1.0}
        for name, attack, more in (("cw_l2", "L2CarliniWagnerAttack", settings), ("ddn", "DDNAttack", {"steps": 100})):
            start = time.process_time()
            adversarial = bench.in_foolbox(attack, None, **more)()
            found[f"Foolbox, {name}"] = time.process_time() - start, adversarial
    yield "\nNearest adversarial image in L2"
    for name, (seconds, adversarial) in found.items():
        distances = np.linalg.norm((adversarial - bench.images).reshape(len(bench.images), -1), axis=1)
        median = np.median(np.where(bench.right(adversarial), np.inf, distances))
        ratio = f"ours is {seconds / found['ours, ' + name.split(', ')[1]][0]:5.2f} x"
        yield row(name, len(bench.images) / seconds, f"median distortion {median:.3f}   {ratio}")


def strong_rows(bench: Bench, epsilon: float) -> Iterator[str]:
    """Our strong ensemble against ART's attacks, each on what the ones before it left."""
    ours = [("apgd_ce", {}), ("apgd_t", {}), ("square", {"queries": QUERIES})]
    yield f"\nStrong ensemble, epsilon {epsilon:.3f}, Square with {QUERIES} queries"
    seconds, standing = ensemble(
        bench,
        [(name, lambda rows, n=name, s=more: in_part(bench, n, rows, epsilon=epsilon, **s)) for name, more in ours],
    )
    yield row("ours", len(bench.images) / seconds, f"worst case {standing.mean():.3f}")
    if bench.classifier:
        pgd = {"eps": epsilon, "eps_step": 2 * epsilon, "max_iter": 100, "nb_random_init": 1}
        art = [
            ("apgd_ce", "AutoProjectedGradientDescent", {**pgd, "loss_type": "cross_entropy"}),
            ("apgd_dlr", "AutoProjectedGradientDescent", {**pgd, "loss_type": "difference_logits_ratio"}),
            ("square", "SquareAttack", {"eps": epsilon, "max_iter": QUERIES, "nb_restarts": 1}),
        ]
        theirs, left = ensemble(
            bench, [(name, lambda rows, n=attack, s=more: bench.in_art(n, rows, **s)()) for name, attack, more in art]
        )
        ratio = f"ours is {theirs / seconds:5.2f} x"
        yield row("ART", len(bench.images) / theirs, f"worst case {left.mean():.3f}   {ratio}")


def in_part(bench: Bench, name: str, rows: np.ndarray, **settings: Any) -> np.ndarray:
    attack = attacks.get(name, **settings)
    return attack(bench.logits, bench.images[rows], bench.labels[rows], indices=rows)


def ensemble(bench: Bench, runs: list[tuple[str, Callable[[np.ndarray], np.ndarray]]]) -> tuple[float, np.ndarray]:
    """Return the CPU seconds of attacks in a row, and where the network is still right after all of them."""
    standing, start = np.ones(len(bench.images), np.bool_), time.process_time()
    for _, run in runs:
        rows = np.flatnonzero(standing)
        if rows.size:
            standing[rows] = bench.right(run(rows), rows)
    return time.process_time() - start, standing


def published_rows(bench: Bench, epsilon: float, title: str) -> Iterator[str]:
    """Single attacks beside the published figures of AutoAttack."""
    yield f"\nOne attack of AutoAttack each, epsilon {epsilon:.3f}, {title}"
    runs = {"apgd_t": bench.ours("apgd_t", epsilon=epsilon)}
    runs["square"] = bench.ours("square", epsilon=epsilon, queries=QUERIES)
    for name, run in runs.items():
        start = time.process_time()
        accuracy = bench.right(run()).mean()
        speed = len(bench.images) / (time.process_time() - start)
        beside = f"AutoAttack {PUBLISHED[name]:.1f}, ours is {speed / PUBLISHED[name]:5.2f} x"
        yield row(name, speed, f"accuracy {accuracy:.3f}   {beside}")


def row(name: str, speed: float, rest: str) -> str:
    return f"  {name:22s}{speed:9.1f} images per CPU-second   {rest}"


def make_bench(path: Path, count: int) -> tuple[Bench, str]:
    """Return the MNIST network with its images, or the digits one."""
    try:
        test = datasets.load("mnist").test
        return Bench(load_model(path), 0.3, test.images[:count], test.labels[:count]), f"{path.parent.name}, MNIST"
    except (InputError, OSError) as error:
        reason = str(error).splitlines()[0]
    data, network = datasets.load("digits"), models.build("digits_cnn", seed=0)
    train(network, data.train.images, data.train.labels, epochs=20)
    bench = Bench(network, 0.05, data.test.images[:count], data.test.labels[:count])
    return bench, f"digits, plainly trained: no MNIST network ({reason})"


def train(network: Any, images: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    """Train a network plainly."""
    import tf_keras

    network.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(images, labels, epochs=epochs, batch_size=50, verbose=0)


def plain_bench(bench: Bench, count: int) -> Bench:
    """Return the same network without adversarial training, which attacks break in a few steps or not at all."""
    import tf_keras

    if bench.images.shape[1] == 8:
        return bench
    data, network = datasets.load("mnist"), tf_keras.models.clone_model(bench.network)
    train(network, data.train.images[:10_000], data.train.labels[:10_000], epochs=3)
    return Bench(network, 0.1, data.test.images[:count], data.test.labels[:count])


def rows(path: Path, count: int) -> Iterator[str]:
    """Give the lines of the result."""
    bench, name = make_bench(path, count)
    missing = [peer for peer, there in (("Foolbox", bench.foolbox), ("ART", bench.classifier)) if not there]
    yield f"{name}: {len(bench.images)} images that it gets right" + (f"; without {', '.join(missing)}" * bool(missing))
    weak, plain = bench.epsilon_for(0.5, "square", queries=500), plain_bench(bench, count)
    yield from pgd_rows(bench, bench.epsilon, "the network's own strength")
    half = plain.epsilon_for(0.5, "pgd", **PGD, stop_when_broken=True)
    yield from pgd_rows(plain, half, "about half of the images left, plainly trained network")
    yield from minimum_norm_rows(bench)
    yield from strong_rows(bench, weak)
    yield from published_rows(bench, weak, "about 40 % of the images left after all")
    yield from published_rows(bench, bench.epsilon, "the network's own strength")


def main() -> None:
    """Print the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="number of test images (default: 100)")
    parser.add_argument("--model", type=Path, default=SAVED, help="saved tf_keras network for MNIST")
    arguments = parser.parse_args()
    for line in rows(arguments.model, arguments.examples):
        print(line, flush=True)


if __name__ == "__main__":
    main()
