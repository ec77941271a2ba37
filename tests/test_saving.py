"""Models as files: what is loaded is what was saved, and what cannot be loaded says why."""

from __future__ import annotations

import importlib
import json
import zipfile

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq.saving import load_model, save_model

# Layers without a method build.
pytestmark = pytest.mark.filterwarnings("ignore:`build\\(\\)` was called on layer:UserWarning")

KERAS = {"Keras 2": tf_keras, "Keras 3": keras3}
FORMATS = {"Keras 2": ("m.keras", "m.h5", "saved_model"), "Keras 3": ("m.keras", "m.h5")}
PLACES = [(name, file) for name, files in FORMATS.items() for file in files]
RANDOM = np.random.default_rng(0)


def users_classes(keras):
    """Return layers as most people write them, registered nowhere: without a method build of their own."""
    layers = keras.layers

    class Residual(layers.Layer):
        def __init__(self, units=4, **options):
            super().__init__(**options)
            self.units = units
            self.first = layers.Dense(units, activation="relu")
            self.norm = layers.BatchNormalization()
            self.second = layers.Dense(units)

        def call(self, x, training=None):
            return x + self.second(self.norm(self.first(x), training=training))

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    class Stack(layers.Layer):
        """A composite layer of composite layers in a list."""

        def __init__(self, **options):
            super().__init__(**options)
            self.blocks = [Residual() for _ in range(2)]
            self.last = layers.Dense(4)

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return self.last(x)

    class TwoArguments(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.a, self.b = layers.Dense(4), layers.Dense(4)

        def call(self, x, y):
            return self.a(x) * self.b(y)

    class TwoInputs(TwoArguments):
        def call(self, inputs):
            return self.a(inputs[0]) * self.b(inputs[1])

    class Encoder(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.attend = layers.MultiHeadAttention(2, 3)
            self.norm = layers.LayerNormalization()
            self.both = layers.Bidirectional(layers.GRU(2, return_sequences=True))

        def call(self, x):
            return self.both(self.norm(x + self.attend(x, x)))

    return {cls.__name__: cls for cls in (Residual, Stack, TwoArguments, TwoInputs, Encoder)}


class Builder:
    """Makes models with one version of Keras."""

    def __init__(self, keras):
        self.keras, self.layers, self.classes = keras, keras.layers, users_classes(keras)

    def one_input(self, layer):
        inputs = self.keras.Input((5, 4))
        return self.keras.Model(inputs, self.end(layer(inputs)))

    def two_inputs(self, join):
        inputs = [self.keras.Input((5, 4)), self.keras.Input((5, 4))]
        return self.keras.Model(inputs, self.end(join(*inputs)))

    def end(self, x):
        return self.layers.Dense(3, name="out")(self.layers.GlobalAveragePooling1D()(x))

    def sequential(self, *parts):
        layers = self.layers
        return self.keras.Sequential([self.keras.Input((5, 4)), *parts, layers.Flatten(), layers.Dense(2)])

    def doubled(self, *shape):
        return self.layers.Lambda(lambda x: x * 2, output_shape=shape)


MODELS = {
    "a composite layer": lambda b: b.one_input(b.classes["Residual"](name="block")),
    "a composite of composites": lambda b: b.one_input(b.classes["Stack"](name="block")),
    "a composite with two arguments": lambda b: b.two_inputs(b.classes["TwoArguments"](name="block")),
    "a composite with two inputs": lambda b: b.two_inputs(lambda x, y: b.classes["TwoInputs"](name="block")([x, y])),
    "attention and both directions inside": lambda b: b.one_input(b.classes["Encoder"](name="block")),
    "both directions": lambda b: b.one_input(b.layers.Bidirectional(b.layers.GRU(3, return_sequences=True))),
    "a layer at every step": lambda b: b.one_input(b.layers.TimeDistributed(b.layers.Dense(3))),
    "attention": lambda b: b.two_inputs(b.layers.MultiHeadAttention(2, 3)),
    "nested": lambda b: b.sequential(b.keras.Sequential([b.classes["Stack"]()], name="inner")),
    "lambda": lambda b: b.sequential(b.doubled(5, 4), b.classes["Residual"]()),
    "lambda at every step": lambda b: b.sequential(b.layers.TimeDistributed(b.doubled(4))),
}
# Where Keras 2 loads the float model with other outputs: it is restored without its layers' own code.
LOADED_WRONG_BY_KERAS = {("attention and both directions inside", "saved_model")}


def quantized(model, quantize=laq.apply):
    # The layers of a Lambda are copied; it is trusted, as it runs already.
    scope = importlib.import_module(f"{type(model).__module__.split('.')[0]}.src.saving.serialization_lib")
    with scope.SafeModeScope(False):
        return quantize(model, laq.uniform(model, "linear", 4, progress=False))


@pytest.fixture(scope="module")
def network():
    return laq.models.build("digits_cnn", seed=0, width=2)


@pytest.fixture(scope="module", params=[(name, keras) for name in MODELS for keras in KERAS], ids=" ".join)
def users_model(request):
    """Return a name, a version of Keras, a model, and its custom objects."""
    name, version = request.param
    builder = Builder(KERAS[version])
    return name, version, MODELS[name](builder), builder.classes


@pytest.mark.parametrize("quantize", [laq.apply, laq.bake])
def test_every_format_loads_with_the_same_outputs_and_the_plan(users_model, quantize, tmp_path):
    name, version, model, classes = users_model
    inputs = [RANDOM.normal(size=(6, 5, 4)).astype(np.float32) for _ in model.inputs]
    inputs = inputs if len(inputs) > 1 else inputs[0]
    made = quantized(model, quantize)
    for file in FORMATS[version]:
        if quantize is laq.bake and (name, file) in LOADED_WRONG_BY_KERAS:
            continue
        save_model(made, tmp_path / file)
        loaded = load_model(tmp_path / file, custom_objects=classes, safe_mode=False)
        np.testing.assert_array_equal(loaded(inputs), made(inputs), err_msg=file)
        assert laq.plan_of(loaded) == laq.plan_of(made), file
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("version", "file"), PLACES)
def test_registered_classes_need_not_be_given(version, file, tmp_path):
    keras = KERAS[version]
    builder = Builder(keras)
    keras.utils.register_keras_serializable(f"tests_saving_{file}")(builder.classes["Residual"])
    made = quantized(MODELS["a composite layer"](builder))
    save_model(made, tmp_path / file)
    images = RANDOM.normal(size=(6, 5, 4)).astype(np.float32)
    loaded = load_model(tmp_path / file, safe_mode=file != "saved_model")
    np.testing.assert_array_equal(loaded(images), made(images))


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "saved_model"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_every_format_of_a_quantized_model_loads_with_the_same_outputs(network, tmp_path, name):
    wrapped = laq.apply(network, laq.uniform(network, "log", 3))
    wrapped.save(tmp_path / name)
    images = np.random.default_rng(0).random((3, 8, 8, 1), dtype=np.float32)
    loaded = load_model(tmp_path / name, safe_mode=name != "saved_model")
    np.testing.assert_allclose(loaded(images), wrapped(images), rtol=1e-6, atol=1e-6)


def test_a_long_plan_fits_into_an_h5_file(tmp_path):
    parts = [tf_keras.layers.Dense(2, name=f"{'long' * 40}_{i}") for i in range(150)]
    model = tf_keras.Sequential([tf_keras.Input((2,)), *parts])
    baked = laq.bake(model, laq.uniform(model, "linear", 4, progress=False))
    assert len(laq.plan_of(baked).to_json()) > 2**16  # The limit of an attribute that is stored in the header.
    save_model(baked, tmp_path / "m.h5")
    assert laq.plan_of(load_model(tmp_path / "m.h5")) == laq.plan_of(baked)


def test_a_saved_model_replaces_another_one_and_no_other_folder(network, tmp_path):
    folder = tmp_path / "model"
    save_model(network, folder)
    (folder / "assets.extra").mkdir(exist_ok=True)
    save_model(laq.bake(network, laq.uniform(network, "linear", 4)), folder)
    assert laq.plan_of(load_model(folder, safe_mode=False)).entries[0].bits == 4
    save_model(network, folder)
    assert laq.plan_of(load_model(folder, safe_mode=False)) is None
    (tmp_path / "photos").mkdir()
    with pytest.raises(laq.InputError, match=r"photos, which is there and has no saved_model\.pb"):
        save_model(network, tmp_path / "photos")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "photos"]


