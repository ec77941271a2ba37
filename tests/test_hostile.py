"""Files that were made to run code: each is refused by the layer and the name, and nothing of it has run."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import zipfile

import h5py
import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq.saving import load_model

# What Keras says of a hostile file is not what is looked at.
pytestmark = pytest.mark.filterwarnings("ignore")

KERAS = {"Keras 2": tf_keras, "Keras 3": keras3}


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Return whether code of the module `hostile` has run: it is importable, and Keras does not know it."""
    marker = tmp_path / "ran"
    run = f"open({str(marker)!r}, 'w').close()"
    source = f"""{run}
import tf_keras, keras
def call(*inputs, **options):
    {run}
    return inputs[0]
class Layer(tf_keras.layers.Layer):
    def __init__(self, **options):
        {run}
        super().__init__()
"""
    (tmp_path / "importable").mkdir()
    (tmp_path / "importable" / "hostile.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "importable")
    yield marker.exists
    sys.modules.pop("hostile", None)


def function(name="call", module="hostile", registered=None):
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered or name}


def of_class(name="Layer", module="hostile", registered=None, config=None):
    config = {"name": "h"} if config is None else config
    return {"module": module, "class_name": name, "config": config, "registered_name": registered or name}


def layer(name, **config):
    return {"module": "keras.layers", "class_name": name, "config": {"name": "h", **config}, "registered_name": None}


def calling():
    return layer("Lambda", function=function(), function_type="function")


def setting(key, value):
    def change(k, config):
        config["config"]["layers"][1]["config"][key] = value

    return change


def instead(entry):
    def change(k, config):
        config["config"]["layers"][1] = entry

    return change


def nested_and_compiled(k, config):
    inner = k.Sequential([k.Input((4,)), k.layers.Dense(4)], name="inner")
    inner.compile(loss="mse")
    content = k.saving.serialize_keras_object(inner)
    content["compile_config"] = {"optimizer": "sgd", "loss": function()}
    config["config"]["layers"][1] = content


# What is put in the place of a dense layer, and what the refusal says.
CHANGES = {
    "a function in a Lambda layer": (instead(calling()), "function 'call' of hostile in the layer 'h'"),
    "at every step": (
        instead(layer("TimeDistributed", layer=calling())),
        "function 'call' of hostile in the layer 'h'",
    ),
    "in both directions": (
        instead(layer("Bidirectional", layer=calling())),
        "function 'call' of hostile in the layer 'h'",
    ),
    "a class": (instead(of_class()), "class 'Layer' of hostile in the layer 'h'"),
    "the model itself": (lambda k, config: config.update(of_class()), "class 'Layer' of hostile in the layer 'h'"),
    "a class under the name of Keras' own": (instead(of_class("Dense")), "class 'Dense' of hostile"),
    "a class of a module beside Keras": (instead(of_class("Dense", "keras_hostile")), "class 'Dense' of keras_hostile"),
    "an activation": (setting("activation", function()), "function 'call' of hostile in the layer 'middle'"),
    "an activation under a known name": (
        setting("activation", function(registered="tf_laq>QuantizeWrapper")),
        "function 'call' of hostile, registered as 'tf_laq>QuantizeWrapper', in the layer 'middle'",
    ),
    "a function of Python": (setting("activation", function("eval", "builtins")), "function 'eval' of builtins"),
    "a function of Keras that reads files": (
        setting("activation", function("get_file", "keras.utils")),
        "function 'get_file' of keras.utils in the layer 'middle', of which Keras",
    ),
    "another name in a module of Keras": (
        setting("activation", of_class("Dense", "keras.src.utils.data_utils", "urlretrieve")),
        "class 'Dense' of keras.src.utils.data_utils, registered as 'urlretrieve', in the layer 'h', of which Keras",
    ),
    "another name in Python": (
        setting("activation", function("categorical_crossentropy", "builtins", "eval")),
        "function 'categorical_crossentropy' of builtins",
    ),
    "an initializer": (setting("kernel_initializer", of_class(config={})), "class 'Layer' of hostile in the layer"),
    "a regularizer": (setting("kernel_regularizer", of_class(config={})), "class 'Layer' of hostile in the layer"),
    "a constraint": (setting("kernel_constraint", of_class(config={})), "class 'Layer' of hostile in the layer"),
    "a specification of types": (
        setting("dtype", {**of_class(config={}), "class_name": "__typespec__", "spec_name": "Layer"}),
        "'__typespec__' of hostile, registered as 'Layer', in the layer 'middle'",
    ),
    "a lambda as a value": (
        setting("activation", {"class_name": "__lambda__", "config": {"value": ["", None, None]}}),
        "Python code in the layer 'middle'",
    ),
    "a loss of a model in it": (nested_and_compiled, "function 'call' of hostile"),
    "an operation that writes files": (
        instead(layer("TFOpLambda", function="io.write_file")),
        "'TFOpLambda'|a call of TensorFlow's io.write_file in the layer 'h'",
    ),
    "a function of TensorFlow that runs Python": (
        setting("activation", function("eager_py_func", "tensorflow.python.ops.script_ops")),
        "function 'eager_py_func'",
    ),
    "a SavedModel as a layer": (
        instead(layer("TFSMLayer", filepath="folder")),
        "class 'TFSMLayer' of keras.layers in the layer 'h'",
    ),
    "a vocabulary in another file": (
        instead(layer("StringLookup", vocabulary="/etc/hostname")),
        "the path of another file, '/etc/hostname', in the layer 'h'",
    ),
}
# Those by which Keras 2 runs code, which shows that the tests have teeth.
BY_KERAS_2 = (
    *("a function in a Lambda layer", "at every step", "in both directions"),
    *("an activation under a known name", "the model itself"),
)


