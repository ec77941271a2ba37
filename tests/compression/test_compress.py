"""A model and data go in, and the smallest file that is as robust comes out."""

from __future__ import annotations

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tf_keras

import tf_laq as laq
from tf_laq import training
from tf_laq.cli.workers import executor_of
from tf_laq.compression import Candidate, Compression, Rule
from tf_laq.compression.task import Task
from tf_laq.compression.workbench import Workbench
from tf_laq.datasets import Dataset, Split
from tf_laq.errors import InputError
from tf_laq.evaluation import Classifier, load_examples
from tf_laq.training.checkpoints import Checkpoint


def losses(result: Compression, name: str) -> tuple[float, float]:
    """Return the points a model loses in the worst case and without an attack, counted from the outcomes."""
    count = result.robustness.count
    worst = [result.robustness.surviving(each).sum() for each in ("original", name)]
    clean = [result.screening.correct(each, "clean").sum() for each in ("original", name)]
    return tuple(100 * (before - after) / count for before, after in (worst, clean))


def keeping(result: Compression) -> list[str]:
    """Return who of those attacked in full keeps the rule."""
    limit = result.rule.max_bytes or np.inf
    return [
        model.name
        for model in result.models[1:]
        if result.attacked(model.name)
        and max(losses(result, model.name)) <= result.rule.max_loss
        and model.bytes <= limit
    ]


def without_paths(result: Compression) -> Compression:
    """Return a result that does not say where its files are."""
    exports = [dataclasses.replace(model.export, path="") for model in result.models]
    models = [dataclasses.replace(model, export=export) for model, export in zip(result.models, exports, strict=True)]
    return dataclasses.replace(result, models=tuple(models))


def test_the_recommended_file_is_the_smallest_that_keeps_the_rule(compressed):
    _, result = compressed
    kept = keeping(result)
    assert result.recommendation.keeps_rule
    assert result.recommended.bytes == min(result.model(name).bytes for name in kept)
    assert max(losses(result, result.recommended.name)) <= result.rule.max_loss
    for model in result.models[1:]:
        if model.bytes < result.recommended.bytes:
            assert model.name not in kept
            if not result.attacked(model.name):
                # Who was not attacked in full had lost too much already, by a bound from above or on a part.
                assert model.verdict.startswith(("loses", "the same bits as"))


@pytest.mark.slow
def test_two_processes_recommend_what_one_does(compressing, compressed, tmp_path):
    with executor_of(2) as executor:
        found, _ = compressing(tmp_path, executor=executor)
    assert without_paths(found) == without_paths(compressed[1])


def test_what_is_written_is_what_was_attacked(compressed, digits):
    folder, result = compressed
    recommended = folder / "recommended"
    assert (
        (recommended / "model.tflite").stat().st_size
        == result.recommended.bytes
        == result.recommended.export.file_bytes
    )
    model = laq.load_model(recommended / "model.keras")
    assert laq.plan_of(model) == laq.QuantizationPlan.load(recommended / "plan.json") == result.recommended.plan
    images = digits.test.images[:64]
    expected = np.asarray(model(images, training=False)).argmax(axis=1)
    assert (laq.tflite.load(recommended / "model.tflite")(images).argmax(axis=1) == expected).all()
    (worst,) = load_examples(folder / "work" / "attacks" / f"{result.recommended.name}-full-64")
    assert (np.asarray(model(worst.images, training=False)).argmax(axis=1) == worst.predicted).all()


def test_few_images_are_told_before_anything_else(compressed, compressing, tmp_path):
    folder, _ = compressed
    shutil.copytree(folder, tmp_path / "few")
    found, _ = compressing(tmp_path / "few", rule=Rule(max_loss=1.5))
    assert "These 64 images cannot tell a loss of 1.5 points: one of them is 1.6 points." in found.recommendation.reason


def test_the_file_withstands_what_its_model_withstands(compressed):
    _, result = compressed
    check = result.file_check
    assert (check.count, check.same) == (64, 64)
    assert check.withstood == result.robustness.worst_case(result.recommended.name).successes


