"""The gradient attacks against independent implementations and against answers known by calculation."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_laq import models
from tf_laq.adapters import logits_function
from tf_laq.attacks import BIM, DDN, FGSM, MIM, PGD, CarliniWagner

ORDERS = {"linf": np.inf, "l2": 2}


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.6)])
class TestAgainstCleverHans:
    def test_fgsm_is_its_fast_gradient_method(self, norm, epsilon, logits, images, labels) -> None:
        from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method

        expected = fast_gradient_method(logits, images, epsilon, ORDERS[norm], clip_min=0.0, clip_max=1.0, y=labels)
        np.testing.assert_array_equal(FGSM(epsilon=epsilon, norm=norm)(logits, images, labels), expected)

    def test_bim_is_its_basic_iterative_method(self, norm, epsilon, logits, images, labels) -> None:
        from cleverhans.tf2.attacks.basic_iterative_method import basic_iterative_method

        expected = basic_iterative_method(
            logits, images, epsilon, epsilon / 4, 8, ORDERS[norm], 0.0, 1.0, y=labels, sanity_checks=False
        )
        attack = BIM(epsilon=epsilon, norm=norm, steps=8, step_size=epsilon / 4)
        np.testing.assert_array_equal(attack(logits, images, labels), expected)

    def test_mim_is_its_momentum_iterative_method(self, norm, epsilon, logits, images, labels) -> None:
        from cleverhans.tf2.attacks.momentum_iterative_method import momentum_iterative_method

        expected = momentum_iterative_method(
            logits,
            tf.constant(images),
            epsilon,
            epsilon / 4,
            8,
            ORDERS[norm],
            0.0,
            1.0,
            y=labels,
            decay_factor=0.5,
            sanity_checks=False,
        )
        attack = MIM(epsilon=epsilon, norm=norm, steps=8, step_size=epsilon / 4, decay=0.5)
        np.testing.assert_array_equal(attack(logits, images, labels), expected)

    def test_pgd_without_a_random_start_is_its_projected_gradient_descent(
        self, norm, epsilon, logits, images, labels
    ) -> None:
        from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

        expected = projected_gradient_descent(
            logits, images, epsilon, epsilon / 4, 8, ORDERS[norm], clip_min=0.0, clip_max=1.0, y=labels
        )
        attack = PGD(epsilon=epsilon, norm=norm, steps=8, step_size=epsilon / 4, random_start=False)
        # Ours runs as one graph, in which TensorFlow may round a quotient differently.
        np.testing.assert_allclose(attack(logits, images, labels), expected, atol=0 if norm == "linf" else 1e-5)


@pytest.fixture(scope="module")
def foolbox_broken(network, images, labels):
    """Return a function from a Foolbox attack and its strength to what it breaks and its images."""
    foolbox = pytest.importorskip("foolbox", reason="the extra `compare` is not installed")
    model = foolbox.TensorFlowModel(network, bounds=(0, 1))

    def run(name, epsilon, count=500, **settings):
        attack = getattr(foolbox.attacks, name)(**settings)
        _, found, broken = attack(model, tf.constant(images[:count]), tf.constant(labels[:count]), epsilons=epsilon)
        return broken.numpy(), found.numpy()

    return run


class TestAgainstFoolbox:
    @pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.2])
    def test_fgsm_breaks_the_same_examples(self, epsilon, foolbox_broken, logits, images, labels, predictions) -> None:
        expected, _ = foolbox_broken("LinfFastGradientAttack", epsilon)
        assert 0 < expected.sum() < 500
        found = predictions(FGSM(epsilon=epsilon)(logits, images, labels)) != labels
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("epsilon", [0.05, 0.1])
    def test_bim_breaks_the_same_examples(self, epsilon, foolbox_broken, logits, images, labels, predictions) -> None:
        expected, _ = foolbox_broken(
            "LinfBasicIterativeAttack", epsilon, abs_stepsize=0.02, steps=10, random_start=False
        )
        assert 0 < expected.sum() < 500
        attack = BIM(epsilon=epsilon, steps=10, step_size=0.02)
        np.testing.assert_array_equal(predictions(attack(logits, images, labels)) != labels, expected)

    @pytest.mark.parametrize(
        ("norm", "name", "epsilon"),
        [
            ("linf", "LinfProjectedGradientDescentAttack", 0.1),
            ("l2", "L2ProjectedGradientDescentAttack", 0.6),
        ],
    )
    def test_pgd_breaks_as_many_examples_within_two_percent(
        self, norm, name, epsilon, foolbox_broken, logits, images, labels, predictions
    ) -> None:
        expected, _ = foolbox_broken(name, epsilon, abs_stepsize=epsilon / 5, steps=20)
        attack = PGD(epsilon=epsilon, norm=norm, steps=20, step_size=epsilon / 5)
        found = predictions(attack(logits, images, labels)) != labels
        assert 0.1 < expected.mean() < 0.9
        assert abs(found.mean() - expected.mean()) <= 0.02

    def test_decoupled_direction_and_norm_is_its_own(self, foolbox_broken, logits, images, labels) -> None:
        broken, found = foolbox_broken("DDNAttack", None, count=64, steps=30)
        distortions = DDN(steps=30).search(logits, images[:64], labels[:64]).distortions
        np.testing.assert_array_equal(np.isfinite(distortions), broken)
        np.testing.assert_allclose(distortions[broken], lengths(found - images[:64])[broken], rtol=1e-3)

    def test_carlini_wagner_is_as_near_as_its_own_and_as_decoupled_direction_and_norm(
        self, foolbox_broken, logits, images, labels
    ) -> None:
        settings = {"steps": 60, "binary_search_steps": 2, "stepsize": 0.1, "initial_const": 1.0}
        theirs = [
            foolbox_broken("DDNAttack", None, count=64, steps=100),
            foolbox_broken("L2CarliniWagnerAttack", None, count=64, **settings),
        ]
        distortions = CarliniWagner().search(logits, images[:64], labels[:64]).distortions
        assert np.isfinite(distortions).all()
        for broken, found in theirs:
            assert broken.all()
            assert np.median(distortions) <= 1.02 * np.median(lengths(found - images[:64]))


@pytest.fixture(scope="module")
def mnist(mnist_data):
    """Return an adversarially trained network, its logits, and 500 test images and labels."""
    network, test = models.load("mnist_adv"), mnist_data.test
    return network, logits_function(network), test.images[:500], test.labels[:500]


@pytest.fixture(scope="module")
def broken_on_mnist(mnist):
    """Return a function from an attack to what it breaks."""
    _, logits, images, labels = mnist
    return lambda attack: broken(logits, attack(logits, images, labels), labels)


MNIST_STEPS = {"steps": 10, "step_size": 0.06}


class TestOnAnAdversariallyTrainedMnistNetwork:
    @pytest.mark.parametrize("name", ["FGSM", "BIM", "PGD"])
    def test_as_foolbox(self, name, mnist, broken_on_mnist) -> None:
        foolbox = pytest.importorskip("foolbox", reason="the extra `compare` is not installed")
        network, _, images, labels = mnist
        theirs = {
            "FGSM": foolbox.attacks.LinfFastGradientAttack(),
            "BIM": foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=0.06, steps=10, random_start=False),
            "PGD": foolbox.attacks.LinfProjectedGradientDescentAttack(abs_stepsize=0.06, steps=10),
        }
        model = foolbox.TensorFlowModel(network, bounds=(0, 1))
        _, _, expected = theirs[name](model, tf.constant(images), tf.constant(labels), epsilons=0.3)
        compare(name, broken_on_mnist(OURS_ON_MNIST[name]), expected.numpy())

    @pytest.mark.parametrize("name", ["FGSM", "BIM", "PGD"])
    def test_as_the_adversarial_robustness_toolbox(self, name, mnist, broken_on_mnist) -> None:
        estimators = pytest.importorskip("art.estimators.classification", reason="the extra `compare` is not installed")
        from art.attacks import evasion

        network, logits, images, labels = mnist
        classifier = estimators.TensorFlowV2Classifier(
            network,
            nb_classes=10,
            input_shape=(28, 28, 1),
            clip_values=(0, 1),
            loss_object=tf.nn.softmax_cross_entropy_with_logits,
        )
        several = {"eps_step": 0.06, "max_iter": 10, "batch_size": 500, "verbose": False}
        theirs = {
            "FGSM": lambda: evasion.FastGradientMethod(classifier, eps=0.3, batch_size=500),
            "BIM": lambda: evasion.BasicIterativeMethod(classifier, eps=0.3, **several),
            "PGD": lambda: evasion.ProjectedGradientDescentNumpy(classifier, eps=0.3, num_random_init=1, **several),
        }
        expected = theirs[name]().generate(images, np.eye(10, dtype=np.float32)[labels])
        compare(name, broken_on_mnist(OURS_ON_MNIST[name]), broken(logits, expected, labels))

    def test_mim_as_cleverhans(self, mnist, broken_on_mnist) -> None:
        from cleverhans.tf2.attacks.momentum_iterative_method import momentum_iterative_method

        _, logits, images, labels = mnist
        expected = momentum_iterative_method(
            logits, tf.constant(images), 0.3, 0.06, 10, np.inf, 0.0, 1.0, y=labels, sanity_checks=False
        )
        compare("MIM", broken_on_mnist(MIM(epsilon=0.3, **MNIST_STEPS)), broken(logits, expected, labels))


OURS_ON_MNIST = {
    "FGSM": FGSM(epsilon=0.3),
    "BIM": BIM(epsilon=0.3, **MNIST_STEPS),
    "PGD": PGD(epsilon=0.3, **MNIST_STEPS),
}


def compare(name, found, expected):
    assert 0 < expected.sum() < len(expected)
    if name == "PGD":  # Its starts are random.
        assert abs(found.mean() - expected.mean()) <= 0.02
    else:
        np.testing.assert_array_equal(found, expected)


def broken(logits, adversarial, labels):
    return np.argmax(logits(tf.constant(adversarial)), axis=1) != labels


def lengths(perturbations):
    return np.linalg.norm(perturbations.reshape(len(perturbations), -1), axis=1)


class TestOnALinearModel:
    """A gradient with the wrong sign, scale or layout cannot give these answers."""

    @pytest.mark.parametrize(
        "attack",
        [
            FGSM(epsilon=0.25),
            PGD(epsilon=0.25, steps=10),
            PGD(epsilon=0.25, steps=10, restarts=3),
            BIM(epsilon=0.25, steps=10),
            MIM(epsilon=0.25, steps=10),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("label", [0, 1])
    def test_attacks_in_linf_end_in_the_worst_corner(self, attack, label, linear_logits, two_class_direction) -> None:
        images = np.random.default_rng(2).random((5, 4, 4, 1), dtype=np.float32)
        away = -two_class_direction if label == 0 else two_class_direction
        corner = np.clip(images + 0.25 * np.sign(away), 0, 1)
        np.testing.assert_allclose(attack(linear_logits, images, np.full(5, label)), corner, atol=1e-6)

    @pytest.mark.parametrize(
        "attack",
        [
            FGSM(epsilon=0.3, norm="l2"),
            BIM(epsilon=0.3, norm="l2"),
            PGD(epsilon=0.3, norm="l2", step_size=0.15),
        ],
        ids=repr,
    )
    def test_attacks_in_l2_go_straight_along_the_gradient(self, attack, linear_logits, two_class_direction) -> None:
        images = np.full((2, 4, 4, 1), 0.5, np.float32)
        expected = images - 0.3 * two_class_direction / np.linalg.norm(two_class_direction)
        np.testing.assert_allclose(attack(linear_logits, images, np.zeros(2, int)), expected, atol=0.005)

    @pytest.mark.parametrize("attack", [CarliniWagner(), DDN()], ids=repr)
    def test_minimum_norm_attacks_find_the_distance_to_the_boundary(
        self, attack, linear_logits, two_class_direction
    ) -> None:
        images = np.full((3, 4, 4, 1), 0.5, np.float32)
        found = attack.search(linear_logits, images, np.zeros(3, int))
        nearest = 0.1 / np.linalg.norm(two_class_direction)
        np.testing.assert_allclose(found.distortions, nearest, rtol=0.05)
