"""What public functions make of arguments that are wrong: an error that names the argument, and no other."""

from __future__ import annotations

import contextlib
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
    data = datasets.from_arrays(IMAGES, LABELS, test=(IMAGES, LABELS), name="d")
    found = {
        "search": (
            laq.search,
            dict(
                model=model,
                policy="guarded",
                average_bits=None,
                max_bytes=None,
                quantizers=None,
                max_bits=None,
                norm="spectral",
                overrides=None,
                layout=None,
                progress=False,
            ),
        ),
        "search by budget": (laq.search, dict(model=model, policy="budget", average_bits=4, progress=False)),
        "uniform": (laq.uniform, dict(model=model, quantizer="linear", bits=4, progress=False)),
        "measure": (laq.measure, dict(model=model, norm="inf", progress=False)),
        "apply": (laq.apply, dict(model=model, plan=plan)),
        "bake": (laq.bake, dict(model=model, plan=plan)),
        "strip": (laq.strip, dict(model=laq.apply(model, plan))),
        "plan_of": (laq.plan_of, dict(model=baked)),
        "save_model": (laq.save_model, dict(model=model, path=folder / "n.keras")),
        "load_model": (laq.load_model, dict(path=folder / "m.keras", custom_objects=None, safe_mode=True)),
        "evaluate": (
            laq.evaluate,
            dict(
                models={"m": model},
                images=IMAGES,
                labels=LABELS,
                battery=battery,
                indices=None,
                surrogates=None,
                float_twins=None,
                batch_size=12,
                part_size=12,
                seed=0,
                folder=None,
                overwrite=False,
                check_strength=False,
                expected_clean=None,
                progress=False,
            ),
        ),
        "accuracy_curve": (
            evaluation.accuracy_curve,
            dict(
                models={"m": model},
                images=IMAGES,
                labels=LABELS,
                attack=attack,
                epsilons=[0.1],
                batch_size=12,
                seed=0,
                progress=False,
            ),
        ),
        "minimal_perturbations": (
            evaluation.minimal_perturbations,
            dict(
                models={"m": model},
                images=IMAGES,
                labels=LABELS,
                attack=attacks.DDN(steps=2),
                batch_size=12,
                seed=0,
                progress=False,
            ),
        ),
        "load_examples": (evaluation.load_examples, dict(path=folder / "none.npz")),
        "Classifier": (
            evaluation.Classifier,
            dict(model=model, output=None, outputs=None, bounds=None, preprocessing=None, data_format="channels_last"),
        ),
        "wilson_interval": (evaluation.wilson_interval, dict(successes=1, count=2, confidence=0.9)),
        "mcnemar": (evaluation.mcnemar, dict(first=1, second=2)),
        "drop": (evaluation.drop, dict(before=np.array([True, False]), after=np.array([False, False]))),
        "PGD": (attacks.PGD, dict(epsilon=0.1, norm="linf", steps=1, step_size=None, restarts=1, random_start=True)),
        "a call of PGD": (attack, dict(logits=model, images=IMAGES, labels=LABELS, seed=0, indices=None)),
        "a call of Square": (
            attacks.Square(epsilon=0.1, queries=2),
            dict(logits=model, images=IMAGES, labels=LABELS, seed=0, indices=None),
        ),
        "half_adversarial": (attacks.half_adversarial, dict(logits=model, images=IMAGES, attack=attack, seed=0)),
        "attacks.get": (attacks.get, dict(name="pgd", epsilon=0.1)),
        "attacks.from_dict": (attacks.from_dict, dict(content=attack.to_dict())),
        "Column": (attacks.Column, dict(name="c", attacks={"white": attack})),
        "Battery": (attacks.Battery, dict(name="b", columns=battery.columns, ensemble=False)),
        "Battery.preset": (attacks.Battery.preset, dict(dataset="digits", preset="standard")),
        "Battery.within": (attacks.Battery.within, dict(epsilon=0.1, norm="linf", preset="standard")),
        "correct_biases": (training.correct_biases, dict(model=baked, float_twin=model, images=IMAGES, batch_size=12)),
        "match_statistics": (
            training.match_statistics,
            dict(model=baked, float_twin=model, images=IMAGES, attack=None, batch_size=12, seed=0),
        ),
        "add_lipschitz_penalty": (
            lambda **given: training.add_lipschitz_penalty(**{"model": network(), **given}),
            dict(beta=0.1),
        ),
        "recipe": (training.recipe, dict(dataset="digits", name="fast", epsilon=None, norm="linf")),
        "Recipe": (
            training.Recipe,
            dict(
                model=None,
                epochs=1,
                batch_size=8,
                learning_rate=0.1,
                attack=None,
                model_options={},
                optimizer="adam",
                learning_rate_warmup=0.0,
                weight_decay=0.0,
                augmentation="none",
                epsilon_warmup=0.0,
                lipschitz_penalty=0.0,
                precision="float32",
                about="",
            ),
        ),
        "train": (
            training.train,
            dict(
                dataset=data, recipe=quick, model=model, keras=2, seed=0, callbacks=(), checkpoint=None, progress=False
            ),
        ),
        "fine_tune": (
            training.fine_tune,
            dict(
                model=model,
                plan=plan,
                dataset=data,
                recipe=quick,
                examples="both",
                seed=0,
                callbacks=(),
                progress=False,
            ),
        ),
        "AdversarialModel": (
            training.AdversarialModel,
            dict(
                model=model,
                attack=attack,
                warmup_steps=0,
                clean_fraction=0.0,
                robust_accuracy=False,
                validation_attack=None,
                examples_from=None,
                seed=0,
            ),
        ),
        "Limit": (policies.Limit, dict(average_bits=3.0, max_bytes=None)),
        "Budget": (
            policies.Budget,
            dict(limit=policies.Limit(average_bits=3.0), cost="guarded", quantizers=None, max_bits=None),
        ),
        "Guarded": (policies.Guarded, dict(error=0.25, floor=0.02, input_weight=10.0, quantizers=None, max_bits=None)),
        "Hawq": (
            policies.Hawq,
            dict(
                images=IMAGES,
                labels=LABELS,
                limit=policies.Limit(average_bits=3.0),
                curvature="hessian",
                samples=1,
                seed=0,
                quantizers=None,
                max_bits=8,
            ),
        ),
        "Calibrated": (
            policies.Calibrated,
            dict(
                images=IMAGES,
                limit=policies.Limit(average_bits=3.0),
                attack=None,
                quantizers=None,
                max_bits=None,
                seed=0,
            ),
        ),
        "NoiseSensitivity": (
            policies.NoiseSensitivity,
            dict(images=IMAGES, labels=LABELS, attack=attack, initial_bits=8, quantizers=None, seed=0),
        ),
        "hessian_traces": (
            policies.hessian_traces,
            dict(model=model, images=IMAGES, labels=LABELS, samples=1, seed=0, progress=False),
        ),
        "relative_changes": (policies.relative_changes, dict(model=model, clean=IMAGES, adversarial=1 - IMAGES)),
        "BitsBySensitivity": (
            policies.BitsBySensitivity,
            dict(sensitivities={"a": 1.0}, initial_bits=8, quantizers=None),
        ),
        "Uniform": (policies.Uniform, dict(quantizer=quantizers.Linear(4))),
        "RandomBits": (policies.RandomBits, dict(limit=policies.Limit(average_bits=3.0), seed=0)),
        "policies.get": (policies.get, dict(name="guarded", max_bits=None)),
        "quantizers.get": (quantizers.get, dict(name="linear", bits=4)),
        "quantizers.parse": (quantizers.parse, dict(setting="linear:4")),
        "quantizers.candidates": (quantizers.candidates, dict(quantizers=["linear"], max_bits=4)),
        "from_arrays": (
            datasets.from_arrays,
            dict(
                images=IMAGES,
                labels=LABELS,
                validation=None,
                test=None,
                classes=None,
                name="d",
                size=None,
                seed=0,
                validation_fraction=0.1,
            ),
        ),
        "datasets.load": (
            datasets.load,
            dict(source="digits", size=None, data_dir=None, download=False, seed=0, validation_fraction=0.1),
        ),
        "models.build": (models.build, dict(name="digits_cnn", keras=2, seed=0)),
        "models.load": (models.load, dict(name="digits_cnn", keras=2)),
        "models.weights_sha256": (models.weights_sha256, dict(model=model)),
        "export_tflite": (
            laq.export_tflite,
            dict(
                model=model,
                path=folder / "o.tflite",
                plan=plan,
                layout="auto",
                compress=None,
                strict=False,
                images=None,
                min_runtime=None,
                compare_sizes=False,
                measure=False,
            ),
        ),
        "predicted_bytes": (tflite.predicted_bytes, dict(model=model, plan=plan)),
        "with_file_bytes": (tflite.with_file_bytes, dict(model=model, plan=plan)),
        "tflite.load": (tflite.load, dict(path=folder / "m.tflite")),
        "tflite.inspect": (tflite.inspect, dict(path=folder / "m.tflite")),
        "compress": (
            laq.compress,
            dict(
                model=model,
                data=data,
                out=folder / "c",
                epsilon=0.1,
                norm="linf",
                preset="none",
                rule=None,
                fine_tune=None,
                also=(),
                layout="packed",
                examples=12,
                batch_size=12,
                seed=0,
                overwrite=False,
                command="",
                announce=len,
                progress=False,
            ),
        ),
    }
    return found


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