def test_the_result_reads_back_equal_and_says_what_to_ship(compressed):
    folder, result = compressed
    assert Compression.load(folder / "compression.json") == result
    chosen = result.recommended
    assert str(result).startswith(f"Ship {chosen.name}: {chosen.bytes:,} bytes instead of {result.original.bytes:,}")
    assert all(model.name in str(result) for model in result.models)


def test_another_rule_uses_what_was_made(compressed, compressing, tmp_path):
    folder, result = compressed
    shutil.copytree(folder, tmp_path / "again")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "again" / "work" / "models").rglob("*")}
    generous, _ = compressing(tmp_path / "again", rule=Rule(max_loss=100.0))
    assert generous.recommended.bytes == min(model.bytes for model in generous.models)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert generous.robustness.worst_case("original") == result.robustness.worst_case("original")


def test_a_size_is_kept_by_a_plan_made_for_it(compressed, compressing, tmp_path):
    folder, result = compressed
    shutil.copytree(folder, tmp_path / "sized")
    sizes = sorted({model.bytes for model in result.models[1:]})
    limit = (sizes[-1] + sizes[-2]) // 2
    found, _ = compressing(tmp_path / "sized", rule=Rule(max_loss=100.0, max_bytes=limit))
    fitted = next(model for model in found.models if model.name.endswith("-bytes"))
    assert 0.9 * limit <= fitted.bytes <= limit
    assert found.recommended.bytes <= limit


@pytest.mark.slow
def test_where_nobody_keeps_the_rule_the_most_robust_of_its_size_is_named_as_such(compressed, compressing, tmp_path):
    folder, result = compressed
    shutil.copytree(folder, tmp_path / "strict")
    smallest = min(result.models, key=lambda model: model.bytes)
    found, _ = compressing(tmp_path / "strict", rule=Rule(max_loss=0.0, max_bytes=smallest.bytes))
    assert found.recommended.bytes <= smallest.bytes
    assert found.recommendation.keeps_rule == bool(keeping(found))
    if not found.recommendation.keeps_rule:
        assert found.recommendation.reason.startswith("No candidate is the smallest file of at most")
        assert found.attacked(found.recommended.name)


def test_a_size_that_no_plan_keeps_is_refused_before_any_attack(compressing, tmp_path):
    with pytest.raises(InputError, match=r"max_bytes: expected a size that a plan can keep: the smallest file .* 1000"):
        compressing(tmp_path / "out", rule=Rule(max_bytes=1000))
    assert not (tmp_path / "out" / "work" / "attacks").exists()
    assert not (tmp_path / "out" / "recommended").exists()


def test_a_compression_that_is_stopped_goes_on_where_it_was(compressed, compressing, tmp_path):
    _, expected = compressed

    class StoppedError(Exception):
        pass

    def stop_after(lines):
        count = iter(range(lines))

        def announce(line):
            if next(count, None) is None:
                raise StoppedError

        return announce

    for lines in (1, 9, 13):
        with pytest.raises(StoppedError):
            compressing(tmp_path / "out", announce=stop_after(lines))
        assert not (tmp_path / "out" / "recommended").exists()
    assert without_paths(compressing(tmp_path / "out")[0]) == without_paths(expected)


def test_a_candidate_that_was_to_be_made_in_another_way_is_not_taken_for_whole(
    compressed, compressing, network, digits, tmp_path
):
    """A kill while a candidate is made anew leaves parts of two."""
    folder, expected = compressed
    shutil.copytree(folder, tmp_path / "out")
    place = tmp_path / "out" / "work" / "models" / "budget-3"
    record = (place / "made.json").read_text()
    other = laq.compression.Candidate(name="budget-3", policy=laq.policies.Guarded(error=0.9))
    task = Task.of(network, digits, epsilon=0.06, norm="linf", preset="quick", examples=64)
    bench = Workbench(tmp_path / "out" / "work", task, "packed", 0, batch_size=128, overwrite=False, progress=False)
    (place / "export.json").unlink()
    (place / "export.json").mkdir()  # So that making it fails halfway.
    with pytest.raises((OSError, InputError)):
        bench.make(other)
    (place / "export.json").rmdir()
    assert not (place / "made.json").exists()
    assert without_paths(compressing(tmp_path / "out")[0]) == without_paths(expected)
    assert (place / "made.json").read_text() == record