@pytest.mark.parametrize(("version", "file"), [("Keras 2", "m.txt"), ("Keras 3", "m.txt"), ("Keras 3", "saved_model")])
def test_other_formats_are_refused(version, file, tmp_path):
    keras = KERAS[version]
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    with pytest.raises(laq.InputError, match=r"ends in \.keras or \.h5"):
        save_model(model, tmp_path / file)
    assert not list(tmp_path.iterdir())


def test_a_model_that_keras_cannot_save_is_refused_by_name(tmp_path):
    layers = keras3.layers
    model = Builder(keras3).one_input(layers.Bidirectional(layers.RNN(layers.GRUCell(3), return_sequences=True)))
    # Keras 3 gives both directions the same names in a copy, which an HDF5 file cannot hold.
    with pytest.raises(
        laq.InputError, match=r"one that Keras can save as \.h5.*name already exists.*Save it as \.keras"
    ):
        save_model(quantized(model), tmp_path / "m.h5")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(laq.InputError, match="no such file"):
        load_model(tmp_path / "none.keras")


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.txt"])
def test_a_file_that_is_no_model_is_refused_by_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"no model at all")
    with pytest.raises(laq.InputError, match=f"{name}: expected a model saved by Keras.*neither .keras nor HDF5"):
        load_model(tmp_path / name)


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_truncated_model_is_refused(network, tmp_path, name, part):
    save_model(network, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * part)])
    with pytest.raises(laq.InputError, match="It may be truncated"):
        load_model(tmp_path / name)


