from __future__ import annotations

import numpy as np
import pytest

import tf_laq as laq
from tf_laq.cli.arguments import DataArguments
from tf_laq.cli.quantization import policy_of
from tf_laq.saving import load_model


def test_quantize_writes_the_plan_and_the_quantized_model(saved, tmp_path, laq_command):
    out = tmp_path / "q.keras"
    code, output, errors = laq_command(
        "quantize", saved, "--out", out, "--policy", "uniform", "--quantizers", "linear", "--bits", 3,
        "--overrides", '{"conv1": "log:8", "dense*": "float32"}',
    )  # fmt: skip
    assert (code, errors) == (0, "")
    plan = laq.QuantizationPlan.load(tmp_path / "q.plan.json")
    assert [(e.layer, e.quantizer, e.bits) for e in plan.entries] == [
        ("conv1", "log", 8),
        ("conv2", "linear", 3),
        ("dense1", None, 32),
        ("logits", "linear", 3),
    ]
    images = np.random.default_rng(0).random((3, 8, 8, 1), dtype=np.float32)
    expected = laq.bake(load_model(saved), plan)(images)
    np.testing.assert_array_equal(load_model(out)(images), expected)
    assert laq.plan_of(load_model(out)) == plan
    assert str(plan) in output


def test_quantize_searches_layer_by_layer_unless_told_otherwise(saved, tmp_path, laq_command):
    code, _, _ = laq_command("quantize", saved, "--out", tmp_path / "q.keras", "--max_bits", 8)
    expected = laq.search(load_model(saved), max_bits=8)
    assert code == 0
    assert laq.QuantizationPlan.load(tmp_path / "q.plan.json") == expected


def test_quantize_says_how_large_the_file_will_be_and_chooses_what_its_layout_keeps(saved, tmp_path, laq_command):
    out, file = tmp_path / "q.keras", tmp_path / "q.tflite"
    settings = ("--policy", "budget", "--average-bits", 9, "--max-bits", 16, "--quantizers", "linear,log")
    code, output, errors = laq_command("quantize", saved, "--out", out, "--layout", "auto", *settings)
    assert (code, errors) == (0, "")
    laq_command("export", out, file, "--layout", "auto", "--strict")
    (line,) = (line for line in output.splitlines() if line.startswith("File in layout") and "auto" in line)
    assert line.endswith(f": {file.stat().st_size:,} bytes")


def test_quantize_takes_a_model_that_no_file_can_hold_and_says_so(tmp_path, laq_command):
    import tf_keras

    images = tf_keras.Input((8, 8, 1))
    features = tf_keras.layers.Conv2D(4, 3)(images)
    model = tf_keras.Model(images, [features, tf_keras.layers.Flatten()(features)])
    laq.save_model(model, tmp_path / "two.keras")
    code, output, errors = laq_command("quantize", tmp_path / "two.keras", "--out", tmp_path / "q.keras")
    assert (code, errors) == (0, "")
    assert "\nNo TensorFlow Lite file can be written: " in output
    assert laq.QuantizationPlan.load(tmp_path / "q.plan.json").file_bytes == {}


