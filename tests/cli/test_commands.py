from __future__ import annotations

import dataclasses
import json

import keras as keras3
import numpy as np
import pytest
import tf_keras

import tf_laq as laq
from tf_laq import datasets, training
from tf_laq.attacks import PGD
from tf_laq.cli import commands
from tf_laq.evaluation import AccuracyCurve, RobustnessReport
from tf_laq.saving import load_model, save_model


@pytest.mark.slow
def test_demo_prints_the_tables_and_where_they_are_and_report_draws_its_page_again(tmp_path, laq_command):
    code, output, errors = laq_command("demo", "--out", tmp_path, "--preset", "standard", "--examples", 8)
    assert code == 0, errors
    result, page = laq.Compression.load(tmp_path / "compression.json"), tmp_path / "report.html"
    for part in (str(result), "worst case", f"(report: {page})"):
        assert part in output
    assert f"laq demo --out {tmp_path} --preset standard --examples 8" in page.read_text()
    page.unlink()
    assert laq_command("report", tmp_path) == (0, f"{page}\n", "")
    assert page.is_file()


def test_evaluate_writes_the_report_of_the_named_models(saved, tmp_path, laq_command):
    code, output, errors = laq_command(
        "evaluate", f"a={saved},b={saved}", "--surrogates", f"c={saved}", "--out", tmp_path / "e",
        "--examples", 16, "--attacks", "clean,fgsm_weak",
    )  # fmt: skip
    assert (code, errors) == (0, "")
    found = RobustnessReport.load(tmp_path / "e" / "robustness.json")
    assert (found.models, found.surrogates, found.count) == (("a", "b"), ("c",), 16)
    assert found.battery.names == ("clean", "fgsm_weak")
    assert str(found) in output
    assert {p.name for p in (tmp_path / "e").iterdir()} >= {"robustness.csv", "robustness.md", "report.html"}


@pytest.mark.slow
def test_evaluate_finds_the_same_in_two_processes(saved, tmp_path, laq_command):
    from tf_laq.evaluation import RobustnessReport

    assert laq_command("export", saved, tmp_path / "file.tflite", "--plan", "float32")[0] == 0
    for workers in (1, 2):
        code, _, errors = laq_command(
            "evaluate", f"{saved},{tmp_path / 'file.tflite'}", "--attacks", "clean,fgsm_strong,pgd", "--examples", 40,
            "--workers", workers, "--out", tmp_path / str(workers),
        )  # fmt: skip
        assert code == 0, errors
    one, two = (RobustnessReport.load(tmp_path / name / "examples" / "report.json") for name in ("1", "2"))
    assert one.outcomes == two.outcomes
    assert len(list((tmp_path / "2" / "examples").glob("examples-*.npz"))) == 2


def test_evaluate_attacks_tflite_files_and_draws_the_examples_that_it_saves(saved, tmp_path, laq_command):
    assert laq_command("export", saved, tmp_path / "f.tflite", "--plan", "float32")[0] == 0
    arguments = ("evaluate", f"{saved},file={tmp_path / 'f.tflite'}", "--attacks", "clean,fgsm_weak,uniform")
    code, output, errors = laq_command(
        *arguments, "--surrogates", f"k={saved}", "--out", tmp_path / "e", "--examples", 8
    )
    assert (code, errors) == (0, "")
    assert "No white-box fgsm_weak on file" in output
    assert (tmp_path / "e" / "plots" / "examples.png").is_file()
    code, _, errors = laq_command("pictures", tmp_path / "e" / "examples", "--out", tmp_path / "p.png", "--count", 2)
    assert (code, errors) == (0, "")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    code, _, errors = laq_command(*arguments, "--out", tmp_path / "e", "--examples", 9)
    assert code == 2
    assert "one with other images, labels, surrogates (k)" in errors
    assert laq_command(*arguments, "--out", tmp_path / "e", "--examples", 9, "--overwrite")[0] == 0


