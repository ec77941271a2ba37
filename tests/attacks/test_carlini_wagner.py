from __future__ import annotations

import numpy as np
import pytest

from tf_laq.attacks import CarliniWagner

SETTINGS = {"steps": 50, "binary_search_steps": 3, "learning_rate": 0.1, "initial_constant": 1.0}


@pytest.fixture(scope="module")
def found(logits, images, labels):
    return CarliniWagner(**SETTINGS).search(logits, images[:100], labels[:100])


def test_distortions_are_the_distances_of_the_images(found, images) -> None:
    distances = np.linalg.norm((found.images - images[:100]).reshape(100, -1), axis=1)
    np.testing.assert_allclose(found.distortions, distances, atol=1e-5)


def test_every_image_found_is_misclassified(found, labels, predictions) -> None:
    assert np.isfinite(found.distortions).all()
    assert (predictions(found.images) != labels[:100]).all()


def test_images_beyond_the_budget_are_clean_and_the_others_are_adversarial(found, logits, images, labels) -> None:
    budget = float(np.median(found.distortions))
    adversarial = CarliniWagner(epsilon=budget, **SETTINGS)(logits, images[:100], labels[:100])
    within = found.distortions <= budget
    assert 40 <= within.sum() <= 60
    np.testing.assert_array_equal(adversarial[within], found.images[within])
    np.testing.assert_array_equal(adversarial[~within], images[:100][~within])


def test_an_image_that_is_misclassified_already_has_distortion_zero(logits, images, predictions) -> None:
    wrong = (predictions(images[:5]) + 1) % 10
    found = CarliniWagner(**SETTINGS).search(logits, images[:5], wrong)
    np.testing.assert_array_equal(found.distortions, 0)
    np.testing.assert_array_equal(found.images, images[:5])


def test_a_model_that_cannot_be_broken_has_infinite_distortions() -> None:
    constant = np.array([[3.0, 0.0]], np.float32)
    images = np.full((2, 4, 4, 1), 0.5, np.float32)
    found = CarliniWagner(**SETTINGS).search(lambda x: constant + 0 * x[:, 0, :2, 0], images, np.zeros(2, int))
    assert np.isinf(found.distortions).all()
    np.testing.assert_array_equal(found.images, images)


def test_confidence_is_the_margin_of_the_misclassification(logits, images, labels, found) -> None:
    confident = CarliniWagner(confidence=2.0, **SETTINGS).search(logits, images[:100], labels[:100])
    scores = np.asarray(logits(confident.images))
    true = scores[np.arange(100), labels[:100]]
    reached = np.isfinite(confident.distortions) & (confident.distortions > 0)
    assert reached.mean() > 0.8
    assert (scores.max(axis=1) - true)[reached].min() >= 2.0 - 1e-3
    assert np.median(confident.distortions) > np.median(found.distortions)
