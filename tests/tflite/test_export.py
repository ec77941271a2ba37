from __future__ import annotations

import keras
import numpy as np
import pytest
import tf_keras

import tf_laq as laq
from tf_laq.tflite import ExportError, ExportReport


def images(count: int = 40) -> np.ndarray:
    return np.random.default_rng(7).random((count, 8, 8, 1), dtype=np.float32)


def test_the_file_of_a_baked_model_gives_its_logits_and_predictions(small_cnn, tmp_path):
    baked = laq.bake(small_cnn, laq.uniform(small_cnn, "linear", 4))
    laq.export_tflite(baked, tmp_path / "m.tflite")
    expected = baked(images(), training=False).numpy()
    logits = laq.tflite.load(tmp_path / "m.tflite")(images())
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(logits.argmax(1), expected.argmax(1))


def test_a_model_exports_by_the_plan_that_it_knows_also_from_a_file(small_cnn, tmp_path):
    plan = laq.uniform(small_cnn, "linear", 3)
    laq.save_model(laq.bake(small_cnn, plan), tmp_path / "baked.keras")
    laq.apply(small_cnn, plan).save(tmp_path / "wrapped.keras")
    forms = [laq.apply(small_cnn, plan), laq.strip(laq.apply(small_cnn, plan)), laq.bake(small_cnn, plan)]
    forms += [laq.load_model(tmp_path / name) for name in ("baked.keras", "wrapped.keras")]
    laq.export_tflite(small_cnn, tmp_path / "expected.tflite", plan)
    for model in forms:
        laq.export_tflite(model, tmp_path / "m.tflite")
        assert (tmp_path / "m.tflite").read_bytes() == (tmp_path / "expected.tflite").read_bytes()


def test_a_model_without_a_plan_is_exported_as_float32_only_if_that_is_asked_for(small_cnn, tmp_path):
    with pytest.raises(laq.InputError, match=r"plan: expected a plan, \"float32\", or a model.*knows none.*laq\.apply"):
        laq.export_tflite(small_cnn, tmp_path / "m.tflite")
    assert not (tmp_path / "m.tflite").exists()
    report = laq.export_tflite(small_cnn, tmp_path / "m.tflite", "float32")
    assert {tensor.encoding for tensor in report.tensors} == {"float32"}
    with pytest.raises(laq.InputError, match=r"plan: expected .* Received: 'float16'"):
        laq.export_tflite(small_cnn, tmp_path / "m.tflite", "float16")


def test_the_file_of_a_batch_normalised_net_gives_its_logits(normalised_net, tmp_path):
    plan = laq.uniform(normalised_net, "log", 4)
    report = laq.export_tflite(normalised_net, tmp_path / "m.tflite", plan)
    expected = laq.bake(normalised_net, plan)(images(), training=False).numpy()
    logits = laq.tflite.load(tmp_path / "m.tflite")(images())
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    assert report.predictions_equal


def test_float_wrapped_and_baked_models_give_the_same_file_under_a_plan(small_cnn, tmp_path):
    plan = laq.uniform(small_cnn, "linear", 3)
    forms = {
        "float": small_cnn,
        "wrapped": laq.apply(small_cnn, plan),
        "baked": laq.bake(small_cnn, plan),
    }
    outputs = {}
    for name, model in forms.items():
        laq.export_tflite(model, tmp_path / f"{name}.tflite", plan)
        outputs[name] = laq.tflite.load(tmp_path / f"{name}.tflite")(images())
    np.testing.assert_array_equal(outputs["float"], outputs["baked"])
    np.testing.assert_array_equal(outputs["float"], outputs["wrapped"])
    assert not np.array_equal(outputs["float"], small_cnn(images()).numpy())