@pytest.mark.parametrize("keras", [tf_keras, keras3], ids=["tf_keras", "keras"])
def test_evaluate_and_curve_call_models_as_they_are_told(keras, tmp_path, laq_command):
    layers, inputs = keras.layers, keras.Input((1, 8, 8))
    scaled = layers.Rescaling(1 / 255)(layers.Permute((2, 3, 1))(inputs))
    scores = layers.Dense(10)(layers.Flatten()(scaled))
    model = keras.Model(inputs, {"scores": scores, "classes": layers.Softmax()(scores)})
    laq.save_model(model, tmp_path / "m.keras")
    seam = ("--bounds", "0,255", "--data_format", "channels_first", "--output", "scores")
    arguments = ("--examples", 12, "--out", tmp_path / "e", *seam)
    code, output, errors = laq_command("evaluate", tmp_path / "m.keras", "--attacks", "fgsm_weak", *arguments)
    assert code == 0, errors
    assert "m: inputs scaled to [0, 255], inputs transposed to channels first." in output
    code, _, errors = laq_command("curve", tmp_path / "m.keras", "--attack", "fgsm", "--epsilons", "0.1", *arguments)
    assert code == 0, errors
    code, _, errors = laq_command("evaluate", tmp_path / "m.keras", "--out", tmp_path / "f", *seam[:4])
    assert (code, "Choose one: --output scores." in errors) == (2, True), errors


def test_the_clean_accuracy_on_the_card_beside_a_network_is_expected(tmp_path, laq_command):
    card = next(card for card in laq.models.trained().values() if card.name == "mnist_adv")
    laq.save_model(laq.models.build("digits_cnn", seed=5, width=2), tmp_path / "model.keras")
    dataclasses.replace(card, dataset="digits").save(tmp_path / "card.json")
    code, _, errors = laq_command(
        "evaluate", tmp_path / "model.keras", "--attacks", "uniform", "--examples", 30, "--out", tmp_path / "e"
    )
    assert code == 0, errors
    checks = RobustnessReport.load(tmp_path / "e" / "robustness.json").checks
    (check,) = (check for check in checks if check.name == "clean_accuracy")
    assert (check.verdict, check.figures["expected"]) == ("warning", 0.99)


def test_curve_writes_the_table_and_the_plot(saved, tmp_path, laq_command):
    code, output, errors = laq_command(
        "curve", f"a={saved}", "--out", tmp_path / "c", "--attack", "fgsm", "--epsilons", "0.1,0.3", "--examples", 16
    )
    assert (code, errors) == (0, "")
    found = AccuracyCurve.load(tmp_path / "c" / "curve.json")
    assert (found.epsilons, found.count) == ((0.0, 0.1, 0.3), 16)
    assert str(found) in output
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"curve.json", "curve.csv", "curve.txt", "curve.png"}


def test_export_writes_the_file_under_the_plan_and_prints_parity(saved, tmp_path, laq_command):
    plan = laq.uniform(load_model(saved), "log", 4)
    plan.save(tmp_path / "plan.json")
    code, output, errors = laq_command("export", saved, tmp_path / "m.tflite", "--plan", tmp_path / "plan.json")
    assert (code, errors) == (0, "")
    assert "parity:" in output
    assert laq.tflite.load(tmp_path / "m.tflite").image_shape == (8, 8, 1)
    assert json.loads((tmp_path / "m.export.json").read_text())["tensors"][0]["quantizer"] == "log"


@pytest.fixture
def quantized(saved, tmp_path, laq_command):
    """Return the path of a model that `laq quantize` made; its plan is in it and beside it."""
    out = tmp_path / "q.keras"
    arguments = ("--policy", "uniform", "--quantizers", "log", "--bits", 4)
    assert laq_command("quantize", saved, "--out", out, *arguments)[0] == 0
    return out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("match FLOAT QUANTIZED", "MODEL: expected a quantized model, which knows its plan. Received: "),
        ("match FLOAT FLOAT", "MODEL: expected a quantized model, which knows its plan. Received: "),
        ("match QUANTIZED QUANTIZED", "FLOAT_TWIN: expected a model in full precision."),
        ("correct FLOAT FLOAT", "MODEL: expected a quantized model, which knows its plan. Received: "),
        ("correct QUANTIZED QUANTIZED", "FLOAT_TWIN: expected a model in full precision."),
        ("recalibrate QUANTIZED --float_twin QUANTIZED", "--float_twin: expected a model in full precision."),
        ("quantize QUANTIZED", "MODEL: expected a model in full precision. Received: one that was quantized, to 4.00"),
        ("finetune QUANTIZED PLAN", "MODEL: expected a model in full precision."),
        ("compress QUANTIZED", "MODEL: expected a model in full precision."),
        ("evaluate q=QUANTIZED --float_twins q=QUANTIZED", "--float_twins['q']: expected a model in full precision."),
    ],
)
def test_quantized_models_and_float_ones_are_not_taken_for_each_other(
    arguments, message, quantized, saved, tmp_path, monkeypatch, laq_command
):
    monkeypatch.chdir(tmp_path)
    names = {"FLOAT": saved, "QUANTIZED": quantized, "PLAN": quantized.with_suffix(".plan.json")}
    for name, path in names.items():
        arguments = arguments.replace(name, str(path))
    code, _, errors = laq_command(*arguments.split())
    assert (code, message in errors) == (2, True), errors


