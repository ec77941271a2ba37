from __future__ import annotations

import numpy as np
import pytest

from tf_laq.attacks import PGD


def test_an_example_is_broken_if_one_of_its_restarts_breaks_it(logits, images, labels, predictions) -> None:
    settings = {"epsilon": 0.12, "steps": 3, "step_size": 0.03}
    single = predictions(PGD(**settings)(logits, images, labels)) != labels
    several = predictions(PGD(**settings, restarts=6)(logits, images, labels)) != labels
    assert (several >= single).all()
    assert several.sum() > single.sum()


def test_an_epsilon_of_zero_leaves_the_images_as_they_are(logits, images, labels) -> None:
    np.testing.assert_array_equal(PGD(epsilon=0.0)(logits, images, labels), images)


@pytest.mark.parametrize(
    ("settings", "step"), [({"steps": 10}, 0.05), ({"steps": 1}, 0.2), ({"step_size": 0.01}, 0.01)]
)
def test_a_step_crosses_the_ball_in_time_unless_told(settings, step) -> None:
    assert PGD(epsilon=0.2, **settings).step == pytest.approx(step)