def test_a_damaged_model_is_refused(network, tmp_path):
    save_model(network, tmp_path / "m.keras")
    content = bytearray((tmp_path / "m.keras").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "m.keras").write_bytes(content)
    with pytest.raises(laq.InputError, match=r"Bad CRC-32.*The file is damaged"):
        load_model(tmp_path / "m.keras")


def test_other_archives_files_and_folders_are_named(network, tmp_path):
    np.savez(tmp_path / "m.keras", 1)
    (tmp_path / "m.keras.npz").replace(tmp_path / "m.keras")
    network.save_weights(tmp_path / "m.weights.h5")
    (tmp_path / "folder").mkdir()
    tf.saved_model.save(tf.Module(), tmp_path / "exported")
    for name, reason in {
        "m.keras": r"a zip archive without config\.json",
        "m.weights.h5": "only weights, build the model and call model.load_weights",
        "folder": r"a folder without saved_model\.pb",
        "exported": "without layers.*It was exported to be run only",
    }.items():
        with pytest.raises(laq.InputError, match=reason):
            load_model(tmp_path / name, safe_mode=name != "exported")


@pytest.mark.parametrize(("version", "file"), [place for place in PLACES if place[1] != "saved_model"])
@pytest.mark.parametrize("quantize", [laq.apply, laq.bake])
@pytest.mark.parametrize("sequential", [False, True])
def test_an_unknown_class_is_named_with_the_way_to_give_it(version, file, quantize, sequential, tmp_path):
    builder = Builder(KERAS[version])
    residual = builder.classes["Residual"](name="block")
    model = builder.sequential(residual) if sequential else builder.one_input(residual)
    save_model(quantized(model, quantize), tmp_path / file)
    with pytest.raises(laq.InputError, match=r"Residual.*Pass custom_objects=\{'Residual': Residual\}") as refusal:
        load_model(tmp_path / file)
    assert len(str(refusal.value)) < 600
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("version", KERAS)
def test_an_unknown_function_is_named_with_the_way_to_give_it(version, tmp_path):
    def squared(x):
        return x * x

    builder = Builder(KERAS[version])
    save_model(builder.one_input(builder.layers.Dense(3, activation=squared)), tmp_path / "m.keras")
    with pytest.raises(laq.InputError, match=r"Pass custom_objects=\{'squared': squared\}"):
        load_model(tmp_path / "m.keras")
    load_model(tmp_path / "m.keras", custom_objects={"squared": squared})