def test_a_folder_with_results_of_something_else_is_refused_before_any_work(compressing, tmp_path):
    for place in ("report.html", "recommended"):
        folder = tmp_path / place.partition(".")[0]
        folder.mkdir()
        (folder / place).mkdir() if place == "recommended" else (folder / place).write_text("mine")
        with pytest.raises(InputError, match=f"out: expected a new folder.*which has {place} of something else"):
            compressing(folder)
        assert [path.name for path in folder.iterdir()] == [place]


@pytest.mark.parametrize("name", ["guarded", "original"])
def test_a_further_candidate_needs_a_name_of_its_own(compressing, candidate, tmp_path, name):
    with pytest.raises(InputError, match="also: expected other names than original, linear-8, guarded"):
        compressing(tmp_path / "out", also=[dataclasses.replace(candidate, name=name)])


@pytest.mark.parametrize("name", ["../up", "", "a b", None])
def test_the_name_of_a_candidate_could_be_that_of_a_file(candidate, name):
    with pytest.raises(InputError, match="name of a candidate"):
        dataclasses.replace(candidate, name=name)


def test_a_loss_at_the_limit_keeps_the_rule():
    before, after = np.arange(1000) < 900, np.arange(1000) < 893
    assert laq.evaluation.drop(before, after).value <= 0.7


@pytest.mark.slow
def test_a_candidate_for_a_comparison_is_attacked_in_full(compressed, compressing, candidate, tmp_path):
    folder, result = compressed
    shutil.copytree(folder, tmp_path / "more")
    found, _ = compressing(tmp_path / "more", also=[candidate])
    assert found.attacked("log-1")
    assert found.model("log-1").plan.policy.startswith("uniform log, 1 bits")
    assert found.recommendation == result.recommendation


@pytest.mark.slow
def test_a_tuned_candidate_is_one_of_a_smaller_file(compressed, compressing, tmp_path):
    folder, result = compressed
    shutil.copytree(folder, tmp_path / "tuned")
    recipe = dataclasses.replace(training.recipe("digits", "finetune"), epochs=1)
    found, lines = compressing(tmp_path / "tuned", fine_tune=recipe)
    tuned = [model for model in found.models if model.name.endswith("+ft")]
    assert tuned
    assert all(model.steps[-1] == "fine-tuned adversarially, 1 epochs" for model in tuned)
    assert {model.name for model in tuned} == {line.split("] ")[1].split(":")[0] for line in lines if "tuning," in line}
    assert found.recommended.bytes <= result.recommended.bytes


@pytest.mark.slow
def test_a_fine_tuning_that_is_stopped_goes_on_after_its_last_epoch(compressed, compressing, tmp_path, monkeypatch):
    folder, _ = compressed
    recipe = dataclasses.replace(training.recipe("digits", "finetune"), epochs=2)
    for name in ("whole", "stopped"):
        shutil.copytree(folder, tmp_path / name)
    expected, _ = compressing(tmp_path / "whole", fine_tune=recipe)
    save, epochs = Checkpoint.save, []

    def stopped(checkpoint, behind):
        save(checkpoint, behind)
        epochs.append(behind)
        if len(epochs) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        compressing(tmp_path / "stopped", fine_tune=recipe)
    found, _ = compressing(tmp_path / "stopped", fine_tune=recipe)
    assert epochs[:2] == [1, 2]
    assert without_paths(found) == without_paths(expected)
    assert not list((tmp_path / "stopped").rglob("training-*"))


def test_the_folder_of_another_model_is_left_as_it_is(compressed, compressing, network, tmp_path):
    folder, _ = compressed
    shutil.copytree(folder, tmp_path / "other")
    before = (tmp_path / "other" / "compression.json").read_text()
    other = keras.models.clone_model(network)
    with pytest.raises(InputError, match="expected no compression, or one of the same model"):
        compressing(tmp_path / "other", model=other)
    assert (tmp_path / "other" / "compression.json").read_text() == before


