"""The seam: what a model takes and returns, and the logits that attacks see of it."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq.attacks import PGD, Battery, Column, Square
from tf_laq.errors import InputError
from tf_laq.evaluation import Classifier, RobustnessReport, accuracy_curve, evaluate, minimal_perturbations

SHAPE, COUNT = (8, 8, 1), 40
IMAGES = np.random.default_rng(0).random((COUNT, *SHAPE)).astype(np.float32)
LABELS = np.arange(COUNT) % 5
PGD_5 = Battery(name="pgd", columns=(Column(name="pgd", attacks={"white": PGD(epsilon=0.1, steps=5)}),))
both = pytest.mark.parametrize("k", [tf_keras, keras], ids=["tf_keras", "keras"])


def dense(k, units=5, activation=None, seed=0, shape=SHAPE):
    """Return a linear network; the same for both versions of Keras."""
    model = k.Sequential([k.Input(shape), k.layers.Flatten(), k.layers.Dense(units, activation=activation)])
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def settled(model, images=IMAGES, labels=LABELS, **settings):
    return Classifier(model, **settings).settled(images, labels)


def logits(model, images=IMAGES, labels=LABELS, **settings):
    return settled(model, images, labels, **settings).logits(tf.constant(images)).numpy()


@both
def test_a_model_of_float32_logits_is_seen_as_it_is(k) -> None:
    model = dense(k)
    seen = settled(model)
    assert (seen.steps, seen.classes, len(seen.sha256)) == ((), 5, 64)
    np.testing.assert_array_equal(seen.logits(tf.constant(IMAGES)), model(IMAGES))


@both
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_logits_and_gradients_are_float32_whatever_the_model_computes_in(k, dtype) -> None:
    model = k.Sequential([k.Input(SHAPE), dense(k), k.layers.Activation("linear", dtype=dtype)])
    seen = settled(model)
    assert seen.steps == (f"{dtype} outputs cast to float32",)
    images = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(images)
        found = seen.logits(images)
    assert found.dtype == tape.gradient(found, images).dtype == tf.float32
    np.testing.assert_allclose(found, dense(k)(IMAGES), rtol=2e-2, atol=2e-1)


@both
@pytest.mark.parametrize("container", ["dict", "list", "nested"])
def test_the_one_output_in_a_container_is_taken(k, container) -> None:
    inner = dense(k)
    inputs = k.Input(SHAPE)
    outputs = inner(inputs)
    model = k.Model(inputs, {"dict": {"logits": outputs}, "list": [outputs], "nested": {"a": [outputs]}}[container])
    np.testing.assert_array_equal(logits(model), inner(IMAGES))


@both
def test_of_several_outputs_the_chosen_one_is_attacked_and_none_is_refused_with_the_names(k) -> None:
    inner = dense(k)
    inputs = k.Input(SHAPE)
    model = k.Model(inputs, {"logits": inner(inputs), "features": k.layers.Flatten()(inputs)})
    np.testing.assert_array_equal(logits(model, output="logits"), inner(IMAGES))
    with pytest.raises(InputError, match=r"models\['m'\]: .*the outputs '.*Classifier\(model, output"):
        evaluate({"m": model}, IMAGES, LABELS, battery=PGD_5)
    with pytest.raises(InputError, match=r"models\['m'\]: expected an output 'scores'"):
        evaluate({"m": Classifier(model, output="scores")}, IMAGES, LABELS, battery=PGD_5)


def test_outputs_of_functions_are_chosen_by_place() -> None:
    model = dense(keras)
    np.testing.assert_array_equal(logits(lambda x: (tf.nn.softmax(model(x)), model(x)), output=1), model(IMAGES))
    np.testing.assert_array_equal(logits(lambda x: [np.asarray(model(x))]), model(IMAGES))


@both
@pytest.mark.parametrize("end", ["softmax", "sigmoid"])
def test_an_activation_at_the_end_is_left_out_and_the_report_says_so(k, end) -> None:
    plain, model = dense(k), dense(k, activation=end)
    assert settled(model).steps == (f"{end} at the end left out",)
    np.testing.assert_allclose(logits(model), plain(IMAGES), rtol=1e-5, atol=1e-5)
    report = evaluate({"plain": plain, end: model}, IMAGES, LABELS, battery=PGD_5, check_strength=False)
    first, second = (report.correct(name, "pgd", "white") for name in ("plain", end))
    np.testing.assert_array_equal(first, second)
    assert f"{end}: {end} at the end left out." in report.notes()
    assert RobustnessReport.from_json(report.to_json()) == report


@both
@pytest.mark.parametrize("end", ["softmax", "sigmoid"])
def test_one_that_cannot_be_left_out_is_refused_before_the_first_attack_with_the_cure(k, end, noting) -> None:
    function = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}[end]
    model = k.Sequential([k.Input(SHAPE), dense(k), k.layers.Lambda(lambda z: function(0.1 * z))])
    battery = Battery(name="x", columns=(Column(name="c", attacks={"white": noting}),))
    with pytest.raises(InputError, match=rf"remove the {end} at the end.*outputs='probabilities'"):
        evaluate({"m": model}, IMAGES, LABELS, battery=battery)
    assert noting.seen == []
    seen = settled(model, outputs="probabilities")
    np.testing.assert_allclose(function(seen.logits(IMAGES)), model(IMAGES), rtol=1e-4)
    assert seen.steps[0].startswith(f"probabilities p of a {end} read as logits log(p)")


def test_outputs_that_are_no_probabilities_are_refused_where_the_user_says_so() -> None:
    with pytest.raises(InputError, match="expected probabilities.*Received: values from"):
        settled(dense(keras), outputs="probabilities")


def test_one_probability_is_enough_where_the_user_says_so() -> None:
    seen = Classifier(lambda images: tf.nn.sigmoid(images[:, 0, 0, :1]), outputs="probabilities").settled(
        IMAGES[:1], LABELS[:1] % 2
    )
    np.testing.assert_allclose(np.asarray(seen.logits(IMAGES))[:, 1], IMAGES[:, 0, 0, 0], atol=1e-5)


def test_logits_in_the_unit_interval_are_taken_where_the_user_says_so() -> None:
    def model(images):
        return tf.reshape(images, [-1, 64])[:, :5]

    with pytest.raises(InputError, match="outputs='logits' says that these are logits"):
        settled(model)
    np.testing.assert_array_equal(logits(model, outputs="logits"), IMAGES.reshape(COUNT, -1)[:, :5])


@both
@pytest.mark.parametrize("end", [None, "sigmoid"])
def test_one_unit_is_two_classes(k, end) -> None:
    model, labels = dense(k, 1, end), LABELS % 2
    z = dense(k, 1)(IMAGES)[:, 0]
    np.testing.assert_allclose(logits(model, labels=labels), np.stack([0 * z, z], 1), rtol=1e-4, atol=1e-4)
    assert settled(model, labels=labels).steps[-1] == "one logit read as two classes"
    report = evaluate({"m": model}, IMAGES, (np.asarray(z) > 0).astype(int), battery=PGD_5, check_strength=False)
    assert report.accuracy("m", "clean").value == 1.0 > report.worst_case("m").value


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("of_arrays", [True, False])
def test_one_logit_of_a_function_is_two_classes_too(shape, of_arrays) -> None:
    model = dense(keras, 1)

    def function(images):
        z = tf.reshape(model(images), shape)
        return z.numpy() if of_arrays else z

    found, z = logits(function, labels=LABELS % 2), np.asarray(model(IMAGES))[:, 0]
    np.testing.assert_array_equal(found, np.stack([0 * z, z], 1))


@both
@pytest.mark.parametrize("bounds", [(0, 255), (-1, 1), (-0.5, 2.0)])
def test_images_are_scaled_to_the_bounds_of_the_model(k, bounds) -> None:
    low, high = bounds
    plain = dense(k)
    model = k.Sequential([k.Input(SHAPE), k.layers.Lambda(lambda x: (x - low) / (high - low)), plain])
    np.testing.assert_allclose(logits(model, bounds=bounds), plain(IMAGES), rtol=1e-4, atol=1e-4)
    assert settled(model, bounds=bounds).steps == (f"inputs scaled to [{low:g}, {high:g}]",)


def test_a_preprocessing_is_given_images_in_the_bounds() -> None:
    plain = dense(keras)

    def centred(images):
        return images / 255.0 - 0.5

    seen = settled(lambda x: plain(x + 0.5), bounds=(0, 255), preprocessing=centred)
    np.testing.assert_allclose(seen.logits(tf.constant(IMAGES)), plain(IMAGES), rtol=1e-4, atol=1e-4)
    assert seen.steps[-1] == f"inputs prepared by {centred.__qualname__}"


@both
@pytest.mark.parametrize(("scale", "offset"), [(1 / 255, 0.0), (1 / 127.5, -1.0)])
@pytest.mark.parametrize("nested", [False, True])
def test_a_first_layer_that_rescales_tells_the_bounds(k, scale, offset, nested) -> None:
    first = k.layers.Rescaling(scale, offset)
    first = k.Sequential([k.Input(SHAPE), first]) if nested else first
    plain = dense(k)
    model = k.Sequential([k.Input(SHAPE), first, plain])
    expected = plain(IMAGES * 255 * scale + offset)
    np.testing.assert_allclose(logits(model), expected, rtol=1e-4, atol=1e-4)
    assert "[0, 255], from which the first layer, a Rescaling," in settled(model).steps[0]
    np.testing.assert_array_equal(logits(model, bounds=(0, 1)), model(IMAGES))


@both
def test_a_rescaling_of_the_unit_interval_is_left_as_it_is(k) -> None:
    model = k.Sequential([k.Input(SHAPE), k.layers.Rescaling(2.0, -1.0), dense(k)])
    assert settled(model).steps == ()


@both
def test_a_model_of_channels_first_is_attacked_as_its_twin_of_channels_last(k) -> None:
    shape = (8, 12, 3)
    images = np.random.default_rng(1).random((COUNT, *shape)).astype(np.float32)
    last = dense(k, shape=shape)
    first = k.Sequential([k.Input((3, 8, 12)), k.layers.Permute((2, 3, 1)), last])
    square = Column(name="square", attacks={"white": Square(epsilon=0.05, queries=100)})
    battery = Battery(name="x", columns=(*PGD_5.columns, square))
    models = {"last": last, "first": Classifier(first, data_format="channels_first")}
    labels = np.argmax(last(images), axis=1)
    report = evaluate(models, images, labels, battery=battery, check_strength=False)
    for column in ("pgd", "square"):
        kept, found = (report.correct(name, column, "white") for name in models)
        assert not kept.all()
        np.testing.assert_array_equal(kept, found)
    assert "first: inputs transposed to channels first." in report.notes()


@both
def test_layouts_that_do_not_fit_are_refused_with_the_cure(k) -> None:
    shape = (8, 12, 3)
    images = np.random.default_rng(1).random((COUNT, *shape)).astype(np.float32)
    first = k.Sequential([k.Input((3, 8, 12)), k.layers.Permute((2, 3, 1)), dense(k, shape=shape)])
    with pytest.raises(InputError, match=r"channels first\. Give Classifier\(model, data_format='channels_first'\)"):
        evaluate({"m": first}, images, LABELS, battery=PGD_5)
    with pytest.raises(InputError, match=r"^images: expected channels last.*np.moveaxis\(images, 1, -1\)"):
        evaluate({"m": first}, np.moveaxis(images, 3, 1), LABELS, battery=PGD_5)


@pytest.mark.parametrize("shape", [(20, 3), (20,)], ids=["signals", "features"])
def test_signals_and_features_are_attacked_by_what_needs_no_image(shape) -> None:
    values = np.random.default_rng(2).random((COUNT, *shape)).astype(np.float32)
    model = dense(keras, shape=shape)
    labels = np.argmax(model(values), axis=1)
    report = evaluate({"m": model}, values, labels, battery=PGD_5, check_strength=False)
    assert report.worst_case("m").value < report.accuracy("m", "clean").value == 1.0
    squares = Battery(name="x", columns=(Column(name="s", attacks={"white": Square(epsilon=0.1)}),))
    with pytest.raises(InputError, match="column s, white: expected images of shape"):
        evaluate({"m": model}, values, labels, battery=squares)
    with pytest.raises(InputError, match="attack: expected images of shape"):
        accuracy_curve({"m": model}, values, labels, attack=Square(epsilon=0.1), epsilons=[0.1])


def test_images_without_channels_are_refused_where_the_model_takes_them_with() -> None:
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(5)])
    with pytest.raises(InputError, match=r"add the channel axis with images\[..., None\]"):
        settled(model, images=IMAGES[..., 0])


@both
def test_files_are_seen_as_the_models_in_them_and_folders_are_to_be_loaded(k, tmp_path) -> None:
    model = dense(k)
    laq.save_model(model, tmp_path / "m.keras")
    laq.export_tflite(model, tmp_path / "m.tflite", "float32")
    module = served(model)
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.serve)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    for given in (tmp_path / "m.keras", str(tmp_path / "m.tflite"), loaded):
        np.testing.assert_allclose(logits(given), model(IMAGES), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r"SavedModel folder.*give what .*tf\.saved_model\.load\(path\) returns"):
        logits(tmp_path / "saved")
    report = evaluate({"m": model, "s": loaded}, IMAGES, LABELS, battery=PGD_5, check_strength=False)
    first, second = (report.correct(name, "pgd", "white") for name in "ms")
    np.testing.assert_array_equal(first, second)


def served(model, shape=(None, *SHAPE)):
    """Return a model with a serving signature."""
    module = tf.Module()
    module.kept = [tf.Variable(w) for w in model.get_weights()]

    @tf.function(input_signature=[tf.TensorSpec(shape, name="x")])
    def serve(x):
        return {"scores": tf.reshape(x, [tf.shape(x)[0], -1]) @ module.kept[0] + module.kept[1]}

    module.serve = serve
    return module


def test_a_saved_model_of_a_fixed_batch_is_refused(tmp_path) -> None:
    module = served(dense(keras), (7, *SHAPE))
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve)
    with pytest.raises(InputError, match="any number of images. Received: one that takes 7 at a time"):
        settled(tf.saved_model.load(str(tmp_path)))


@pytest.mark.parametrize("path", ["nothing.keras", "nothing.tflite"])
def test_a_missing_file_is_refused(path, tmp_path) -> None:
    with pytest.raises(InputError, match="nothing"):
        settled(tmp_path / path)
    with pytest.raises(InputError, match="SavedModel folder"):
        settled(tmp_path)


def test_a_function_of_arrays_may_know_nothing_of_tensors() -> None:
    weights = np.random.default_rng(0).normal(size=(64, 5))

    def function(images):
        return np.ascontiguousarray(images).astype(np.float64, copy=True).reshape(len(images), -1).dot(weights)

    def strict(images):
        if not isinstance(images, np.ndarray):
            raise TypeError("an array")
        return function(images)

    np.testing.assert_allclose(logits(strict), function(IMAGES), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outputs": "scores"}, "^outputs: expected one of"),
        ({"data_format": "first"}, "^data_format: expected one of channels_last, channels_first"),
        ({"bounds": (1, 0)}, "^bounds: expected the lower bound below"),
        ({"bounds": 255}, "^bounds: expected two numbers"),
        ({"bounds": (0, "255")}, "^bounds: expected a finite number"),
        ({"preprocessing": 255}, "^preprocessing: expected a callable"),
        ({"output": 1.5}, "^output: expected the name or position"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, message) -> None:
    with pytest.raises(InputError, match=message):
        Classifier(dense(keras), **settings)


def test_a_classifier_is_printed_with_its_settings() -> None:
    text = repr(Classifier("m.keras", bounds=(0, 255)))
    assert text == (
        "Classifier(model='m.keras', output=None, outputs=None, bounds=(0.0, 255.0), preprocessing=None, "
        "data_format='channels_last')"
    )


def test_classifiers_of_one_model_and_the_same_settings_are_one_model() -> None:
    model, other = dense(keras), dense(keras, seed=1)
    gray = Battery(name="x", columns=(Column(name="c", attacks=dict.fromkeys(("gray", "white"), PGD(epsilon=0.1))),))
    surrogates = {"same": Classifier(model), "other": Classifier(other, bounds=(0.0, 1.0))}
    report = evaluate({"m": model}, IMAGES, LABELS, battery=gray, surrogates=surrogates, check_strength=False)
    assert {outcome.surrogate for outcome in report.outcomes} == {None, "other"}


def test_settings_tell_evaluations_apart(tmp_path) -> None:
    model = dense(keras, 1, "sigmoid")
    options = {"battery": PGD_5, "check_strength": False, "folder": tmp_path}
    report = evaluate({"m": Classifier(model)}, IMAGES, LABELS % 2, **options)
    assert evaluate({"m": model}, IMAGES, LABELS % 2, **options) == report
    with pytest.raises(InputError, match=r"one with other models\['m'\]"):
        evaluate({"m": Classifier(model, bounds=(0, 1))}, IMAGES, LABELS % 2, **options)
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["steps"] == {"m": ["sigmoid at the end left out", "one logit read as two classes"]}


def test_curves_and_smallest_perturbations_take_classifiers_too() -> None:
    plain = dense(keras)
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Rescaling(1 / 255), plain])
    models = {"plain": plain, "bytes": Classifier(model, bounds=(0, 255))}
    curve = accuracy_curve(models, IMAGES, LABELS, attack=PGD(epsilon=0.1, steps=3), epsilons=[0.05, 0.1])
    assert curve.broken_at["plain"] == curve.broken_at["bytes"]
    found = minimal_perturbations(models, IMAGES, LABELS, attack=laq.attacks.get("ddn", steps=20))
    np.testing.assert_allclose(found.distortions["plain"], found.distortions["bytes"], rtol=2e-2)
