from __future__ import annotations

import numpy as np
import pytest

import tf_laq as laq
from tf_laq.saving import load_model, save_model


@pytest.fixture(scope="module")
def network():
    return laq.models.build("digits_cnn", seed=0, width=2)


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "saved_model"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_every_format_of_a_quantized_model_loads_with_the_same_outputs(network, tmp_path, name):
    wrapped = laq.apply(network, laq.uniform(network, "log", 3))
    wrapped.save(tmp_path / name)
    images = np.random.default_rng(0).random((3, 8, 8, 1), dtype=np.float32)
    np.testing.assert_allclose(load_model(tmp_path / name)(images), wrapped(images), rtol=1e-6, atol=1e-6)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(laq.InputError, match="no such file"):
        load_model(tmp_path / "none.keras")


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.txt"])
def test_a_file_that_is_no_model_is_refused_by_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"no model at all")
    with pytest.raises(laq.InputError, match=f"{name}: expected a model saved by Keras"):
        load_model(tmp_path / name)


def test_a_truncated_model_is_refused(network, tmp_path):
    save_model(network, tmp_path / "m.keras")
    content = (tmp_path / "m.keras").read_bytes()
    (tmp_path / "m.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(laq.InputError, match="It may be truncated"):
        load_model(tmp_path / "m.keras")


def test_only_the_keras_format_is_saved(network, tmp_path):
    with pytest.raises(laq.InputError, match=r"ends in \"\.keras\""):
        save_model(network, tmp_path / "m.h5")
    assert not list(tmp_path.iterdir())