def saved(k, path):
    parts = [k.Input((4,)), k.layers.Dense(4, name="middle"), k.layers.Dense(2)]
    k.Sequential(parts, name="model").save(path)
    return path


def rewritten(path, change):
    """Change the configuration in a file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        config = json.loads(content["config.json"])
        change(config)
        content["config.json"] = json.dumps(config).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in content.items():
                archive.writestr(name, part)
    else:
        with h5py.File(path, "a") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_file_that_would_run_code_is_refused_by_layer_and_name(name, version, ending, tmp_path, ran):
    change, reason = CHANGES[name]
    path = saved(KERAS[version], tmp_path / f"m{ending}")
    rewritten(path, lambda config: change(KERAS[version], config))
    with pytest.raises(laq.InputError, match=rf"m\{ending}: expected a model saved by Keras.*({reason})"):
        load_model(path)
    assert not ran()


@pytest.mark.parametrize("name", BY_KERAS_2)
def test_keras_2_by_itself_runs_what_these_files_name(name, tmp_path, ran):
    path = saved(tf_keras, tmp_path / "m.keras")
    rewritten(path, lambda config: CHANGES[name][0](tf_keras, config))
    with contextlib.suppress(Exception):
        load_model(path, safe_mode=False)
    assert ran()


@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("around", ["nothing", "a model", "a layer"])
def test_bytecode_is_refused_and_runs_only_when_trusted(version, ending, around, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    k, marker, path = KERAS[version], tmp_path / "ran", tmp_path / f"m{ending}"
    inside = k.layers.Lambda(
        # Its globals do not come with it.
        lambda x: (__builtins__["open"]("ran", "w").close(), x)[1],
        output_shape=(4,),
        name="h",
    )
    inputs = k.Input((3, 4))
    if around == "a model":
        outputs = k.Model(inputs, inside(inputs))(inputs)
    else:
        outputs = (k.layers.TimeDistributed(inside) if around == "a layer" else inside)(inputs)
    k.Model(inputs, outputs).save(path)
    marker.unlink(missing_ok=True)
    with pytest.raises(laq.InputError, match=r"Python code in the layer 'h'.*pass safe_mode=False if you trust"):
        load_model(path)
    assert not marker.exists()
    load_model(path, safe_mode=False)(np.ones((1, 3, 4), "f4"))
    assert marker.exists()


def test_the_call_of_a_program_by_name_is_refused(tmp_path):
    inputs = tf_keras.Input((4,))
    constant = tf_keras.layers.Lambda(lambda x: x, name="h")
    tf_keras.Model(inputs, constant(inputs)).save(path := tmp_path / "m.keras")

    def call(config):
        config["config"]["layers"][1]["config"] |= {
            "function": function("system", "os"),
            "function_type": "function",
            "arguments": {},
        }
        config["config"]["layers"][1]["inbound_nodes"] = [[["_CONSTANT_VALUE", -1, f"touch {tmp_path / 'ran'}", {}]]]

    rewritten(path, call)
    with pytest.raises(laq.InputError, match="the function 'system' of os in the layer 'h', which is unknown"):
        load_model(path)
    assert not (tmp_path / "ran").exists()
    with contextlib.suppress(Exception):
        load_model(path, safe_mode=False)
    assert (tmp_path / "ran").exists()


def test_the_content_decides_what_a_file_is_and_not_its_name(tmp_path, ran):
    rewritten(saved(tf_keras, tmp_path / "m.h5"), lambda config: CHANGES["an activation"][0](tf_keras, config))
    (tmp_path / "m.h5").rename(tmp_path / "hdf5.keras")
    rewritten(saved(tf_keras, tmp_path / "m.keras"), lambda config: CHANGES["a class"][0](tf_keras, config))
    archive = (tmp_path / "m.keras").read_bytes()
    (tmp_path / "zip.h5").write_bytes(archive)
    saved(tf_keras, tmp_path / "n.keras")
    (tmp_path / "both.h5").write_bytes((tmp_path / "hdf5.keras").read_bytes() + (tmp_path / "n.keras").read_bytes())
    for name, reason in {
        "hdf5.keras": "function 'call' of hostile",
        "zip.h5": r"a \.keras file under another name",
        "both.h5": r"a \.keras file under another name",
    }.items():
        with pytest.raises(laq.InputError, match=reason):
            load_model(tmp_path / name)
    assert not ran()


@pytest.mark.parametrize("version", KERAS)
def test_how_a_model_was_compiled_is_not_looked_at_by_keras_either(version, tmp_path, ran):
    path = saved(KERAS[version], tmp_path / "m.keras")
    rewritten(path, lambda config: config.update(compile_config={"optimizer": "sgd", "loss": function()}))
    assert load_model(path).layers
    assert not ran()


def test_a_saved_model_is_refused_with_what_it_would_run(tmp_path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None, 4), name="x")])
    def run(x):
        tf.io.write_file(str(tmp_path / "ran"), "")
        return x

    module.run = run
    tf.saved_model.save(module, tmp_path / "saved")
    for load in (load_model, lambda path: laq.evaluation.Classifier(path).settled(np.zeros((2, 4), "f4"), [0, 1])):
        with pytest.raises(laq.InputError, match="a SavedModel folder, which is a program"):
            load(tmp_path / "saved")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("kind", ["link", "virtual", "external"])
def test_weights_in_other_files_are_refused(ending, kind, tmp_path):
    path = saved(tf_keras, tmp_path / f"m{ending}")
    weights = path
    if ending == ".keras":
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        weights = tmp_path / "model.weights.h5"
        weights.write_bytes(content["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        group = file.create_group("another/place")
        if kind == "link":
            group["secret"] = h5py.ExternalLink("/etc/secret.h5", "/")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
            layout[:] = h5py.VirtualSource("/etc/secret.h5", "data", shape=(4,))
            group.create_virtual_dataset("secret", layout)
        else:
            group.create_dataset("secret", (4,), "f4", external=[("/etc/hostname", 0, 16)])
    if ending == ".keras":
        content["model.weights.h5"] = weights.read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in content.items():
                archive.writestr(name, part)
    with pytest.raises(laq.InputError, match="weights that are in another file: /another/place/secret"):
        load_model(path)


@pytest.mark.parametrize("version", KERAS)
def test_a_function_of_the_users_own_is_known_whatever_the_file_says_of_its_module(version, tmp_path, ran):
    k = KERAS[version]
    path = saved(k, tmp_path / "m.keras")
    rewritten(path, lambda config: CHANGES["an activation"][0](k, config))
    loaded = load_model(path, custom_objects={"call": k.activations.tanh})
    assert loaded.layers[0].activation is k.activations.tanh
    assert not ran()


def test_operations_of_tensorflow_in_a_model_of_keras_2_are_known(tmp_path):
    inputs = tf_keras.Input((4, 4, 3))
    x = tf.nn.relu(tf.transpose(inputs, [0, 2, 1, 3])[:, 1:] * 2.0 + 1.0)
    x = tf.image.resize(tf.concat([x, tf.math.divide(x, 3.0)], -1), (2, 2))
    x = tf_keras.layers.Dense(2, activation=tf.nn.leaky_relu)(tf.reshape(x, (-1, 24)))
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(2, activation=tf.nn.relu6)(tf.clip_by_value(x, 0.0, 1.0)))
    images = np.ones((2, 4, 4, 3), "f4")
    for name in ("m.keras", "m.h5"):
        model.save(tmp_path / name)
        np.testing.assert_array_equal(load_model(tmp_path / name)(images), model(images))


def test_operations_of_keras_3_in_a_model_are_known(tmp_path):
    inputs = keras3.Input((4, 4, 3))
    x = keras3.ops.relu(keras3.ops.transpose(inputs, (0, 2, 1, 3))[:, 1:] * 2.0 + 1.0)
    x = keras3.ops.concatenate([x, keras3.ops.image.resize(x, (3, 4))], -1)
    x = keras3.layers.Dense(2, activation=keras3.ops.silu)(keras3.ops.reshape(x, (-1, 72)))
    model = keras3.Model(inputs, x)
    model.save(tmp_path / "m.keras")
    images = np.ones((2, 4, 4, 3), "f4")
    np.testing.assert_array_equal(load_model(tmp_path / "m.keras")(images), model(images))


@pytest.mark.parametrize("version", KERAS)
def test_every_error_is_one_line(version, tmp_path):
    for number, (change, _) in enumerate(CHANGES.values()):
        path = saved(KERAS[version], tmp_path / f"{number}.keras")
        rewritten(path, lambda config, change=change: change(KERAS[version], config))
        with pytest.raises(laq.InputError) as refusal:
            load_model(path)
        assert not re.search(r"\n", str(refusal.value))
        assert len(str(refusal.value)) < 600
