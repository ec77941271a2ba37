"""The plan of a quantized model goes where the model goes."""

import keras as keras3
import numpy as np
import pytest
import tf_keras

import tf_laq as laq
from tf_laq.training import correct_biases, recalibrate_batch_norm

IMAGES = np.random.default_rng(0).random((6, 5, 5, 1)).astype(np.float32)
SETTINGS = {"conv": "kmeans:3", "inner/dense": "log:4", "inner/idle": "float32", "out": "linear:8"}


def network(keras):
    layers = keras.layers
    inner = keras.Sequential([layers.Dense(4, name="dense"), layers.Dense(3, name="idle")], name="inner")
    x = images = keras.Input((5, 5, 1))
    for layer in (layers.Conv2D(2, 3, name="conv"), layers.BatchNormalization(), layers.Flatten(), inner):
        x = layer(x)
    return keras.Model(images, layers.Dense(2, name="out")(x))


@keras3.saving.register_keras_serializable("tests_carrying")
class Subclassed(keras3.Model):
    def __init__(self, **options):
        super().__init__(**options)
        layers = keras3.layers
        self.parts = [layers.Conv2D(2, 3, name="conv"), layers.Flatten()]
        self.inner = keras3.Sequential([layers.Dense(4, name="dense"), layers.Dense(3, name="idle")], name="inner")
        self.out = layers.Dense(2, name="out")

    def get_config(self):
        return {"name": self.name}

    def call(self, inputs):
        x = inputs
        for part in (*self.parts, self.inner, self.out):
            x = part(x)
        return x


def subclassed():
    model = Subclassed(name="sub")
    model(IMAGES)
    return model


def nested_subclassed():
    images = keras3.Input((5, 5, 1))
    return keras3.Model(images, subclassed()(images))


MODELS = {
    "functional, Keras 2": lambda: network(tf_keras),
    "functional, Keras 3": lambda: network(keras3),
    "subclassed": subclassed,
    "subclassed in a functional one": nested_subclassed,
}


@pytest.fixture(params=MODELS, ids=lambda name: name.replace(" ", "_"))
def planned(request):
    model = MODELS[request.param]()
    layers = [entry.layer for entry in laq.uniform(model, "linear", 2).entries]
    overrides = {layer: SETTINGS[place] for layer in layers for place in SETTINGS if layer.endswith(place)}
    assert len(overrides) == len(SETTINGS)
    return model, laq.uniform(model, "linear", 2, overrides=overrides)


def test_what_is_made_of_a_model_knows_the_plan_and_the_model_itself_knows_none(planned):
    model, plan = planned
    wrapped = laq.apply(model, plan)
    for quantized in (wrapped, laq.strip(wrapped), laq.bake(model, plan)):
        assert laq.plan_of(quantized) is plan
    assert laq.plan_of(model) is None


@pytest.mark.parametrize("quantize", [laq.apply, laq.bake])
def test_the_plan_is_saved_and_loaded_with_the_model(planned, quantize, tmp_path):
    model, plan = planned
    quantized = quantize(model, plan)
    laq.save_model(quantized, tmp_path / "m.keras")
    loaded = laq.load_model(tmp_path / "m.keras")
    assert laq.plan_of(loaded) == plan
    assert np.array_equal(loaded(IMAGES), quantized(IMAGES))


def test_a_wrapped_model_that_keras_saved_tells_its_settings(planned, tmp_path):
    model, plan = planned
    laq.apply(model, plan).save(tmp_path / "m.keras")
    found = laq.plan_of(laq.load_model(tmp_path / "m.keras"))

    def settings(of):
        return [(e.layer, e.weight, e.quantizer, e.bits, e.error_norm) for e in of.entries]

    assert settings(found) == settings(plan)


def test_a_baked_model_that_keras_saved_has_lost_its_plan(planned, tmp_path):
    model, plan = planned
    laq.bake(model, plan).save(tmp_path / "m.keras")
    assert laq.plan_of(laq.load_model(tmp_path / "m.keras")) is None


def test_keras_itself_loads_what_was_saved_with_a_plan(tmp_path):
    model = network(tf_keras)
    quantized = laq.bake(model, laq.uniform(model, "linear", 4))
    laq.save_model(quantized, tmp_path / "m.keras")
    assert np.array_equal(tf_keras.models.load_model(tmp_path / "m.keras", compile=False)(IMAGES), quantized(IMAGES))


@pytest.mark.parametrize("keras", [tf_keras, keras3], ids=["Keras 2", "Keras 3"])
def test_corrections_keep_the_plan(keras):
    model = network(keras)
    plan = laq.uniform(model, "linear", 4)
    quantized = laq.bake(model, plan)
    assert laq.plan_of(recalibrate_batch_norm(quantized, IMAGES)) is plan
    assert laq.plan_of(correct_biases(quantized, model, IMAGES)) is plan


def test_a_damaged_plan_in_a_file_is_named(tmp_path):
    import zipfile

    model = network(keras3)
    laq.save_model(laq.bake(model, laq.uniform(model, "linear", 4)), tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("tf_laq_plan.json", "{")
    with pytest.raises(laq.InputError, match=r"m\.keras, tf_laq_plan\.json: expected a whole tf_laq quantization plan"):
        laq.load_model(tmp_path / "m.keras")