def exported_quantizers(folder):
    return {tensor["quantizer"] for tensor in json.loads((folder / "m.export.json").read_text())["tensors"]}


def test_export_takes_the_plan_that_the_model_knows(quantized, tmp_path, laq_command):
    (tmp_path / "q.plan.json").write_text("not the plan")
    code, _, errors = laq_command("export", quantized, tmp_path / "m.tflite")
    assert (code, errors) == (0, "")
    assert exported_quantizers(tmp_path) == {"log"}


def test_export_takes_the_plan_beside_a_model_that_knows_none(quantized, tmp_path, laq_command):
    load_model(quantized).save(quantized)
    assert laq.plan_of(load_model(quantized)) is None
    code, _, errors = laq_command("export", quantized, tmp_path / "m.tflite")
    assert (code, errors) == (0, "")
    assert exported_quantizers(tmp_path) == {"log"}


def test_export_leaves_a_quantized_model_in_float32_where_it_is_told_to(quantized, tmp_path, laq_command):
    code, _, errors = laq_command("export", quantized, tmp_path / "m.tflite", "--plan", "float32")
    assert (code, errors) == (0, "")
    assert exported_quantizers(tmp_path) == {None}


def test_export_takes_a_layout_and_inspect_shows_what_is_in_the_file(saved, tmp_path, laq_command):
    plan = laq.uniform(load_model(saved), "log", 6)
    plan.save(tmp_path / "plan.json")
    arguments = ("export", saved, tmp_path / "m.tflite", "--plan", tmp_path / "plan.json")
    code, output, errors = laq_command(*arguments, "--layout", "packed", "--compress", "xz", "--strict", "--measure")
    assert (code, errors) == (0, "")
    assert "peak memory, MB" in output
    assert "codebook" in output
    code, output, errors = laq_command("inspect", tmp_path / "m.tflite.xz")
    assert (code, errors) == (0, "")
    assert "conv1/kernel" in output
    assert "CALL_ONCE" in output
    assert laq_command("inspect", tmp_path / "m.tflite", "--plan", tmp_path / "plan.json")[:2] == (0, output)
    laq.uniform(load_model(saved), "log", 5).save(tmp_path / "other.json")
    code, output, errors = laq_command("inspect", tmp_path / "m.tflite", "--plan", tmp_path / "other.json")
    assert (code, output) == (2, "")
    assert f"plan: expected the one that {tmp_path / 'm.tflite'} was made by ({plan.digest})" in errors
    code, _, errors = laq_command(*arguments, "--strict", "--overwrite")
    assert (code, errors.startswith("error: layer '")) == (2, True)


def test_a_network_is_quantized_and_tuned_under_its_plan(saved, tmp_path, laq_command):
    plan, tuned = tmp_path / "q.plan.json", tmp_path / "ft.keras"
    arguments = ("--policy", "uniform", "--quantizers", "linear", "--bits", 2, "--out", tmp_path / "q.keras")
    assert laq_command("quantize", saved, *arguments)[0] == 0
    code, output, errors = laq_command("finetune", saved, plan, "--out", tuned, "--epochs", 1)
    assert (code, errors) == (0, "")
    assert f"Fine-tune {saved} adversarially on digits by {plan}: 1 epochs, seed 0\n" in output
    assert "2.00 bits" in output
    assert all(np.unique(kernel).size <= 3 for kernel in load_model(tuned).get_weights()[::2])