def test_the_folder_of_a_model_of_the_same_weights_is_left_as_it_is(compressed, compressing, network, tmp_path):
    folder, _ = compressed
    shutil.copytree(folder, tmp_path / "other")

    def with_elu(layer):
        settings = layer.get_config()
        changed = {"activation": "elu"} if settings.get("activation") == "relu" else {}
        return type(layer).from_config({**settings, **changed})

    other = keras.models.clone_model(network, clone_function=with_elu)
    other.set_weights(network.get_weights())
    images = np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
    assert not np.allclose(other(images), network(images), atol=0.1)
    with pytest.raises(InputError, match="expected no compression, or one of the same model"):
        compressing(tmp_path / "other", model=other)


def test_fine_tuning_is_refused_before_any_work_where_the_model_gives_no_logits(compressing, network, tmp_path):
    model = keras.Sequential([network, keras.layers.Softmax()])
    with pytest.raises(InputError, match="expected logits"):
        compressing(tmp_path / "out", model=model, fine_tune=training.recipe("digits", "finetune"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_model_of_one_sigmoid_unit_is_compressed_to_the_end(compressing, digits, tmp_path):
    parts = (Split(part.images, part.labels % 2) for part in (digits.train, digits.validation, digits.test))
    data = Dataset("odd", ("even", "odd"), *parts)
    layers = [tf_keras.layers.Flatten(), tf_keras.layers.Dense(16, activation="relu")]
    model = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), *layers, tf_keras.layers.Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy")
    model.fit(data.train.images, data.train.labels, epochs=5, verbose=0)
    found, _ = compressing(tmp_path / "out", model=model, data=data)
    assert found.file_check.same == found.file_check.count


@pytest.mark.slow
def test_recipes_that_differ_in_more_than_their_epochs_are_not_the_same(compressed, compressing, tmp_path):
    folder, _ = compressed
    shutil.copytree(folder, tmp_path / "two")
    recipe = dataclasses.replace(training.recipe("digits", "finetune"), epochs=1)
    policy = laq.policies.Uniform(laq.quantizers.get("log", 2))
    tuned = [
        Candidate(name=name, policy=policy, tuning=dataclasses.replace(recipe, learning_rate=rate))
        for name, rate in (("fast", recipe.learning_rate), ("slow", recipe.learning_rate / 10), ("again", 0.0))
    ]
    tuned[2] = dataclasses.replace(tuned[0], name="fast-again")
    found, _ = compressing(tmp_path / "two", also=tuned, rule=Rule(max_loss=100.0))
    assert found.model("slow").verdict != "the same bits as fast"
    assert found.model("fast-again").verdict in ("the same bits as fast", found.model("slow").verdict)


@pytest.mark.slow
def test_a_model_of_bytes_with_a_softmax_is_compressed_as_it_is(compressed, network, compressing, tmp_path):
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Softmax()(network(keras.layers.Rescaling(1 / 255)(inputs)))
    found, _ = compressing(tmp_path / "bytes", model=keras.Model(inputs, outputs))
    _, plain = compressed
    assert found.robustness.worst_case("original") == plain.robustness.worst_case("original")
    assert found.file_check.same == found.file_check.count
    # Training images are not what such a model takes.
    assert not any(model.name.startswith("calibrated") for model in found.models)


@pytest.mark.slow
def test_a_model_that_withstands_nothing_is_told_and_judged_without_an_attack(compressing, tmp_path):
    model = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), tf_keras.layers.Flatten(), tf_keras.layers.Dense(10)])
    found, _ = compressing(tmp_path / "weak", model=model, epsilon=0.5)
    assert "The original is not robust itself" in found.recommendation.reason
    assert any(line.startswith("warning: original, clean_accuracy") for line in found.warnings())
    assert all(line[:60] in str(found) for line in found.warnings())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "letters"}, "letters"),
        ({"examples": 0}, "examples"),
        ({"preset": "hard"}, "preset"),
        ({"norm": "l7"}, "norm"),
        ({"layout": "tiny"}, "layout"),
        ({"epsilon": 8.0}, "epsilon"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(compressing, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        compressing(tmp_path / "out", **changes)
    assert not list(tmp_path.iterdir())


def test_data_of_other_classes_are_refused(compressing, digits, tmp_path):
    few = digits.test.labels < 3
    test = Split(digits.test.images[few], digits.test.labels[few])
    data = Dataset("few", tuple("012"), train=test, validation=test, test=test)
    with pytest.raises(InputError, match="data: expected images of 10 classes"):
        compressing(tmp_path / "out", data=data)
    assert not list(tmp_path.iterdir())


def test_fine_tuning_needs_training_images(compressing, digits, tmp_path):
    nothing = Split(digits.train.images[:0], digits.train.labels[:0])
    data = dataclasses.replace(digits, train=nothing)
    with pytest.raises(InputError, match="fine_tune: expected None without training images"):
        compressing(tmp_path / "out", data=data, fine_tune=training.recipe("digits", "finetune"))


@pytest.mark.slow
def test_without_training_images_nothing_is_calibrated(compressing, digits, tmp_path):
    nothing = Split(digits.train.images[:0], digits.train.labels[:0])
    found, _ = compressing(tmp_path / "out", data=dataclasses.replace(digits, train=nothing))
    assert not any(model.name.startswith("calibrated") for model in found.models)


@pytest.mark.slow
def test_without_training_images_statistics_are_matched_on_textures(digits, tmp_path):
    import keras

    layers = keras.layers
    parts = [layers.Conv2D(8, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(), layers.Dense(10)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *parts])
    data = dataclasses.replace(digits, train=Split(digits.train.images[:0], digits.train.labels[:0]))
    task = Task.of(model, data, epsilon=None, norm="linf", preset="standard", examples=32)
    bench = Workbench(tmp_path, task, "packed", 0, batch_size=128, overwrite=False, progress=False)
    plain, matched = (
        bench.make(Candidate(name=name, policy=laq.policies.Uniform(laq.quantizers.get("linear", 3)), matched=matched))
        for name, matched in (("plain", False), ("matched", True))
    )
    assert matched.steps == (*plain.steps, "statistics matched on textures")
    expected = training.match_statistics(bench.model(plain), model, training.textures(model)).get_weights()
    for found, wanted in zip(bench.model(matched).get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_radius_is_needed_for_data_without_presets(compressing, digits, tmp_path):
    with pytest.raises(InputError, match="epsilon"):
        compressing(tmp_path / "out", data=dataclasses.replace(digits, name="mine"), epsilon=None)


@pytest.mark.parametrize(("limits", "message"), [({"max_loss": -1.0}, "max_loss"), ({"max_bytes": 0}, "max_bytes")])
def test_a_rule_has_limits_in_range(limits, message):
    with pytest.raises(InputError, match=message):
        Rule(**limits)


@pytest.mark.slow
def test_a_classifier_says_how_a_model_is_called(network, compressing, tmp_path):
    inputs = keras.Input((8, 8, 1))
    shifted = keras.Model(inputs, network(keras.layers.Rescaling(0.5, 0.5)(inputs)))
    found, _ = compressing(tmp_path / "out", model=Classifier(shifted, bounds=(-1, 1)))
    assert found.robustness.steps["original"][0] == "inputs scaled to [-1, 1]"
    assert found.file_check.same == found.file_check.count


def test_the_front_is_what_no_other_file_beats(compressed):
    _, result = compressed
    points = {
        model.name: (model.bytes, result.robustness.worst_case(model.name).successes)
        for model in result.models
        if result.attacked(model.name)
    }
    front = result.front()
    assert result.recommended.name in front
    for name, (size, right) in points.items():
        beaten = any(s <= size and r >= right and (s, r) != (size, right) for s, r in points.values())
        assert (name in front) == (not beaten)
    assert json.loads(result.to_json())["recommendation"]["name"] == result.recommended.name
