"""Networks that decide the same have the same worst case, in whatever form they come."""

from __future__ import annotations

import dataclasses

import keras
import pytest
import tensorflow as tf
import tf_keras

from tf_laq.attacks import Battery
from tf_laq.evaluation import Classifier, evaluate

SHAPE, COUNT, DIFFERENT = (8, 8, 1), 200, 2
# The L2 ball, for an L-inf ball of 1, that breaks about as many of the digits.
RADIUS = 5.0
QUICK = {
    "standard": {"steps": 40, "queries": 700, "binary_search_steps": 3},
    "strong": {"steps": 20, "queries": 100, "targets": 2},
}
# These columns of a preset find nearly all that it finds.
STRONGEST = ("cw_l2", "pgd", "square", "apgd_ce", "apgd_t")


def forms(k, f):
    """Return forms of a network of a version of Keras, by name."""
    layers = k.layers

    def after(*more):
        return k.Sequential([k.Input(SHAPE), f, *more])

    inputs = k.Input(SHAPE)
    first = k.Sequential([k.Input((1, 8, 8)), layers.Permute((2, 3, 1)), f])
    own = after(layers.Lambda(lambda z: tf.nn.softmax(z) * 1.0))
    return {
        "f": f,
        "4 f": after(layers.Rescaling(4.0)),
        "f + c": after(layers.Rescaling(1.0, -3.0)),
        "softmax f": after(layers.Softmax()),
        "sigmoid f": after(layers.Activation("sigmoid")),
        "probabilities of f": Classifier(own, outputs="probabilities"),
        "float64": after(layers.Activation("linear", dtype="float64")),
        "dict": k.Model(inputs, {"logits": f(inputs)}),
        "channels first": Classifier(first, data_format="channels_first"),
        "0 to 255": k.Sequential([k.Input(SHAPE), layers.Rescaling(1 / 255), f]),
    }


def battery_of(preset, norm, settings):
    """Return a preset battery in a norm and with some settings."""

    def changed(attack):
        given = {name: value for name, value in settings.items() if hasattr(attack, name)}
        if "steps" in given and getattr(attack, "step_size", None) is not None:
            given["step_size"] = attack.step_size * attack.steps / given["steps"]
        if norm == "l2" and hasattr(attack, "norm"):
            given |= {"norm": "l2", "epsilon": attack.epsilon * RADIUS}
            if getattr(attack, "step_size", None) is not None:
                given["step_size"] = given.get("step_size", attack.step_size) * RADIUS
        return dataclasses.replace(attack, **given)

    columns = tuple(
        dataclasses.replace(column, attacks={key: changed(attack) for key, attack in column.attacks.items()})
        for column in Battery.preset("digits", preset).columns
        if not settings or column.name in STRONGEST
    )
    return dataclasses.replace(Battery.preset("digits", preset), columns=columns)


def twin(k, model):
    """Return the network in a version of Keras."""
    layers = k.layers
    copy = k.Sequential(
        [k.Input(SHAPE), layers.Flatten(), layers.Dense(32, activation="relu"), layers.Dense(10)],
    )
    copy.set_weights(model.get_weights())
    return copy


def check(k, preset, norm, settings, digits, keras_network):
    models = forms(k, twin(k, keras_network))
    images, labels = (part[1200 : 1200 + COUNT] for part in digits)
    battery = battery_of(preset, norm, settings)
    report = evaluate(models, images, labels, battery=battery, check_strength=False, batch_size=COUNT, progress=False)
    worst = {name: report.worst_case(name).successes for name in models}
    assert 2 <= worst["f"] <= report.accuracy("f", "clean").successes - 50
    assert {name: found for name, found in worst.items() if abs(found - worst["f"]) > DIFFERENT} == {}


@pytest.mark.parametrize(
    ("preset", "norm"),
    [
        ("standard", "linf"),
        ("standard", "l2"),
        ("strong", "linf"),
        pytest.param("strong", "l2", marks=pytest.mark.slow),
    ],
)
def test_all_forms_of_a_network_have_its_worst_case(preset, norm, digits, keras_network) -> None:
    check(keras if norm == "linf" else tf_keras, preset, norm, QUICK[preset], digits, keras_network)


@pytest.mark.slow
@pytest.mark.parametrize("k", [tf_keras, keras], ids=["tf_keras", "keras"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("preset", ["standard", "strong"])
def test_so_they_do_under_the_presets_as_they_are(preset, norm, k, digits, keras_network) -> None:
    check(k, preset, norm, {}, digits, keras_network)
