from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_laq.attacks import PGD, APGDCrossEntropy, APGDLogitsRatio, APGDTargeted
from tf_laq.attacks.apgd import checkpoints
from tf_laq.errors import InputError

EPSILON = 0.08


@pytest.fixture(scope="module")
def accuracy(images, labels):
    """Return a function from an attack and a model to its accuracy on 200 images."""

    def measure(attack, logits):
        adversarial = attack(logits, images[:200], labels[:200])
        return np.mean(np.argmax(logits(tf.constant(adversarial)), axis=1) == labels[:200])

    return measure


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", EPSILON), ("l2", 0.5)])
@pytest.mark.parametrize("form", [APGDCrossEntropy, APGDTargeted])
def test_it_is_as_strong_as_pgd_with_the_same_steps(form, norm, epsilon, accuracy, logits) -> None:
    settings = {"epsilon": epsilon, "norm": norm, "steps": 30}
    weaker = accuracy(PGD(**settings), logits)
    assert 0.1 < weaker < 0.9
    assert accuracy(form(**settings), logits) <= weaker + 0.01


def test_logits_times_a_hundred_blind_neither_the_ratio_of_logits_nor_the_cross_entropy(accuracy, logits) -> None:
    def large(images):
        return 100.0 * logits(images)

    settings = {"epsilon": EPSILON, "steps": 20}
    for form in (APGDLogitsRatio, APGDTargeted):
        assert accuracy(form(**settings), large) == pytest.approx(accuracy(form(**settings), logits), abs=0.01)
    assert accuracy(PGD(**settings), large) == pytest.approx(accuracy(PGD(**settings), logits), abs=0.03)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_model_it_ends_at_the_worst_point(norm, linear_logits, two_class_direction) -> None:
    images = np.full((2, 4, 4, 1), 0.5, np.float32)
    direction = two_class_direction / (1 if norm == "linf" else np.linalg.norm(two_class_direction))
    worst = images - 0.25 * (np.sign(direction) if norm == "linf" else direction)
    attack = APGDCrossEntropy(epsilon=0.25, norm=norm, steps=20, stop_when_broken=False)
    np.testing.assert_allclose(attack(linear_logits, images, np.zeros(2, int)), worst, atol=0.005)


@pytest.mark.parametrize("form", [APGDCrossEntropy, APGDLogitsRatio, APGDTargeted])
def test_stopping_at_the_first_success_breaks_the_same_examples(form, logits, images, labels, predictions) -> None:
    settings = {"epsilon": EPSILON, "steps": 12}
    stopped, whole = (form(**settings, stop_when_broken=stop)(logits, images, labels) for stop in (True, False))
    broken = [predictions(found) != labels for found in (stopped, whole)]
    assert 0.1 < broken[0].mean() < 0.9
    # Rounding differs between batch sizes, and an ascent that is never at rest magnifies it.
    assert (broken[0] != broken[1]).mean() <= 0.01


def test_an_example_is_broken_if_one_of_its_targets_breaks_it(logits, images, labels, predictions) -> None:
    one, nine = (
        predictions(APGDTargeted(epsilon=EPSILON, steps=10, targets=targets)(logits, images, labels)) != labels
        for targets in (1, 9)
    )
    assert (nine >= one).all()
    assert nine.sum() > one.sum()


def test_more_targets_than_classes_are_all_of_them(logits, images, labels) -> None:
    found = [
        APGDTargeted(epsilon=EPSILON, steps=5, targets=targets)(logits, images[:50], labels[:50])
        for targets in (9, 1000)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("form", [APGDLogitsRatio, APGDTargeted])
def test_a_loss_that_needs_more_classes_is_refused(form, linear_logits) -> None:
    images = np.full((2, 4, 4, 1), 0.5, np.float32)
    with pytest.raises(InputError, match=f"logits: expected at least . classes for the attack {form.name}.*2 classes"):
        form(epsilon=0.1)(linear_logits, images, np.zeros(2, int))


@pytest.mark.parametrize("attack", [PGD(epsilon=EPSILON, steps=3), APGDCrossEntropy(epsilon=EPSILON, steps=3)])
def test_a_search_from_a_start_is_never_weaker_than_the_start(attack, logits, images, labels, predictions) -> None:
    starts = APGDTargeted(epsilon=EPSILON, steps=20)(logits, images, labels)
    broken = predictions(starts) != labels
    improved = attack.from_starts(logits, images, labels, starts)
    assert broken.sum() > (predictions(attack(logits, images, labels)) != labels).sum()
    assert (predictions(improved) != labels)[broken].all()
    assert np.abs(improved - images).max() <= EPSILON + 1e-6
    far = attack.from_starts(logits, images[:20], labels[:20], 1.0 - images[:20])
    assert np.abs(far - images[:20]).max() <= EPSILON + 1e-6


@pytest.mark.parametrize("starts", [np.zeros((3, 8, 8, 1)), np.full((4, 8, 8, 1), np.nan)])
def test_starts_of_another_shape_or_without_values_are_refused(starts, logits, images, labels) -> None:
    with pytest.raises(InputError, match="^starts: "):
        PGD(epsilon=0.1).from_starts(logits, images[:4], labels[:4], starts)


@pytest.mark.parametrize(
    ("steps", "expected"), [(100, (22, 41, 57, 70, 80, 87, 93, 99)), (10, (3, 5, 6, 7, 8, 9, 10)), (1, (1,))]
)
def test_checkpoints_are_the_published_ones(steps, expected) -> None:
    assert checkpoints(steps) == expected


@pytest.mark.parametrize(
    ("form", "loss"), [(APGDCrossEntropy, "cross_entropy"), (APGDLogitsRatio, "difference_logits_ratio")]
)
def test_it_breaks_as_many_examples_as_an_independent_implementation(form, loss, accuracy, network, logits) -> None:
    estimators = pytest.importorskip("art.estimators.classification", reason="the extra `compare` is not installed")
    from art.attacks.evasion import AutoProjectedGradientDescent

    classifier = estimators.TensorFlowV2Classifier(
        network, nb_classes=10, input_shape=(8, 8, 1), clip_values=(0, 1), loss_object=sparse_cross_entropy
    )
    theirs = AutoProjectedGradientDescent(
        classifier, eps=EPSILON, eps_step=2 * EPSILON, max_iter=12, nb_random_init=1, loss_type=loss, verbose=False
    )

    def independent(_, images, labels):
        return theirs.generate(images, np.eye(10, dtype=np.float32)[labels])

    assert accuracy(form(epsilon=EPSILON, steps=12), logits) == pytest.approx(accuracy(independent, logits), abs=0.02)


def sparse_cross_entropy(labels, outputs):
    return tf.nn.softmax_cross_entropy_with_logits(labels, outputs)
