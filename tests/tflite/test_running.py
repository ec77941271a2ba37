from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tf_laq as laq


@pytest.fixture(scope="module")
def exported(small_cnn, tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "m.tflite"
    laq.export_tflite(small_cnn, path, "float32")
    return path


def test_any_batch_gives_one_row_an_image_from_arrays_and_tensors(exported):
    images = np.random.default_rng(0).random((5, 8, 8, 1), dtype=np.float32)
    model = laq.tflite.load(exported)
    together = model(images)
    assert together.shape == (5, 10)
    np.testing.assert_array_equal(np.concatenate([model(images[i : i + 1]) for i in range(5)]), together)
    np.testing.assert_array_equal(model(tf.constant(images)), together)


def test_a_file_for_another_batch_is_refused(tmp_path):
    function = tf.function(lambda x: 2.0 * x).get_concrete_function(tf.TensorSpec((4, 3), tf.float32))
    path = tmp_path / "four.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()).convert())
    with pytest.raises(laq.InputError, match=r"four.tflite: expected a file that takes one image.*\(4, 3\)"):
        laq.tflite.load(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(exported, tmp_path, share):
    content = exported.read_bytes()
    path = tmp_path / "short.tflite"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(laq.InputError, match=r"short.tflite: expected a whole TensorFlow Lite file"):
        laq.tflite.load(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file", b"\x1c\x00\x00\x00TFL3"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "other.tflite"
    path.write_bytes(content)
    with pytest.raises(laq.InputError, match="a whole TensorFlow Lite file"):
        laq.tflite.load(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(laq.InputError, match="a readable TensorFlow Lite file"):
        laq.tflite.load(tmp_path / "none.tflite")


@pytest.mark.parametrize("shape", [(8, 8, 1), (2, 8, 8, 3), (0, 8, 8, 1)])
def test_images_of_another_shape_are_refused(exported, shape):
    with pytest.raises(laq.InputError, match="images for"):
        laq.tflite.load(exported)(np.zeros(shape, np.float32))
