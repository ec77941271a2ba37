"""Images of which one half are adversarial examples."""

import numpy as np
import pytest

from tf_laq import models
from tf_laq.attacks import PGD, half_adversarial
from tf_laq.errors import InputError


def test_half_of_the_images_become_examples_that_the_model_gets_wrong_more_often(mnist_data) -> None:
    model = models.load("mnist_orig")
    images = mnist_data.test.images[:21]
    seen = half_adversarial(model, images, PGD(epsilon=0.3, steps=10), seed=1)
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen[:10], images[:10])
    assert 0.0 < np.abs(seen[10:] - images[10:]).max() <= 0.3 + 1e-6
    before, after = (np.argmax(model(of[10:]), axis=1) for of in (images, seen))
    assert (before != after).mean() > 0.5
    np.testing.assert_array_equal(seen, half_adversarial(model, images, PGD(epsilon=0.3, steps=10), seed=1))


def test_the_examples_do_not_depend_on_how_many_are_attacked_at_a_time(mnist_data) -> None:
    model, seen = models.load("mnist_orig"), []

    def logits(images):
        seen.append(len(images))
        return model(images)

    whole, batched = (
        half_adversarial(logits, mnist_data.test.images[:21], PGD(epsilon=0.3, steps=4), seed=1, batch_size=size)
        for size in (128, 4)
    )
    np.testing.assert_allclose(batched, whole, atol=1e-5)
    assert max(seen[-4:]) <= 4


def test_a_single_image_is_refused() -> None:
    with pytest.raises(InputError, match="images: expected at least two"):
        half_adversarial(models.load("mnist_orig"), np.zeros((1, 28, 28, 1)), PGD(epsilon=0.3))
