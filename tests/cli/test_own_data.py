"""Every command on data and a network of the user's own."""

from __future__ import annotations

import shutil

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq.evaluation import AccuracyCurve, RobustnessReport
from tf_laq.saving import load_model, save_model


@pytest.fixture(scope="module")
def digits():
    test = laq.datasets.load("digits").test
    return np.rint(test.images[:240] * 255).astype(np.uint8), test.labels[:240]


@pytest.fixture
def archive(digits, tmp_path):
    """Return the path of an .npz file of images of 8x8."""
    np.savez(tmp_path / "pets.npz", images=digits[0], labels=digits[1])
    return tmp_path / "pets.npz"


@pytest.fixture
def folder(digits, tmp_path):
    """Return the path of a folder of images of several sizes by class."""
    for number, (image, label) in enumerate(zip(*digits, strict=True)):
        path = tmp_path / "pets" / f"class{label}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(np.pad(image, ((0, number % 3), (0, 0), (0, 0)))).numpy())
    return tmp_path / "pets"


def network(keras):
    layers = keras.layers
    convolution = layers.Conv2D(8, 3, strides=2, use_bias=False)
    parts = [convolution, layers.BatchNormalization(momentum=0.1), layers.ReLU(), layers.Flatten(), layers.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, 1)), *parts])


@pytest.fixture(
    params=[("archive", keras3, "linf"), ("folder", tf_keras, "l2")],
    ids=["npz", "folder"],
)
def trained(request, tmp_path, laq_command):
    """Return the arguments that name the data and the radius, and a network that was trained with them."""
    source, keras, norm = request.param
    data = ("--data", request.getfixturevalue(source), *(("--size", "8") if source == "folder" else ()))
    radius = ("--epsilon", "8/255", "--norm", norm)
    save_model(network(keras), tmp_path / "own.keras")
    code, output, errors = laq_command(
        "train", *data, *radius, "--model", tmp_path / "own.keras", "--epochs", 1, "--out", tmp_path / "adv.keras"
    )
    assert (code, errors) == (0, ""), errors
    assert "Train adv adversarially" in output
    return data, radius, tmp_path / "adv.keras"


@pytest.mark.slow
def test_every_command_takes_data_of_the_users_own(trained, tmp_path, laq_command):
    data, radius, model = trained
    out, quantized = tmp_path / "out.keras", tmp_path / "q.keras"

    def run(*arguments):
        code, output, errors = laq_command(*arguments)
        assert (code, errors) == (0, ""), errors
        return output

    of_attack = (*radius[:2], "--attack_norm", radius[3])
    for policy in (
        ("calibrated", "--average_bits", 4, *of_attack),
        ("hawq", "--average_bits", 4),
        ("noise_sensitivity", *of_attack),
    ):
        run("quantize", model, "--out", quantized, *data, "--policy", *policy, "--examples", 8, "--overwrite")
    run("finetune", model, tmp_path / "q.plan.json", *data, *radius, "--epochs", 1, "--out", out)
    run("match", quantized, model, *data, *radius, "--images", 8, "--out", out, "--overwrite")
    run("correct", quantized, model, *data, "--images", 8, "--out", out, "--overwrite")
    run("recalibrate", quantized, *data, *radius, "--float_twin", model, "--images", 8, "--out", out, "--overwrite")
    assert load_model(out).layers[-1].units == 10
    arguments = ("--examples", 8, "--out", tmp_path / "e")
    run("evaluate", model, *data, *radius, "--preset", "quick", *arguments)
    found = RobustnessReport.load(tmp_path / "e" / "robustness.json")
    assert found.battery == laq.attacks.Battery.within(8 / 255, norm=radius[3], preset="quick")
    run("curve", model, *data, *radius[2:], "--epsilons", "2/255,8/255", "--attack", "pgd", *arguments)
    assert AccuracyCurve.load(tmp_path / "e" / "curve.json").epsilons == (0.0, 2 / 255, 8 / 255)


