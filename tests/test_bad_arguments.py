"""What public functions make of arguments that are wrong: an error that names the argument, and no other."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import io
import math
import warnings

import numpy as np
import pytest
import tf_keras

import tf_laq as laq
from tf_laq import attacks, compression, datasets, evaluation, models, policies, quantizers, report, tflite, training
from tf_laq.errors import InputError

IMAGES = np.linspace(0.0, 1.0, 12 * 16, dtype=np.float32).reshape(12, 4, 4, 1)
LABELS = np.arange(12) % 3
# Values that are right for none of a function's arguments, or for few.
VALUES = {
    "None": None,
    "a word": "nonsense",
    "no words": "",
    "bytes": b"\xff",
    "-1": -1,
    "1.5": 1.5,
    "NaN": math.nan,
    "infinity": math.inf,
    "2^64 - 1": 2**64 - 1,
    "10^400": 10**400,
    "True": True,
    "an empty list": [],
    "an empty mapping": {},
    "a mapping of numbers": {1: 2},
    "a list of many kinds": [1, "a", None],
    "an object": object(),
    "a class": dict,
    "no images": np.zeros((0, 4, 4, 1), np.float32),
    "images of another size": np.zeros((12, 3, 3, 1), np.float32),
    "fewer images": np.zeros((5, 4, 4, 1), np.float32),
    "NaN images": np.full((12, 4, 4, 1), np.nan, np.float32),
    "complex images": IMAGES.astype(np.complex64),
    "images of objects": IMAGES.astype(object),
    "huge labels": np.full(12, 2**64 - 1, np.uint64),
    "labels of another count": LABELS[:5],
}


def network(units=3, sides=(4, 4, 1)):
    layers = [tf_keras.layers.Flatten(), tf_keras.layers.Dense(4, "relu", name="hidden")]
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([tf_keras.Input(sides), *layers, tf_keras.layers.Dense(units, name="logits")])


def normalised():
    return tf_keras.Sequential([tf_keras.Input((4, 4, 1)), tf_keras.layers.BatchNormalization()])


def calls(folder):
    """Return, by name, functions with the arguments of a call that is right."""
    model = network()
    plan = laq.uniform(model, "linear", 4, progress=False)
    baked = laq.bake(model, plan)
    laq.save_model(model, folder / "m.keras")
    laq.export_tflite(model, folder / "m.tflite", plan=plan)
    attack = attacks.PGD(epsilon=0.1, steps=1)
    battery = attacks.Battery(name="b", columns=(attacks.Column(name="pgd", attacks={"white": attack}),))
    quick = training.Recipe(model=None, epochs=1, batch_size=8, learning_rate=0.1, attack=None)
    adversarial = dataclasses.replace(quick, attack={"epsilon": 0.1, "steps": 1})
    data = datasets.from_arrays(IMAGES, LABELS, test=(IMAGES, LABELS), name="d")
    return {
        "search": (
            laq.search,
            {
                "model": model,
                "policy": "guarded",
                "average_bits": None,
                "max_bytes": None,
                "quantizers": None,
                "max_bits": None,
                "norm": "spectral",
                "overrides": None,
                "layout": None,
                "progress": False,
            },
        ),
        "search by budget": (laq.search, {"model": model, "policy": "budget", "average_bits": 4, "progress": False}),
        "uniform": (laq.uniform, {"model": model, "quantizer": "linear", "bits": 4, "progress": False}),
        "measure": (laq.measure, {"model": model, "norm": "inf", "progress": False}),
        "apply": (laq.apply, {"model": model, "plan": plan}),
        "bake": (laq.bake, {"model": model, "plan": plan}),
        "strip": (laq.strip, {"model": laq.apply(model, plan)}),
        "plan_of": (laq.plan_of, {"model": baked}),
        "save_model": (laq.save_model, {"model": model, "path": folder / "n.keras"}),
        "load_model": (laq.load_model, {"path": folder / "m.keras", "custom_objects": None, "safe_mode": True}),
        "evaluate": (
            laq.evaluate,
            {
                "models": {"m": model},
                "images": IMAGES,
                "labels": LABELS,
                "battery": battery,
                "indices": None,
                "surrogates": None,
                "float_twins": None,
                "batch_size": 12,
                "part_size": 12,
                "seed": 0,
                "folder": None,
                "overwrite": False,
                "check_strength": False,
                "expected_clean": None,
                "executor": None,
                "progress": False,
            },
        ),
        "accuracy_curve": (
            evaluation.accuracy_curve,
            {
                "models": {"m": model},
                "images": IMAGES,
                "labels": LABELS,
                "attack": attack,
                "epsilons": [0.1],
                "batch_size": 12,
                "seed": 0,
                "progress": False,
            },
        ),
        "minimal_perturbations": (
            evaluation.minimal_perturbations,
            {
                "models": {"m": model},
                "images": IMAGES,
                "labels": LABELS,
                "attack": attacks.DDN(steps=2),
                "batch_size": 12,
                "seed": 0,
                "progress": False,
            },
        ),
        "load_examples": (evaluation.load_examples, {"path": folder / "none.npz"}),
        "Classifier": (
            functools.partial(evaluation.Classifier, model),
            {
                "output": None,
                "outputs": None,
                "bounds": None,
                "preprocessing": None,
                "data_format": "channels_last",
            },
        ),
        "wilson_interval": (evaluation.wilson_interval, {"successes": 1, "count": 2, "confidence": 0.9}),
        "mcnemar": (evaluation.mcnemar, {"first": 1, "second": 2}),
        "drop": (evaluation.drop, {"before": np.array([True, False]), "after": np.array([False, False])}),
        "PGD": (
            attacks.PGD,
            {"epsilon": 0.1, "norm": "linf", "steps": 1, "step_size": None, "restarts": 1, "random_start": True},
        ),
        "a call of PGD": (attack, {"logits": model, "images": IMAGES, "labels": LABELS, "seed": 0, "indices": None}),
        "a call of Square": (
            attacks.Square(epsilon=0.1, queries=2),
            {"logits": model, "images": IMAGES, "labels": LABELS, "seed": 0, "indices": None},
        ),
        "half_adversarial": (
            attacks.half_adversarial,
            {"logits": model, "images": IMAGES, "attack": attack, "seed": 0, "batch_size": 2},
        ),
        "attacks.get": (attacks.get, {"name": "pgd", "epsilon": 0.1}),
        "attacks.from_dict": (attacks.from_dict, {"content": attack.to_dict()}),
        "Column": (attacks.Column, {"name": "c", "attacks": {"white": attack}}),
        "Battery": (attacks.Battery, {"name": "b", "columns": battery.columns, "ensemble": False}),
        "Battery.preset": (attacks.Battery.preset, {"dataset": "digits", "preset": "standard"}),
        "Battery.within": (attacks.Battery.within, {"epsilon": 0.1, "norm": "linf", "preset": "standard"}),
        "correct_biases": (
            training.correct_biases,
            {"model": baked, "float_twin": model, "images": IMAGES, "batch_size": 12},
        ),
        "match_statistics": (
            training.match_statistics,
            {"model": baked, "float_twin": model, "images": IMAGES, "attack": None, "batch_size": 12, "seed": 0},
        ),
        "textures": (training.textures, {"model": normalised(), "count": 2, "shape": None, "seed": 0}),
        "recalibrate_batch_norm": (
            training.recalibrate_batch_norm,
            {"model": normalised(), "images": IMAGES, "batch_size": 12},
        ),
        "add_lipschitz_penalty": (training.add_lipschitz_penalty, {"model": network(), "beta": 0.1}),
        "recipe": (training.recipe, {"dataset": "digits", "name": "fast", "epsilon": None, "norm": "linf"}),
        "Recipe": (
            training.Recipe,
            {
                "model": None,
                "epochs": 1,
                "batch_size": 8,
                "learning_rate": 0.1,
                "attack": None,
                "model_options": {},
                "optimizer": "adam",
                "learning_rate_warmup": 0.0,
                "weight_decay": 0.0,
                "augmentation": "none",
                "epsilon_warmup": 0.0,
                "lipschitz_penalty": 0.0,
                "precision": "float32",
                "about": "",
            },
        ),
        "train": (
            training.train,
            {
                "dataset": data,
                "recipe": quick,
                "model": model,
                "keras": 2,
                "seed": 0,
                "callbacks": (),
                "checkpoint": None,
                "strategy": None,
                "progress": False,
            },
        ),
        "fine_tune": (
            training.fine_tune,
            {
                "model": model,
                "plan": plan,
                "dataset": data,
                "recipe": adversarial,
                "examples": "both",
                "seed": 0,
                "callbacks": (),
                "strategy": None,
                "progress": False,
            },
        ),
        "AdversarialModel": (
            training.AdversarialModel,
            {
                "model": model,
                "attack": attack,
                "warmup_steps": 0,
                "clean_fraction": 0.0,
                "robust_accuracy": False,
                "validation_attack": None,
                "examples_from": None,
                "seed": 0,
            },
        ),
        "Limit": (policies.Limit, {"average_bits": 3.0, "max_bytes": None}),
        "Budget": (
            policies.Budget,
            {"limit": policies.Limit(average_bits=3.0), "cost": "guarded", "quantizers": None, "max_bits": None},
        ),
        "Guarded": (
            policies.Guarded,
            {"error": 0.25, "floor": 0.02, "input_weight": 10.0, "quantizers": None, "max_bits": None},
        ),
        "Hawq": (
            through_search(policies.Hawq, model),
            {
                "images": IMAGES,
                "labels": LABELS,
                "limit": policies.Limit(average_bits=3.0),
                "curvature": "hessian",
                "samples": 1,
                "seed": 0,
                "quantizers": None,
                "max_bits": 8,
            },
        ),
        "Calibrated": (
            through_search(policies.Calibrated, model),
            {
                "images": IMAGES,
                "limit": policies.Limit(average_bits=3.0),
                "attack": None,
                "quantizers": None,
                "max_bits": None,
                "seed": 0,
            },
        ),
        "NoiseSensitivity": (
            through_search(policies.NoiseSensitivity, model),
            {"images": IMAGES, "labels": LABELS, "attack": attack, "initial_bits": 8, "quantizers": None, "seed": 0},
        ),
        "hessian_traces": (
            policies.hessian_traces,
            {"model": model, "images": IMAGES, "labels": LABELS, "samples": 1, "seed": 0, "progress": False},
        ),
        "relative_changes": (policies.relative_changes, {"model": model, "clean": IMAGES, "adversarial": 1 - IMAGES}),
        "BitsBySensitivity": (
            policies.BitsBySensitivity,
            {"sensitivities": {"a": 1.0}, "initial_bits": 8, "quantizers": None},
        ),
        "Uniform": (policies.Uniform, {"quantizer": quantizers.Linear(4)}),
        "RandomBits": (policies.RandomBits, {"limit": policies.Limit(average_bits=3.0), "seed": 0}),
        "policies.get": (policies.get, {"name": "guarded", "max_bits": None}),
        "settings_of": (policies.settings_of, {"name": "guarded"}),
        "quantizer_class": (quantizers.quantizer_class, {"name": "linear"}),
        "quantizers.get": (quantizers.get, {"name": "linear", "bits": 4}),
        "quantizers.parse": (quantizers.parse, {"setting": "linear:4"}),
        "quantizers.candidates": (quantizers.candidates, {"quantizers": ["linear"], "max_bits": 4}),
        "from_arrays": (
            datasets.from_arrays,
            {
                "images": IMAGES,
                "labels": LABELS,
                "validation": None,
                "test": (IMAGES, LABELS),
                "classes": None,
                "name": "d",
                "size": None,
                "seed": 0,
                "validation_fraction": 0.1,
            },
        ),
        "datasets.load": (
            datasets.load,
            {
                "source": "digits",
                "size": None,
                "data_dir": None,
                "download": False,
                "seed": 0,
                "validation_fraction": 0.1,
            },
        ),
        "check_source": (datasets.check_source, {"source": "digits", "data_dir": None, "download": False}),
        "models.build": (models.build, {"name": "digits_cnn", "keras": 2, "seed": 0}),
        "models.load": (models.load, {"name": "mnist_adv", "keras": 2}),
        "options_of": (models.options_of, {"name": "digits_cnn"}),
        "input_shape": (models.input_shape, {"name": "digits_cnn"}),
        "models.weights_sha256": (models.weights_sha256, {"model": model}),
        "export_tflite": (
            laq.export_tflite,
            {
                "model": model,
                "path": folder / "o.tflite",
                "plan": plan,
                "layout": "auto",
                "compress": None,
                "strict": False,
                "min_runtime": None,
                "compare_sizes": False,
                "measure": False,
            },
        ),
        "tflite.load": (tflite.load, {"path": folder / "m.tflite", "max_bytes": 10**6, "seconds": 1.0}),
        "tflite.inspect": (tflite.inspect, {"path": folder / "m.tflite", "max_bytes": 10**6}),
        "predicted_bytes": (tflite.predicted_bytes, {"model": model, "plan": plan}),
        "with_file_bytes": (tflite.with_file_bytes, {"model": model, "plan": plan}),
        "compress": (
            functools.partial(laq.compress, out=folder / "c", progress=False),
            {
                "model": model,
                "data": data,
                "epsilon": 0.1,
                "norm": "linf",
                "preset": "quick",
                "rule": None,
                "fine_tune": None,
                "layout": "packed",
                "examples": 12,
                "batch_size": 12,
                "seed": 0,
                "executor": None,
            },
        ),
    }


def through_search(policy, model):
    return lambda **settings: laq.search(model, policy=policy(**settings), progress=False)


# What is right all the same: by argument, and a default, and True where False is right.
NAMES = {"a word", "no words"}
ABOVE_0 = {"1.5", "2^64 - 1"}
RIGHT = {
    **dict.fromkeys(("path", "folder", "checkpoint", "data_dir", "name", "about", "command"), NAMES),
    "output": NAMES | {"2^64 - 1", "10^400"},  # What outputs there are is known when the model is called.
    "setting": {"None"},
    **dict.fromkeys(("average_bits", "beta", "learning_rate", "weight_decay", "lipschitz_penalty"), ABOVE_0),
    "seconds": ABOVE_0,
    **dict.fromkeys(("error", "floor", "input_weight"), ABOVE_0),
    **{key: {"an empty mapping"} for key in ("overrides", "custom_objects", "surrogates", "float_twins")},
    **{key: {"an empty mapping"} for key in ("expected_clean", "model_options")},
    **{key: {"an empty list"} for key in ("callbacks", "also")},
    **{key: {"a class"} for key in ("examples_from", "cost", "preprocessing")},
    "images": {"fewer images"},  # Where there are no labels.
}


def bad(good):
    for argument, right in good.items():
        for label, value in VALUES.items():
            if not (value is right or (type(value) is type(right) and np.isscalar(value) and value == right)):
                yield argument, label, value


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with quiet():
        return calls(tmp_path_factory.mktemp("calls"))


def is_right(function, argument, right, label, value):
    """Return whether a value that came through was right, as `right` is."""
    parameters = inspect.signature(function).parameters
    default = parameters[argument].default if argument in parameters else None
    return label in RIGHT.get(argument, ()) or value is default or (value is True and right is False)


# Every value for each argument, or every fifth, from another one on for each.
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_wrong_argument_ends_in_one_kind_of_error(table, step, tmp_path, monkeypatch):
    faults = []
    for name, (function, good) in table.items():
        # A folder that one function makes of a word is none that the next finds.
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        for argument, label, value in [*bad(good)][len(name) % step :: step]:
            try:
                with quiet():
                    function(**{**good, argument: value})
            except InputError as error:
                if len(str(error)) > 1500:
                    faults.append(f"{name}({argument}={label}): {len(str(error))} letters")
            except Exception as error:
                faults.append(f"{name}({argument}={label}): {type(error).__name__}: {error}")
            else:
                if not is_right(function, argument, good[argument], label, value):
                    faults.append(f"{name}({argument}={label}) is accepted")
    assert not faults, "\n".join(faults)


PACKAGES = (laq, attacks, compression, datasets, evaluation, models, policies, quantizers, report, tflite, training)
# Functions of objects that other functions made, which have tests of their own.
ELSEWHERE = {
    "attacks": {"completed_gradient", "margins"},
    "compression": {"write_page"},
    "evaluation": {"zero_gradients"},
    "policies": {"make_plan", "measured_entry"},
    "quantizers": {"register", "unregister"},
    "report": {"draw_accuracy", "draw_curve", "draw_examples", "panels", "png", "write_compression", "write_report"},
    "training": {"trained_model"},
}


def test_every_public_function_is_tried(table):
    tried = {getattr(function, "func", function) for function, _ in table.values()}
    for package in PACKAGES:
        functions = {name: getattr(package, name) for name in package.__all__}
        functions = {name: each for name, each in functions.items() if inspect.isfunction(each)}
        missing = {name for name, each in functions.items() if inspect.signature(each).parameters and each not in tried}
        assert missing == ELSEWHERE.get(package.__name__.removeprefix("tf_laq."), set()), package.__name__