@pytest.mark.parametrize(
    "settings",
    [
        ("--policy", "budget", "--average-bits", 3.5),
        ("--policy", "random", "--max-bytes", 5000, "--seed", 1),
        ("--policy", "calibrated", "--average-bits", 3.5, "--data", "digits", "--examples", 8, "--max-bits", 6),
        ("--policy", "hawq", "--average-bits", 3.5, "--data", "digits", "--examples", 8, "--quantizers", "linear"),
        ("--policy", "noise_sensitivity", "--data", "digits", "--examples", 8, "--max-bits", 5),
    ],
    ids=lambda settings: settings[1],
)
def test_quantize_takes_every_policy_with_its_settings(settings, saved, tmp_path, laq_command):
    code, output, _ = laq_command("quantize", saved, "--out", tmp_path / "q.keras", *settings)
    assert code == 0
    plan = laq.QuantizationPlan.load(tmp_path / "q.plan.json")
    assert plan.policy in " ".join(output.split())
    if "--average-bits" in settings:
        assert plan.average_bits <= 3.5
    elif "--max-bytes" in settings:
        assert plan.bytes <= 5000
    else:
        assert max(entry.bits for entry in plan.entries) == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--bits 3", "--bits: expected none with the policy guarded. Received: 3. It has --quantizers, --max_bits."),
        ("--average-bits 3", "--average_bits: expected none with the policy guarded"),
        ("--quantizers cubic", "--quantizers: expected one of linear, log"),
        ("--layout int4", "--layout: expected one of int8, packed, auto. Received: 'int4'"),
        (
            "--policy magic",
            "--policy: expected one of guarded, paper, budget, random, uniform, calibrated, hawq, "
            "noise_sensitivity. Received: 'magic'",
        ),
        (
            "--policy uniform --quantizers linear",
            "bits: expected a value, which the policy uniform needs. Received: none.",
        ),
        ("--policy uniform --bits 3", "quantizers: expected a value, which the policy uniform needs. Received: none."),
        (
            "--policy uniform --quantizers linear,log --bits 3",
            "quantizers: expected exactly one with the policy uniform. Received: linear, log.",
        ),
        (
            "--policy uniform --quantizers linear --bits 3 --average_bits 3",
            "average_bits: expected none with the policy uniform. Received: 3. It has --quantizers, --bits.",
        ),
        ("--policy uniform --quantizers linear --bits x", "bits: expected"),
        ("--policy budget", "limit: expected --average_bits or --max_bytes. Received: neither."),
        ("--policy hawq --average-bits 3", "data: expected a value, which the policy hawq needs. Received: none."),
        ("--policy hawq --average-bits 3 --data imagenet", "data set imagenet: expected its prepared files"),
        ("--policy hawq --average-bits 3 --data digits --size x", "size: expected a number of pixels"),
        ("--policy calibrated --average-bits 3 --data digits --epsilon 8/0", "epsilon: expected a number such as"),
        ("--policy noise_sensitivity --data digits --attack_norm l2", "epsilon: expected a radius such as 8/255"),
        (
            "--policy noise_sensitivity --data digits --max-bytes 9",
            "max_bytes: expected none with the policy noise_sensitivity. Received: 9.",
        ),
        ("--policy noise_sensitivity --data digits --examples 0", "examples: expected a whole number of at least 1"),
        ("--norm l7", "--norm: expected one of spectral, inf"),
        ("--method budget", "laq quantize: expected one of its flags. Received: --method. See laq quantize --help."),
        ("--quantizer log", "Received: --quantizer. Did you mean --quantizers? See laq quantize --help."),
    ],
)
def test_a_policy_that_cannot_be_made_is_refused(flags, message, refusal):
    assert message in refusal("quantize", "SAVED", *flags.split())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "conv1=linear:8",
            """overrides: expected a JSON object such as '{"conv*": "linear:8", "dense*": "float32"}'. """
            "Received: conv1=linear:8.",
        ),
        ('["conv1"]', "overrides: expected a JSON object such as"),
        ('{"conv9": "linear:8"}', "overrides: expected patterns for the layers conv1, conv2, dense1, logits"),
        ('{"conv1": "linear"}', 'overrides[\'conv1\']: expected "quantizer:bits" such as "linear:8"'),
        ('{"conv1": "linear:99"}', "--overrides['conv1']: expected"),
        ('{"conv1": "linear:99"}', "bits: expected"),
    ],
)
def test_overrides_of_another_form_are_refused_with_the_right_one(overrides, message, refusal):
    assert message in refusal("quantize", "SAVED", "--overrides", overrides)


OPTIONS = {
    "quantizers": ("linear",), "bits": 3, "max_bits": 4, "average_bits": 3, "max_bytes": 900,
    "data": DataArguments("digits"), "examples": 8, "epsilon": "0.1", "attack_norm": "l2", "seed": 0,
}  # fmt: skip
HAS = {
    "guarded": ["quantizers", "max_bits"],
    "paper": ["quantizers", "max_bits"],
    "budget": ["quantizers", "max_bits", "average_bits", "max_bytes"],
    "random": ["quantizers", "max_bits", "average_bits", "max_bytes", "seed"],
    "uniform": ["quantizers", "bits"],
    "calibrated": [
        "quantizers",
        "max_bits",
        "average_bits",
        "max_bytes",
        "data",
        "examples",
        "epsilon",
        "attack_norm",
        "seed",
    ],
    "hawq": ["quantizers", "max_bits", "average_bits", "max_bytes", "data", "examples", "seed"],
    "noise_sensitivity": ["quantizers", "max_bits", "data", "examples", "epsilon", "attack_norm", "seed"],
}


@pytest.mark.parametrize(
    ("policy", "option"), [(policy, option) for policy in HAS for option in OPTIONS if option not in HAS[policy]]
)
def test_an_option_that_the_policy_does_not_have_is_refused_by_name(policy, option):
    with pytest.raises(laq.InputError) as caught:
        policy_of(policy, **{**dict.fromkeys(OPTIONS), option: OPTIONS[option]})
    expected = f"{option}: expected none with the policy {policy}. Received: {OPTIONS[option]!r}."
    assert str(caught.value) == f"{expected} It has {', '.join(f'--{each}' for each in HAS[policy])}."


@pytest.mark.parametrize("policy", HAS)
def test_a_policy_takes_every_option_that_it_has(policy):
    limits = {"max_bytes"} if "average_bits" in HAS[policy] else set()
    assert policy_of(policy, **{option: OPTIONS[option] for option in HAS[policy] if option not in limits})