def test_biases_are_corrected_and_normalisation_is_recalibrated_on_examples(saved, tmp_path, laq_command):
    quantized, corrected = tmp_path / "q.keras", tmp_path / "c.keras"
    laq_command("quantize", saved, "--out", quantized, "--policy", "uniform", "--quantizers", "linear", "--bits", 3)
    assert laq_command("correct", quantized, saved, "--images", 20, "--out", corrected)[0] == 0
    before, after = load_model(quantized).get_weights(), load_model(corrected).get_weights()
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [w.ndim > 1 for w in before]

    layers = tf_keras.layers
    parts = [layers.Input((8, 8, 1)), layers.BatchNormalization(), layers.Flatten(), layers.Dense(10)]
    tf_keras.Sequential(parts).save(tmp_path / "n.keras")
    means = []
    for extra in ((), ("--float_twin", saved)):
        arguments = (
            "recalibrate",
            tmp_path / "n.keras",
            "--images",
            20,
            "--out",
            tmp_path / "r.keras",
            "--overwrite",
            *extra,
        )
        assert laq_command(*arguments)[0] == 0
        means.append(float(load_model(tmp_path / "r.keras").layers[0].moving_mean.numpy()[0]))
    assert means[0] == pytest.approx(float(datasets.load("digits").train.images[:20].mean()), abs=1e-5)
    assert means[1] != pytest.approx(means[0], abs=1e-4)


def test_a_network_is_matched_to_its_float_twin_on_images_half_of_which_are_examples(saved, tmp_path, laq_command):
    quantized, matched, seen = tmp_path / "q.keras", tmp_path / "m.keras", datasets.load("digits").train.images[:20]
    laq_command("quantize", saved, "--out", quantized, "--policy", "uniform", "--quantizers", "linear", "--bits", 3)
    assert laq_command("match", quantized, saved, "--images", 20, "--seed", 1, "--out", matched)[0] == 0
    model, twin = load_model(quantized), load_model(saved)
    attack = PGD(epsilon=training.recipe("digits").attack["epsilon"], steps=10)
    expected = training.match_statistics(model, twin, seen, attack=attack, seed=1)
    for found, wanted in zip(load_model(matched).get_weights(), expected.get_weights(), strict=True):
        assert np.array_equal(found, wanted)
    assert laq.plan_of(load_model(matched)).average_bits == 3.0


def test_a_registered_quantizer_is_known_to_help_quantize_and_export(ternary, saved, tmp_path, laq_command):
    assert "linear, log, kmeans, apot, clipped, ternary" in laq_command("quantize", "--help")[1]
    out = tmp_path / "q.keras"
    settings = ("--policy", "uniform", "--quantizers", "ternary", "--bits", 2)
    assert laq_command("quantize", saved, "--out", out, *settings)[0] == 0
    code, output, _ = laq_command("export", out, tmp_path / "q.tflite", "--plan", tmp_path / "q.plan.json")
    assert code == 0
    assert output.count("ternary") == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quantise"], "Received: 'quantise'. Did you mean quantize?"),
        (["xyz"], "command: expected one of demo, compress, train"),
        (["--helpp"], "laq: expected COMMAND <flags>"),
        (["quantize"], "laq quantize: expected MODEL <flags>."),
        (["quantize"], "required argument: model"),
        (
            ["quantize", "SAVED", "--bitz", "3"],
            "laq quantize: expected one of its flags. Received: --bitz. Did you mean --bits? See laq quantize --help.",
        ),
        (["quantize", "SAVED", "--average-bit=3"], "Did you mean --average_bits?"),
        (["inspect", "SAVED", "more"], "laq inspect: expected PATH <flags>"),
        (
            ["evaluate", "a=SAVED", "b=none.keras"],
            "laq evaluate: expected MODELS <flags>. Received: b=none.keras. Separate models, and what else is a list, "
            "by commas without spaces.",
        ),
        (["export", "SAVED", "m.tflite", "p.json"], "laq export: expected MODEL [PATH] <flags>. Received: p.json."),
        (["quantize", "SAVED", "--out"], "--out: expected a value"),
        (["train", "--retrain", "anew"], "--retrain: expected no value. Received: 'anew'."),
        (["quantize", "none.keras"], "none.keras: expected a saved Keras model"),
        (["quantize", "SAVED", "--out", "q.h5"], "ends in .keras"),
        (["evaluate", "SAVED", "--data", "imagenet"], "data set imagenet: expected its prepared files"),
        (["evaluate", "SAVED", "--attacks", "deepfool"], "--attacks: expected one of clean"),
        (["evaluate", "SAVED", "--examples", "many"], "--examples: expected a whole number"),
        (["curve", "SAVED", "--attack", "deepfool"], "--attack: expected one of clean"),
        (["evaluate", "a=SAVED,a=SAVED"], "each name once"),
        (["evaluate", "none.tflite"], "none.tflite: expected a readable TensorFlow Lite file"),
        (["pictures", "nowhere"], "the adversarial examples of at least one model"),
        (["pictures", "nowhere", "--out", "p.jpg"], "ends in .png"),
        (["export", "SAVED", "m.bin"], "ends in .tflite"),
        (
            ["export", "SAVED", "m.tflite"],
            "float.plan.json. Received: a model without any. Quantize the model with laq quantize, give --plan FILE",
        ),
        (["export", "SAVED", "m.tflite", "--plan", "none.json"], "none.json"),
        (
            ["export", "SAVED", "m.tflite", "--plan", "float32", "--layout", "tiny"],
            "--layout: expected one of int8, packed, auto",
        ),
        (
            ["export", "SAVED", "m.tflite", "--plan", "float32", "--compress", "zip"],
            "--compress: expected one of gz, xz",
        ),
        (["inspect", "SAVED"], "a whole TensorFlow Lite file. Received: a Keras model. laq export writes"),
        (["inspect", "none.tflite"], "a readable TensorFlow Lite file"),
        (["train", "--data", "imagenet"], "data set imagenet: expected its prepared files"),
        (["finetune", "SAVED", "none.json"], "none.json"),
        (["recalibrate", "SAVED", "--out", "r.keras"], "a model with batch normalisation"),
        (["recalibrate", "SAVED", "--images", "0"], "--images: expected"),
        (["recalibrate", "SAVED", "--data", "imagenet"], "data set imagenet: expected its prepared files"),
        (
            ["recalibrate", "SAVED", "--original", "SAVED"],
            "laq recalibrate: expected one of its flags. Received: --original.",
        ),
        (["correct", "SAVED", "SAVED", "--images", "0"], "images: expected"),
        (["match", "SAVED", "SAVED", "--images", "0"], "images: expected"),
        (["match", "SAVED", "SAVED", "--out", "m.h5"], "--out: expected a file name that ends in .keras"),
        (["correct", "SAVED", "SAVED", "--out", "c.h5"], "out: expected a file name that ends in .keras"),
        (["train", "--recipe", "slow"], "--recipe for digits"),
        (["demo", "--preset", "hard"], "--preset: expected one of"),
        (["report", "nowhere"], "compression.json"),
        (["report"], "without it, laq compress writes to compressed"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, refusal):
    assert message in refusal(*arguments)


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch, laq_command):
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(commands.COMMANDS, "broken", broken)
    with pytest.raises(ZeroDivisionError):
        laq_command("broken")


