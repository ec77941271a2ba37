from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow as tf

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


def test_stopping_when_broken_breaks_what_the_whole_ascent_breaks_and_what_it_broke_on_the_way(
    logits, images, labels, predictions
) -> None:
    settings = {"epsilon": 0.1, "steps": 12, "restarts": 2}
    whole, stopped = (
        predictions(PGD(**settings, stop_when_broken=stop)(logits, images, labels)) != labels for stop in (False, True)
    )
    assert 0.1 < whole.mean() < 0.9
    assert (stopped | ~whole).all()


def test_an_example_that_is_broken_from_the_start_keeps_its_start(logits, images, labels, predictions) -> None:
    wrong = (predictions(images[:20]) + 1) % 10
    attack = PGD(epsilon=0.1, random_start=False, stop_when_broken=True)
    np.testing.assert_array_equal(attack(logits, images[:20], wrong), images[:20])


def test_attacks_on_several_models_bring_no_advice_about_tracing(images, labels) -> None:
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logger = tf.get_logger()
    logger.addHandler(handler)
    try:
        for scale in range(1, 8):
            PGD(epsilon=0.1, steps=1)(lambda x, scale=scale: scale * tf.reshape(x, (-1, 64))[:, :10], images, labels)
    finally:
        logger.removeHandler(handler)
    assert heard == []