def test_the_report_has_the_bytes_of_the_file_and_the_limit_of_the_plan(small_cnn, tmp_path):
    plan = laq.uniform(small_cnn, "linear", 3, overrides={"logits": None})
    path = tmp_path / "m.tflite"
    report = laq.export_tflite(small_cnn, path, plan, images=images(16))
    kernels = [np.prod(w.shape) for w in small_cnn.get_weights() if w.ndim > 1]
    biases = sum(w.size for w in small_cnn.get_weights() if w.ndim == 1)
    assert report.file_bytes == path.stat().st_size
    assert report.limit_bytes == sum(-(-3 * k // 8) for k in kernels[:-1]) + 4 * kernels[-1] + 4 * biases
    assert [(t.quantizer, t.bits) for t in report.tensors] == [*[("linear", 3)] * 3, (None, 32)]
    assert report.parity.images == 16
    assert str(report).count("parity:") == 1
    assert ExportReport.from_json(report.to_json()) == report


def test_a_model_that_was_quantized_by_another_plan_is_refused(small_cnn, tmp_path):
    baked = laq.bake(small_cnn, laq.uniform(small_cnn, "linear", 4))
    with pytest.raises(ExportError, match=r"layer 'conv1'.*linear, 3 bits.*4 of 4 weights"):
        laq.export_tflite(baked, tmp_path / "m.tflite", laq.uniform(small_cnn, "linear", 3))
    wrapped = laq.apply(small_cnn, laq.uniform(small_cnn, "log", 3))
    with pytest.raises(ExportError, match="levels of the plan's quantizer"):
        laq.export_tflite(wrapped, tmp_path / "m.tflite", laq.uniform(small_cnn, "linear", 3))
    assert not list(tmp_path.iterdir())


def test_one_weight_off_its_level_is_refused_by_the_layers_name(small_cnn, tmp_path):
    plan = laq.uniform(small_cnn, "linear", 4)
    baked = laq.bake(small_cnn, plan)
    kernel = baked.get_layer("dense1").kernel.numpy()
    kernel[0, 0] += 0.3 * np.abs(kernel).max()
    baked.get_layer("dense1").kernel.assign(kernel)
    with pytest.raises(ExportError, match=r"layer 'dense1', weight 'kernel'.*1 of 4 weights"):
        laq.export_tflite(baked, tmp_path / "m.tflite", plan)


def test_a_plan_for_another_model_is_refused(small_cnn, normalised_net, tmp_path):
    with pytest.raises(laq.InputError, match="a plan for this model"):
        laq.export_tflite(small_cnn, tmp_path / "m.tflite", laq.uniform(normalised_net, "linear", 3))


def test_a_refused_export_leaves_the_old_file_as_it_was(small_cnn, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    broken = laq.bake(small_cnn, laq.uniform(small_cnn, "linear", 4))
    broken.get_layer("dense1").bias.assign(np.full(16, np.nan, np.float32))
    with pytest.raises(ExportError, match=r"outputs that are numbers on 32 examples of 'images'.*320 NaN"):
        laq.export_tflite(broken, path, "float32")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


def test_a_model_that_is_random_in_inference_mode_is_refused(tmp_path):
    import tensorflow as tf
    import tf_keras

    noisy = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 1)),
            tf_keras.layers.Flatten(),
            tf_keras.layers.Lambda(lambda x: x + tf.random.uniform(tf.shape(x))),
            tf_keras.layers.Dense(3),
        ]
    )
    with pytest.raises(ExportError, match="outputs that differ by up to"):
        laq.export_tflite(noisy, tmp_path / "m.tflite", "float32")
    assert not list(tmp_path.iterdir())


def test_a_layer_that_cannot_be_converted_is_named_with_its_operator(tmp_path):
    import tensorflow as tf
    import tf_keras

    inverting = tf_keras.Sequential(
        [
            tf_keras.Input((4, 4)),
            tf_keras.layers.Lambda(lambda x: tf.linalg.inv(x + tf.eye(4)), name="inverse"),
            tf_keras.layers.Flatten(),
            tf_keras.layers.Dense(3),
        ]
    )
    with pytest.raises(ExportError, match=r"operator MatrixInverse in .*inverse"):
        laq.export_tflite(inverting, tmp_path / "m.tflite", "float32")


def test_a_recurrent_net_is_exported_exactly(tmp_path):
    import tf_keras

    network = tf_keras.Sequential(
        [tf_keras.Input((6, 4)), tf_keras.layers.LSTM(5, name="memory"), tf_keras.layers.Dense(3)]
    )
    report = laq.export_tflite(network, tmp_path / "m.tflite", laq.uniform(network, "linear", 4))
    assert report.parity.relative_difference < 1e-5


def test_a_model_without_a_fixed_image_size_is_refused(tmp_path):
    import tf_keras

    network = tf_keras.Sequential([tf_keras.Input((None, None, 1)), tf_keras.layers.Conv2D(2, 3)])
    with pytest.raises(laq.InputError, match="fixed sizes"):
        laq.export_tflite(network, tmp_path / "m.tflite", "float32")


def test_too_few_images_to_compare_on_are_refused(small_cnn, tmp_path):
    with pytest.raises(laq.InputError, match="at least 16"):
        laq.export_tflite(small_cnn, tmp_path / "m.tflite", "float32", images=images(3))


def test_a_registered_quantizer_whose_levels_move_is_exported_without_code_for_it(ternary, small_cnn, tmp_path):
    plan = laq.uniform(small_cnn, ternary.name, 2)
    baked = laq.bake(small_cnn, plan)
    reports = [laq.export_tflite(m, tmp_path / "m.tflite", plan) for m in (small_cnn, baked)]
    assert reports[0] == reports[1]
    assert {t.quantizer for t in reports[0].tensors} == {"ternary"}


@pytest.mark.parametrize("k", [tf_keras, keras], ids=["tf_keras", "keras"])
def test_a_subclassed_model_whose_layers_keras_named_is_exported_as_planned(k, tmp_path):
    @k.utils.register_keras_serializable("tf_laq_tests")
    class Counted(k.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.hidden = k.Sequential([k.layers.Dense(9, activation="relu")])
            self.dense = k.layers.Dense(10)

        def build(self, shape):
            self.hidden.build(shape)
            self.dense.build((shape[0], 9))
            super().build(shape)

        def call(self, inputs):
            return self.dense(self.hidden(inputs))

    model = Counted()
    model.build((None, 20))
    plan = laq.uniform(model, "linear", 4)
    baked = laq.bake(model, plan)
    forms = [model, baked] if k is tf_keras else [model, baked, laq.apply(model, plan)]
    reports = [laq.export_tflite(m, tmp_path / "m.tflite", plan, layout="packed", strict=True) for m in forms]
    assert [(t.layer, t.encoding) for t in reports[0].tensors] == [(e.layer, "int4") for e in plan.entries]
    assert all(report == reports[0] for report in reports)
