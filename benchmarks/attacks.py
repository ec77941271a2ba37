"""Speed and strength of the attacks: ours against CleverHans, Foolbox, ART and AutoAttack, interleaved in the same run.

Images per CPU-second (process_time, every library on one thread), the best of several repeats where a run is short. The
network is the four-layer MNIST CNN in saved_models/mnist_adv; without it, or without the MNIST images, a small
network trained on the digits for a few seconds, whose figures are not comparable. AutoAttack is not on the package
index: give a clone of https://github.com/fra31/auto-attack, and install PyTorch, in which it
attacks the same weights.

The last peer is no attack: the gradients (or, for Square, the logits) that an attack asks the model for, computed one
after the other and nothing done with them. An attack that wastes nothing reaches 1.0 there, and one that leaves broken
images, or does not try what changes nothing, may exceed it.

    python benchmarks/attacks.py                             everything but AutoAttack; three to six minutes
    python benchmarks/attacks.py --autoattack auto-attack    with AutoAttack, from the clone in that folder
    python benchmarks/attacks.py --examples 32               a first look
    python benchmarks/attacks.py --model a.keras             another tf_keras network for MNIST
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# Before TensorFlow: with several threads, CPU time counts how they wait for each other.
os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", CUDA_VISIBLE_DEVICES="-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tf_laq import attacks, datasets, models
from tf_laq.adapters import logits_function
from tf_laq.errors import InputError
from tf_laq.saving import load_model

ROOT = Path(__file__).parents[1]
SAVED = ROOT / "saved_models" / "mnist_adv" / "model.keras"
PGD = {"steps": 40, "step_size": 0.01}
QUERIES = 5000
HEADERS = ("attack", "epsilon", "images/s", "accuracy", "peer", "images/s", "accuracy", "ours / peer")
WIDTHS = (24, 8, 9, 9, 22, 9, 9, 12)

Run = Callable[[], np.ndarray]


class Comparison(NamedTuple):
    """An attack, and the same or a like one of others.

    Attributes:
        attack: What it is.
        epsilon: The radius; None for an attack without one.
        ours: Runs ours.
        peers: Name -> its run.
        repeats: How often each is run, after a first time that is not counted.
    """

    attack: str
    epsilon: float | None
    ours: Run
    peers: Mapping[str, Run]
    repeats: int = 1


class Bench:
    """A network, its images, and the peers that are installed."""

    def __init__(
        self, network: Any, epsilon: float, images: np.ndarray, labels: np.ndarray, autoattack: Path | None = None
    ) -> None:
        self.network, self.logits, self.epsilon = network, logits_function(network), epsilon
        right = np.argmax(self.logits(tf.constant(images)), axis=1) == labels
        self.images, self.labels = images[right], labels[right].astype(np.int64)
        self.tensors = tf.constant(self.images), tf.constant(self.labels)
        self.foolbox = self.classifier = None
        self.autoattack = autoattack
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

    def in_cleverhans(self, epsilon: float) -> Run:
        """Return a run of CleverHans' PGD-40."""
        from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

        images, labels = self.tensors
        return lambda: projected_gradient_descent(
            self.logits, images, epsilon, PGD["step_size"], PGD["steps"], np.inf,
            clip_min=0.0, clip_max=1.0, y=labels, rand_init=1.0, sanity_checks=False,
        ).numpy()  # fmt: skip

    def in_autoattack(self, name: str, epsilon: float) -> Run:
        """Return a run of one attack of AutoAttack's standard version, on the network's weights in PyTorch."""
        sys.path.insert(0, str(ROOT))
        from research.checks.autoattack import imported
        from research.checks.torch_networks import FORWARD, torch_weights

        torch = imported("torch")
        torch.set_num_threads(1)
        weights = {key: torch.tensor(values) for key, values in torch_weights(self.network).items()}
        standard = imported("autoattack", self.autoattack).AutoAttack(
            lambda x: FORWARD[self.network.name](x, weights, torch.nn.functional),
            eps=epsilon, seed=0, device="cpu", verbose=False,
        )  # fmt: skip
        images = torch.tensor(np.ascontiguousarray(np.moveaxis(self.images, 3, 1)))
        labels = torch.tensor(self.labels)
        return lambda: np.moveaxis(getattr(standard, name).perturb(images, labels).detach().numpy(), 1, 3)

    def gradients(self, count: int) -> Run:
        """Return a run that computes the gradient of all images so many times, and is no attack."""

        def gradient(images: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(images)
                outputs = self.logits(images)
            return tape.gradient(outputs, images)

        return self._repeated(gradient, count)

    def forward_passes(self, count: int) -> Run:
        """Return a run that computes the logits of all images so many times, and is no attack."""
        return self._repeated(lambda images: tf.reduce_sum(self.logits(images)), count)

    def _repeated(self, compute: Callable[[tf.Tensor], tf.Tensor], count: int) -> Run:
        @tf.function
        def loop(images: tf.Tensor) -> tf.Tensor:
            # TensorFlow would leave out what nothing depends on.
            step = lambda number, images: (number + 1, images + 1e-12 * compute(images))  # noqa: E731
            return tf.while_loop(lambda number, _: number < count, step, (0, images))[1]

        return lambda: loop(self.tensors[0]).numpy()

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


def pgd(bench: Bench, epsilon: float) -> Iterator[Comparison]:
    """PGD-40 against the same attack elsewhere."""
    settings = {"epsilon": epsilon, **PGD}
    peers = {"CleverHans": bench.in_cleverhans(epsilon)}
    if bench.foolbox:
        peers["Foolbox"] = bench.in_foolbox(
            "LinfProjectedGradientDescentAttack", epsilon, abs_stepsize=PGD["step_size"], steps=PGD["steps"]
        )
    if bench.classifier:
        art = {"eps": epsilon, "eps_step": PGD["step_size"], "max_iter": PGD["steps"], "num_random_init": 1}
        peers["ART"] = bench.in_art("ProjectedGradientDescentNumpy", **art)
    peers["40 gradients"] = bench.gradients(40)
    yield Comparison("PGD-40", epsilon, bench.ours("pgd", **settings), peers, repeats=3)
    leaving = bench.ours("pgd", **settings, stop_when_broken=True)
    yield Comparison("PGD-40, leaving broken", epsilon, leaving, peers, repeats=3)


def minimum_norm(bench: Bench) -> Iterator[Comparison]:
    """CW-L2 and DDN against Foolbox's."""
    if bench.foolbox:
        settings = {"binary_search_steps": 5, "steps": 100, "stepsize": 0.05, "initial_const": 1.0}
        for name, attack, more in (("cw_l2", "L2CarliniWagnerAttack", settings), ("ddn", "DDNAttack", {"steps": 100})):
            yield Comparison(name, None, bench.ours(name), {"Foolbox": bench.in_foolbox(attack, None, **more)})


def strong(bench: Bench, epsilon: float) -> Iterator[Comparison]:
    """Our strong ensemble against ART's attacks, each on what the ones before it left."""
    if not bench.classifier:
        return
    pgd = {"eps": epsilon, "eps_step": 2 * epsilon, "max_iter": 100, "nb_random_init": 1}
    art = [
        ("AutoProjectedGradientDescent", {**pgd, "loss_type": "cross_entropy"}),
        ("AutoProjectedGradientDescent", {**pgd, "loss_type": "difference_logits_ratio"}),
        ("SquareAttack", {"eps": epsilon, "max_iter": QUERIES, "nb_restarts": 1}),
    ]
    ours = [("apgd_ce", {}), ("apgd_t", {}), ("square", {"queries": QUERIES})]
    yield Comparison(
        "apgd_ce, apgd_t, square",
        epsilon,
        ensemble(bench, [lambda rows, n=n, s=s: in_part(bench, n, rows, epsilon=epsilon, **s) for n, s in ours]),
        {"ART": ensemble(bench, [lambda rows, n=n, s=s: bench.in_art(n, rows, **s)() for n, s in art])},
    )


def in_part(bench: Bench, name: str, rows: np.ndarray, **settings: Any) -> np.ndarray:
    attack = attacks.get(name, **settings)
    return attack(bench.logits, bench.images[rows], bench.labels[rows], indices=rows)


def ensemble(bench: Bench, runs: list[Callable[[np.ndarray], np.ndarray]]) -> Run:
    """Return a run of attacks in a row, each on the images that the network is still right about."""

    def run() -> np.ndarray:
        adversarial = bench.images.copy()
        for attack in runs:
            rows = np.flatnonzero(bench.right(adversarial))
            if rows.size:
                adversarial[rows] = attack(rows)
        return adversarial

    return run


def single(bench: Bench, epsilon: float) -> Iterator[Comparison]:
    """One attack of AutoAttack each, and what it asks the model for."""
    for name, theirs, settings, bare in (
        ("apgd_t", "apgd_targeted", {}, {"9 x 101 gradients": bench.gradients(9 * 101)}),
        ("square", "square", {"queries": QUERIES}, {"5000 forward passes": bench.forward_passes(QUERIES)}),
    ):
        peers = {"AutoAttack": bench.in_autoattack(theirs, epsilon)} if bench.autoattack else {}
        yield Comparison(name, epsilon, bench.ours(name, epsilon=epsilon, **settings), {**peers, **bare})


def lines(bench: Bench, comparison: Comparison) -> Iterator[str]:
    """Give the rows of a comparison."""
    found = timed({"": comparison.ours, **comparison.peers}, comparison.repeats)
    (ours, adversarial), count = found.pop(""), len(bench.images)
    epsilon = "" if comparison.epsilon is None else f"{comparison.epsilon:.3f}"
    for peer, (theirs, other) in found.items():
        own = [f"{count / ours:.1f}", reached(bench, comparison, adversarial)]
        bare = peer.endswith(("gradients", "passes"))
        its = [peer, f"{count / theirs:.1f}", "" if bare else reached(bench, comparison, other)]
        yield line([comparison.attack, epsilon, *own, *its, f"{theirs / ours:.2f}"])


def reached(bench: Bench, comparison: Comparison, adversarial: np.ndarray) -> str:
    """Return the accuracy in percent, or the median distortion of an attack that has no radius."""
    right = bench.right(adversarial)
    if comparison.epsilon is not None:
        return f"{100 * right.mean():.1f} %"
    distances = np.linalg.norm((adversarial - bench.images).reshape(len(right), -1), axis=1)
    return f"L2 {np.median(np.where(right, np.inf, distances)):.3f}"


def line(cells: list[str] | tuple[str, ...]) -> str:
    return "".join(f"{cell:{'<' if at in (0, 4) else '>'}{WIDTHS[at]}s}  " for at, cell in enumerate(cells)).rstrip()


def make_bench(path: Path, count: int, autoattack: Path | None) -> tuple[Bench, str]:
    """Return the MNIST network with its images, or the digits one."""
    try:
        test = datasets.load("mnist").test
        bench = Bench(load_model(path), 0.3, test.images[:count], test.labels[:count], autoattack)
        return bench, f"{path.parent.name}, MNIST"
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


def rows(options: argparse.Namespace) -> Iterator[str]:
    """Give the lines of the result."""
    bench, name = make_bench(options.model, options.examples, options.autoattack)
    there = {"Foolbox": bench.foolbox, "ART": bench.classifier, "AutoAttack": bench.autoattack}
    missing = [peer for peer, found in there.items() if not found]
    yield f"{name}: {len(bench.images)} images that it gets right" + (f"; without {', '.join(missing)}" * bool(missing))
    yield line(HEADERS)
    for comparison in (*single(bench, bench.epsilon), *pgd(bench, bench.epsilon), *minimum_norm(bench)):
        yield from lines(bench, comparison)
    if bench.classifier:
        for comparison in strong(bench, bench.epsilon_for(0.5, "square", queries=500)):
            yield from lines(bench, comparison)
    plain = plain_bench(bench, options.examples)
    yield f"The network trained plainly, {len(plain.images)} images that it gets right, about half of which PGD leaves"
    for comparison in pgd(plain, plain.epsilon_for(0.5, "pgd", **PGD, stop_when_broken=True)):
        yield from lines(plain, comparison)


def main() -> None:
    """Print the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="number of test images (default: 100)")
    parser.add_argument("--model", type=Path, default=SAVED, help="saved tf_keras network for MNIST")
    parser.add_argument("--autoattack", type=Path, help="clone of https://github.com/fra31/auto-attack")
    for text in rows(parser.parse_args()):
        print(text, flush=True)


if __name__ == "__main__":
    main()