def test_help_of_every_command_names_its_arguments(laq_command):
    code, output, _ = laq_command("--help")
    assert code == 0
    assert all(name in output for name in commands.COMMANDS)
    for name, flag in {"demo": "--data", "train": "--recipe", "evaluate": "--surrogates"}.items():
        code, output, _ = laq_command(name, "--help")
        assert code == 0
        assert flag in output
        assert "FIRE" not in output


def test_paths_that_look_like_numbers_stay_text(saved, tmp_path, monkeypatch, laq_command):
    monkeypatch.chdir(tmp_path)
    out = "1e5"
    arguments = ("evaluate", saved, "--examples", 2, "--attacks", "clean", "--out", out)
    assert laq_command(*arguments)[0] == 0
    assert (tmp_path / "1e5" / "robustness.json").is_file()


def test_python_code_in_a_model_runs_only_when_told(laq_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layers = tf_keras.layers
    doubled = layers.Lambda(lambda x: x * 2)
    save_model(tf_keras.Sequential([tf_keras.Input((3,)), doubled, layers.Dense(2)]), "m.keras")
    code, _, errors = laq_command("quantize", "m.keras")
    assert (code, "pass --unsafe if you trust the file" in errors) == (2, True)
    assert "safe_mode" not in errors
    assert laq_command("quantize", "m.keras", "--unsafe")[0] == 0
    for command in (
        ("export", "m.keras", "m.tflite", "--plan", "float32"),
        ("curve", "m.keras"),
        ("recalibrate", "m.keras"),
    ):
        code, _, errors = laq_command(*command)
        assert (code, "pass --unsafe" in errors) == (2, True), command


def test_a_class_of_the_users_own_is_told_to_be_loaded_in_python(laq_command, tmp_path):
    class Mine(tf_keras.layers.Dense):
        pass

    save_model(tf_keras.Sequential([tf_keras.Input((3,)), Mine(2)]), tmp_path / "m.keras")
    code, _, errors = laq_command("quantize", tmp_path / "m.keras")
    assert code == 2
    assert "laq.load_model(path, custom_objects={'Mine': Mine})" in errors
