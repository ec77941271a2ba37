"""What holds for every attack."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from tf_laq import attacks
from tf_laq.errors import InputError

EPSILON = 0.15
EVERY = [
    attacks.get("clean"),
    attacks.get("gaussian", standard_deviation=0.2),
    attacks.get("uniform", epsilon=EPSILON),
    attacks.get("uniform", epsilon=0.8, norm="l2"),
    attacks.get("fgsm", epsilon=EPSILON),
    attacks.get("fgsm", epsilon=0.8, norm="l2"),
    attacks.get("pgd", epsilon=EPSILON, steps=6, restarts=2),
    attacks.get("pgd", epsilon=EPSILON, steps=6, restarts=2, stop_when_broken=True),
    attacks.get("pgd", epsilon=0.8, norm="l2", steps=6),
    attacks.get("bim", epsilon=EPSILON, steps=6),
    attacks.get("bim", epsilon=0.8, norm="l2", steps=6),
    attacks.get("mim", epsilon=EPSILON, steps=6),
    attacks.get("mim", epsilon=0.8, norm="l2", steps=6),
    attacks.get("square", epsilon=EPSILON, queries=60),
    attacks.get("square", epsilon=0.8, norm="l2", queries=100),
    attacks.get("apgd_ce", epsilon=EPSILON, steps=10, restarts=2),
    attacks.get("apgd_ce", epsilon=EPSILON, steps=10, stop_when_broken=False),
    attacks.get("apgd_ce", epsilon=0.8, norm="l2", steps=10),
    attacks.get("apgd_dlr", epsilon=EPSILON, steps=10),
    attacks.get("apgd_t", epsilon=EPSILON, steps=5, targets=3),
    attacks.get("cw_l2", epsilon=0.8, steps=20, start_steps=30),
    attacks.get("ddn", epsilon=0.8, steps=30),
]
RANDOM = ("gaussian", "uniform", "pgd", "square", "apgd_ce", "apgd_dlr", "apgd_t")


def distance(attack, adversarial, images):
    changes = (adversarial.astype(np.float64) - images).reshape(len(images), -1)
    order = 2 if attack.name in ("cw_l2", "ddn") or attack.norm == "l2" else np.inf
    return np.linalg.norm(changes, axis=1, ord=order)


@pytest.fixture(scope="module", params=EVERY, ids=repr)
def attack(request):
    return request.param


@pytest.fixture(scope="module")
def adversarial(attack, logits, images, labels):
    return attack(logits, images[:100], labels[:100], seed=3)


def test_every_name_is_covered_here() -> None:
    assert {attack.name for attack in EVERY} == set(attacks.names()) - {"diva"}, "diva needs a second model"


def test_images_keep_shape_type_and_range(adversarial) -> None:
    assert adversarial.shape == (100, 8, 8, 1)
    assert adversarial.dtype == np.float32
    assert adversarial.min() >= 0.0
    assert adversarial.max() <= 1.0


def test_images_stay_in_the_ball(attack, adversarial, images) -> None:
    if hasattr(attack, "epsilon"):
        assert distance(attack, adversarial, images[:100]).max() <= attack.epsilon + 1e-6


def test_attacks_that_use_the_model_break_more_than_noise(attack, adversarial, images, labels, predictions) -> None:
    clean = (predictions(images[:100]) == labels[:100]).mean()
    after = (predictions(adversarial) == labels[:100]).mean()
    if attack.name in ("clean", "gaussian", "uniform"):
        assert after >= clean - 0.2
    else:
        assert after <= clean - 0.3


def test_the_result_does_not_depend_on_the_batch(attack, adversarial, logits, images, labels, predictions) -> None:
    parts = [
        attack(logits, images[start:stop], labels[start:stop], seed=3, indices=np.arange(start, stop))
        for start, stop in [(0, 7), (7, 30), (30, 100)]
    ]
    apart = np.concatenate(parts)
    np.testing.assert_array_equal(predictions(apart) == labels[:100], predictions(adversarial) == labels[:100])
    np.testing.assert_allclose(apart, adversarial, atol=1e-4)


def test_a_seed_gives_the_same_images_again_and_another_seed_others(
    attack, adversarial, logits, images, labels
) -> None:
    np.testing.assert_array_equal(attack(logits, images[:100], labels[:100], seed=3), adversarial)
    other = attack(logits, images[:100], labels[:100], seed=4)
    assert (other != adversarial).any() == (attack.name in RANDOM)


def test_misclassified_images_stay_misclassified(attack, logits, images, labels, predictions) -> None:
    wrong = (labels[:100] + 1) % 10
    assert (predictions(images[:100]) == wrong).mean() < 0.05
    after = predictions(attack(logits, images[:100], wrong))
    limit = 0.05 if attack.name in ("clean", "cw_l2", "ddn") or attack.name.startswith("apgd") else 0.25
    assert (after == wrong).mean() <= limit


def test_settings_survive_their_dictionary(attack) -> None:
    assert attacks.from_dict(attack.to_dict()) == attack


def test_settings_are_frozen(attack) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.epsilon = 1.0


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["uniform", "fgsm", "pgd", "bim", "mim", "square", "apgd_ce"]),
    norm=st.sampled_from(["linf", "l2"]),
    epsilon=st.floats(0.0, 1.0, width=32),
    seed=st.integers(0, 2**32),
    black=st.booleans(),
)
def test_any_strength_stays_in_the_box_and_the_ball(name, norm, epsilon, seed, black, linear_logits) -> None:
    short = {"square": {"queries": 5}, "apgd_ce": {"steps": 10, "stop_when_broken": False}}
    attack = attacks.get(name, epsilon=epsilon, norm=norm, **short.get(name, {}))
    images = np.random.default_rng(seed).random((3, 4, 4, 1)).astype(np.float32)
    images = np.round(images) if black else images
    adversarial = attack(linear_logits, images, np.array([0, 1, 0]), seed=seed)
    assert adversarial.min() >= 0.0
    assert adversarial.max() <= 1.0
    assert distance(attack, adversarial, images).max() <= epsilon + 1e-6


@pytest.mark.parametrize(
    "name", ["uniform", "fgsm", "pgd", "bim", "mim", "square", "apgd_ce", "apgd_t", "cw_l2", "ddn"]
)
@pytest.mark.parametrize("epsilon", [-0.1, math.nan, math.inf, "0.1", True])
def test_a_strength_that_is_no_finite_positive_number_is_refused(name, epsilon) -> None:
    with pytest.raises(InputError, match=r"^epsilon: expected a finite number of at least 0"):
        attacks.get(name, epsilon=epsilon)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("fgsm", "norm", "l7"),
        ("square", "norm", "l7"),
        ("square", "queries", 0),
        ("square", "initial_share", 1.5),
        ("pgd", "steps", 0),
        ("pgd", "steps", 2.5),
        ("pgd", "step_size", 0.2),
        ("pgd", "restarts", 0),
        ("pgd", "random_start", "yes"),
        ("bim", "step_size", -0.01),
        ("mim", "decay", -1.0),
        ("apgd_ce", "steps", 0),
        ("apgd_dlr", "restarts", 0),
        ("apgd_ce", "stop_when_broken", 1),
        ("apgd_t", "targets", 0),
        ("cw_l2", "steps", 0),
        ("cw_l2", "learning_rate", math.nan),
        ("cw_l2", "confidence", -1),
        ("cw_l2", "start_steps", 0),
        ("ddn", "steps", 0),
        ("ddn", "gamma", 1.5),
        ("ddn", "initial_norm", -1.0),
        ("diva", "balance", -1.0),
        ("pgd", "stop_when_broken", 1),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name, setting, value) -> None:
    with pytest.raises(InputError, match=f"^{setting}: expected"):
        attacks.get(name, epsilon=0.1, **{setting: value})


def test_restarts_from_the_clean_image_are_refused_since_they_would_be_the_same() -> None:
    with pytest.raises(InputError, match="restarts: expected 1 without a random start"):
        attacks.get("pgd", epsilon=0.1, restarts=2, random_start=False)


def test_noise_must_have_a_standard_deviation_of_at_least_zero() -> None:
    with pytest.raises(InputError, match="standard_deviation"):
        attacks.get("gaussian", standard_deviation=-1)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "bim", "mim", "apgd_ce", "cw_l2", "ddn"])
def test_a_model_without_a_gradient_is_refused_by_attacks_that_need_one(name, logits, images, labels) -> None:
    def rounded(x):
        return logits(tf.round(x))

    with pytest.raises(InputError, match=f"with a gradient, which the attack {name} needs.*square"):
        attacks.get(name, epsilon=0.1)(rounded, images[:4], labels[:4])
    attacks.get("square", epsilon=0.1, queries=5)(rounded, images[:4], labels[:4])


IMAGES = np.full((3, 4, 4, 1), 0.5, np.float32)
LABELS = np.array([0, 1, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES + 1}, "images: .* values from 1.5 to 1.5. Divide by their largest possible value"),
        ({"images": IMAGES * 510}, "images: .* Divide by 255"),
        ({"images": IMAGES * 8190}, "images: .* to 4095. Divide by their largest possible value"),
        ({"images": IMAGES - 1}, "images: .* values from -0.5 to -0.5. Scale them"),
        ({"images": IMAGES * np.nan}, r"images: .* Received: NaN. Replace the values that are not finite"),
        ({"images": IMAGES * np.inf}, "images: .* values from inf to inf. Replace the values that are not finite"),
        ({"images": np.ones((3, 4, 4, 1), np.uint8)}, "images: .* dtype uint8"),
        ({"images": IMAGES[..., None]}, r"images: .* shape \(3, 4, 4, 1, 1\)"),
        ({"images": IMAGES[:0]}, "images: expected at least one"),
        ({"labels": np.full((3, 2), 0.5)}, "labels: .* one-hot"),
        ({"labels": LABELS[:2]}, "labels: .* for 3 images"),
        ({"labels": LABELS.astype(float)}, "labels: .* dtype float64"),
        ({"labels": LABELS - 1}, "labels: .* negative label -1"),
        ({"labels": LABELS + 1}, "labels: .* the label 2"),
        ({"seed": -1}, "seed: "),
        ({"seed": 0.5}, "seed: "),
        ({"indices": np.arange(2)}, "indices: "),
        ({"logits": 3}, "logits: "),
        ({"logits": lambda x: tf.nn.softmax(x[:, 0, :2, 0])}, "probabilities.* remove the softmax"),
        ({"logits": lambda x: x[:, 0, :2, 0] * np.nan}, "NaN"),
        ({"logits": lambda x: x[:, 0, 0, 0]}, r"logits of shape \(3, classes\)"),
    ],
)
def test_wrong_arguments_are_refused_by_name(changes, message, linear_logits) -> None:
    arguments = {"logits": linear_logits, "images": IMAGES, "labels": LABELS, **changes}
    with pytest.raises(InputError, match=message):
        attacks.get("fgsm", epsilon=0.1)(**arguments)