def test_a_model_is_not_attacked_on_names_of_fewer_classes_which_have_other_numbers(folder, laq_command, tmp_path):
    save_model(network(tf_keras), tmp_path / "m.keras")
    shutil.rmtree(folder / "class3")
    (tmp_path / "few").mkdir()
    folder.rename(tmp_path / "few" / "test")
    data = ("--data", tmp_path / "few", "--size", "8", "--out", tmp_path / "out")
    for command in (
        ("evaluate", f"a={tmp_path / 'm.keras'}", "--epsilon", "0.1"),
        ("curve", f"a={tmp_path / 'm.keras'}"),
    ):
        code, _, errors = laq_command(*command, *data)
        assert code == 2
        assert "--data: expected images of 10 classes, as many as the models['a'] has. Received: " in errors


def test_test_images_alone_may_lack_a_class_number(digits, laq_command, tmp_path):
    images, labels = digits
    network_of_all = network(tf_keras)
    save_model(network_of_all, tmp_path / "m.keras")
    for number, missing in enumerate((3, 9)):
        seen = labels != missing
        np.savez(tmp_path / "few.npz", test_images=images[seen], test_labels=labels[seen])
        out = tmp_path / f"e{number}"
        code, _, errors = laq_command(
            "evaluate", tmp_path / "m.keras", "--data", tmp_path / "few.npz", "--epsilon", "0.1", "--out", out,
            "--attacks", "clean",
        )  # fmt: skip
        assert (code, errors) == (0, "")
        predicted = network_of_all.predict(images[seen] / 255, verbose=0).argmax(axis=1)
        clean = RobustnessReport.load(out / "robustness.json").accuracy("m", "clean")
        assert clean.value == pytest.approx(np.mean(predicted == labels[seen]))


def test_it_is_said_that_only_a_part_of_the_images_is_tested_on(archive, digits, laq_command, tmp_path):
    save_model(network(tf_keras), tmp_path / "m.keras")
    arguments = ("evaluate", tmp_path / "m.keras", "--epsilon", "0.1", "--attacks", "clean")
    line = f"48 of the 240 images of {archive}: the part set aside as test images\n"
    _, output, _ = laq_command(*arguments, "--data", archive, "--out", tmp_path / "part")
    assert output.startswith(line)
    np.savez(tmp_path / "test.npz", test_images=digits[0], test_labels=digits[1])
    _, output, _ = laq_command(*arguments, "--data", tmp_path / "test.npz", "--out", tmp_path / "whole")
    assert "set aside" not in output
    assert RobustnessReport.load(tmp_path / "whole" / "robustness.json").count == 240


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "epsilon: expected a radius; in linf, the recipes for digits, mnist, cifar10 have their own."),
        (["train", "--epsilon", "0.1"], "model: expected a Keras model of images of shape (8, 8, 1), or digits_cnn."),
        (["train", "--epsilon", "0.1", "--model", "mnist_cnn"], "expected a network for images of (8, 8, 1)"),
        (["train", "--epsilon", "0.1", "--model", "none.keras"], "none.keras: expected a saved Keras model"),
        (["train", "--epsilon", "0.1", "--size", "8,8,1"], "size: expected a number of pixels, or height and width"),
        (["evaluate", "SAVED"], "epsilon: expected a radius such as 8/255; in linf, cifar10, digits, mnist have"),
        (["evaluate", "SAVED", "--epsilon", "8"], "epsilon: expected at most 1 in L-inf"),
        (["evaluate", "SAVED", "--epsilon", "many"], "epsilon: expected a number such as 0.3 or 8/255"),
        (["evaluate", "SAVED", "--epsilon", "0.1", "--norm", "l1"], "norm: expected one of linf, l2"),
        (["match", "SAVED", "SAVED"], "epsilon: expected a radius"),
        (["quantize", "SAVED", "--policy", "calibrated", "--average_bits", "3"], "epsilon: expected a radius"),
    ],
)
def test_what_is_missing_for_data_of_the_users_own_is_said(arguments, message, digits, refusal, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "pets.npz"
    np.savez(path, images=digits[0], labels=digits[1])
    assert message in refusal(*arguments, "--data", str(path))