@pytest.mark.parametrize(("version", "file"), [place for place in PLACES if place[1] != "saved_model"])
@pytest.mark.parametrize("name", ["lambda", "lambda at every step"])
def test_python_code_in_a_file_is_not_run_unasked(version, file, name, tmp_path):
    builder = Builder(KERAS[version])
    save_model(quantized(MODELS[name](builder)), tmp_path / file)
    with pytest.raises(laq.InputError, match=r"disallowed by default.*pass safe_mode=False if you trust the file"):
        load_model(tmp_path / file, custom_objects=builder.classes)


def test_a_saved_model_is_a_program_and_runs_only_when_trusted(tmp_path):
    model = Builder(tf_keras).sequential(tf_keras.layers.Lambda(lambda x: x * 2))
    save_model(model, tmp_path / "model")
    with pytest.raises(laq.InputError, match=r"SavedModel folder.*pass safe_mode=False if you trust the file"):
        load_model(tmp_path / "model")
    loaded = load_model(tmp_path / "model", safe_mode=False)
    images = RANDOM.normal(size=(6, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded(images), model(images))


@pytest.mark.parametrize("version", KERAS)
def test_a_file_of_another_version_of_keras_names_that_version(version, tmp_path):
    keras, path = KERAS[version], tmp_path / "m.keras"
    save_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]), path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    newer = f"{version[-1]}.99.0"
    content["metadata.json"] = json.dumps({"keras_version": newer}).encode()
    content["config.json"] = content["config.json"].replace(b'"units"', b'"of_the_future": 1, "units"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in content.items():
            archive.writestr(name, part)
    with pytest.raises(laq.InputError, match=rf"Keras {keras.__version__} cannot load.*Keras {newer} saved it"):
        load_model(path)


@pytest.mark.parametrize("version", KERAS)
def test_a_class_that_cannot_be_made_again_is_told_from_an_unknown_one(version, tmp_path):
    keras = KERAS[version]

    class Scaled(keras.layers.Layer):
        def __init__(self, factor, **options):
            super().__init__(**options)
            self.factor = factor

        def call(self, x):
            return self.factor * x

        def get_config(self):
            return keras.layers.Layer.get_config(keras.layers.Layer(name=self.name))

    save_model(Builder(keras).sequential(Scaled(2.0)), tmp_path / "m.keras")
    with pytest.raises(laq.InputError, match=r"factor'\)\. get_config of a custom class must return"):
        load_model(tmp_path / "m.keras", custom_objects={"Scaled": Scaled})


def test_a_layer_that_keras_cannot_build_is_named(tmp_path):
    class Unbuilt(keras3.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.inner = keras3.layers.Dense(4, name="inner")

        def call(self, x):
            return self.inner(x)

        def compute_output_shape(self, shape):
            return shape

    save_model(Builder(keras3).sequential(Unbuilt()), tmp_path / "m.keras")
    with pytest.raises(laq.InputError, match=r"'inner' was never built.*needs a method build"):
        load_model(tmp_path / "m.keras", custom_objects={"Unbuilt": Unbuilt})
