"""Files that the package wrote and something has damaged since: refused by name, or read with the content they had."""

import dataclasses
import importlib
import inspect
import json
import math
import pkgutil
import random

import numpy as np
import pytest

import tf_laq as laq
from tf_laq._internal import archives
from tf_laq._internal.documents import Document
from tf_laq._internal.unreadable import check_content
from tf_laq.attacks import Battery, registry
from tf_laq.compression import rule
from tf_laq.compression.result import CompressedModel, Compression, FileCheck, Recommendation
from tf_laq.compression.workbench import Inputs as CompressionInputs, Making
from tf_laq.errors import InputError
from tf_laq.evaluation import AdversarialExamples, RobustnessReport
from tf_laq.evaluation.curves import AccuracyCurve, MinimalPerturbations
from tf_laq.evaluation.outcomes import Outcome
from tf_laq.evaluation.report import Check
from tf_laq.evaluation.store import Inputs as EvaluationInputs
from tf_laq.models.pretrained import Card
from tf_laq.plan import LeftAlone, PlanEntry, QuantizationPlan
from tf_laq.sensitivity import Measurement, SensitivityRow, SensitivityTable
from tf_laq.tflite import ExportReport
from tf_laq.tflite.report import Parity, Performance, TensorExport
from tf_laq.training.reusing import TrainingRecord

SHA256 = "0123456789abcdef" * 4
PLAN = QuantizationPlan(
    policy="by hand",
    norm="spectral",
    entries=(
        PlanEntry("conv1", "kernel", (3, 3, 1, 5), "linear", 3, 2.0, 2.1, 0.25, 0.2, True, "passes"),
        PlanEntry("head", "kernel", (4, 2), None, 32, 1.0),
    ),
    left_alone=(LeftAlone("bn", "BatchNormalization", "normalisation parameters stay float32"),),
    file_bytes={"packed": 1234},
    widened={"packed": ("head.kernel",)},
)
BATTERY = Battery.preset("digits").only(["clean", "fgsm_weak", "pgd"])
REPORT = RobustnessReport(
    models=("adv", "q"),
    surrogates=("twin",),
    battery=BATTERY,
    count=20,
    seed=3,
    outcomes=tuple(
        Outcome.record(np.arange(20) % 3 != place, model=model, column="clean", knowledge="none")
        for place, model in enumerate(("adv", "q"))
    ),
    checks=(Check(model="q", name="radius", verdict="ok", figures={"epsilon": 0.1}, sentence="It is as usual."),),
    classes={"adv": 10, "q": 10},
    steps={"q": ("softmax left out",)},
)
PARITY = Parity(64, 1e-6, 12.5, 1e-3, 0)
EXPORT = ExportReport(
    path="m.tflite",
    layout="packed",
    file_bytes=1234,
    float_bytes=5678,
    limit_bytes=1000,
    layout_bytes={"int8": 2000, "packed": 1234},
    other_bytes={},
    compressed=None,
    compressed_bytes=None,
    tensors=(TensorExport("conv1", "kernel", (3, 3, 1, 5), "linear", 3, 17, "int4", 23),),
    operators={"CONV_2D": 3},
    runtime="2.14",
    parity=PARITY,
    float_parity=PARITY,
    accelerated=True,
    performance=Performance(1, 50, 0.5, 0.7, None, 4096),
)
DESCRIBED = {"sha256": SHA256, "settings": {"bounds": [0, 1]}, "outputs": [[0.5, -1.25]]}
MODELS = (
    CompressedModel(name="original", steps=(), plan=None, export=EXPORT),
    CompressedModel(name="q", steps=("guarded",), plan=PLAN, export=EXPORT, verdict="keeps the rule"),
)
DOCUMENTS: list[Document] = [
    PLAN,
    BATTERY,
    REPORT,
    EXPORT,
    SensitivityTable("inf", (SensitivityRow("a", "kernel", (2, 2), 1.5, (Measurement("log", 3, 1.4, 0.2, 0.5),)),)),
    AccuracyCurve(attack=BATTERY.columns[2].attacks["white"], epsilons=(0.0, 0.1), broken_at={"m": (1, 2, 0)}, seed=0),
    MinimalPerturbations(attack=registry.get("ddn"), distortions={"m": (0.0, 0.5, math.inf)}, seed=0),
    EvaluationInputs(
        release="0.1",
        images=SHA256,
        labels=SHA256,
        part_size=500,
        seed=0,
        battery=BATTERY.to_dict(),
        models={"m": DESCRIBED},
        surrogates={},
        float_twins={},
        check_strength=True,
        expected_clean={"m": 0.98},
    ),
    TrainingRecord("mnist", SHA256, "", ((0.5,),), {"epochs": 3, "attack": {"epsilon": 0.3}}, 2, 0, "0.1", SHA256),
    CompressionInputs(
        release="0.1", model={"sha256": SHA256}, images=SHA256, attack={"name": "pgd"}, layout="auto",
        seed=0,
    ),
    Making(policy="Guarded()", tuning=None, matched=True),
    Compression(
        facts={"model": "m.keras"},
        rule=rule.Rule(),
        models=MODELS,
        screening=REPORT,
        robustness=REPORT,
        recommendation=Recommendation(name="q", keeps_rule=True, reason="It is the smallest."),
        file_check=FileCheck(count=20, withstood=3, same=20),
    ),
    Card(
        name="net",
        about="a network",
        dataset="digits",
        network="digits_cnn",
        options={"width": 4},
        recipe={"epochs": 2},
        seed=0,
        command="laq train",
        minutes=0.5,
        epochs=({"loss": 0.5},),
        scores=({"attack": "none", "accuracy": 0.98, "wilson_95": [0.97, 0.99]},),
        sha256=SHA256,
    ),
]  # fmt: skip
KINDS = {f"{type(document).__module__}.{type(document).__name__}": document for document in DOCUMENTS}
TRAPS = [b"NaN", b"1e999", b"-1", b"9" * 400, b"null", b"[" * 3000, b'{"a":' * 3000, b"\xff\xfe", b'"\\ud800"', b"\x00"]


def test_every_kind_of_document_is_here():
    for module in pkgutil.walk_packages(laq.__path__, "tf_laq."):
        importlib.import_module(module.name)
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in subclasses(Document) if not kind.__name__.startswith("_")}
    assert kinds == set(KINDS)


def subclasses(kind):
    for subclass in kind.__subclasses__():
        if not inspect.isabstract(subclass):
            yield subclass
        yield from subclasses(subclass)


def damaged(content, random):
    """Return the bytes of a file with something changed, lost or added."""
    first, second = sorted(random.choices(range(len(content) + 1), k=2))
    short = min(second, first + random.randrange(1, 40))
    turned = bytes([content[first % len(content)] ^ 1 << random.randrange(8)])
    middle = random.choice(
        [
            turned,
            bytes([random.randrange(256)]),
            bytes(short - first),
            b"",
            bytes(len(content) - first),
            content[first:short] * 2,
            content[first:short][::-1],
            random.choice(TRAPS),
            str(random.randrange(100)).encode(),
        ]
    )
    end = random.choice([short, first + 1, len(content)])
    return content[:first] + middle + content[end:]


def check_documents(kind, count, path):
    document = KINDS[kind]
    document.save(path)
    assert type(document).load(path) == document
    assert document.is_at(path)
    content, generator = path.read_bytes(), random.Random(kind)
    for _ in range(count):
        path.write_bytes(damaged(content, generator))
        try:
            found = type(document).load(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
            assert not document.is_at(path)
        else:
            assert found == document
            assert found.to_dict() == type(document).from_dict(document.to_dict()).to_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_document_is_refused(kind, tmp_path):
    check_documents(kind, 40, tmp_path / "document.json")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_document_with_any_damage_is_refused(kind, tmp_path):
    check_documents(kind, 2000, tmp_path / "document.json")


def changed(content, random):
    """Return JSON-ready values with one of them replaced, removed or added."""
    if isinstance(content, dict) and content and random.random() < 0.9:
        name = random.choice(list(content))
        rest = {key: value for key, value in content.items() if key != name}
        return rest if random.random() < 0.1 else {**content, name: changed(content[name], random)}
    if isinstance(content, list) and content and random.random() < 0.9:
        place = random.randrange(len(content))
        return [*content[:place], changed(content[place], random), *content[place + random.choice([0, 1, 1, 1]) :]]
    return random.choice([None, True, -1, 0, 10**400, 0.5, -1e308, "", "pgd", "ff", [], [[]], {}, {"name": []}, [None]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_that_somebody_else_wrote_is_refused_by_the_field_that_is_wrong(kind):
    original, generator = json.loads(json.dumps(KINDS[kind].to_dict())), random.Random(kind)
    for _ in range(100):
        try:
            found = type(KINDS[kind]).from_dict(changed(original, generator))
        except InputError as error:
            assert ": expected " in str(error)
        else:
            assert type(found).from_json(found.to_json()) == found


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_of_this_version_without_a_checksum_is_refused(kind):
    document = KINDS[kind]
    lines = [line for line in document.to_json().splitlines() if not line.startswith(' "checksum"')]
    with pytest.raises(InputError, match="no checksum"):
        type(document).from_json("\n".join(lines))


EXAMPLES = AdversarialExamples(
    model="m",
    sha256=SHA256,
    seed=0,
    battery=BATTERY,
    images=np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4, 1),
    clean=np.zeros((2, 4, 4, 1), np.float32),
    labels=np.array([0, 1]),
    indices=np.array([0, 1]),
    margins=np.array([0.5, -0.5], np.float32),
    predicted=np.array([0, 0]),
    clean_predicted=np.array([0, 1]),
    columns=np.array(["pgd", "clean"]),
    knowledge=np.array(["white", "none"]),
)
ARRAYS = {"epochs": np.array(3), "0": np.linspace(0, 1, 50, dtype=np.float32), "texts": np.array(["a", "b"])}


def examples_in(path):
    found = AdversarialExamples.load(path)
    return [np.asarray(getattr(found, field.name)) for field in dataclasses.fields(found)]


def arrays_in(path):
    with archives.opened_whole(path, "arrays", "Make them again.") as content:
        return [np.array(list(content)), *(content[name] for name in content)]


def rows_in(path):
    with archives.opened(path, "arrays", "Make them again.") as content:
        return [content[name] for name in ARRAYS]


ARCHIVES = {
    "examples": (EXAMPLES.save, examples_in),
    "arrays": (lambda path: archives.write(path, ARRAYS), arrays_in),
    "of NumPy": (lambda path: np.savez(path, **ARRAYS), rows_in),
    "of NumPy, compressed": (lambda path: np.savez_compressed(path, **ARRAYS), rows_in),
}


def check_archives(kind, count, path):
    save, read = ARCHIVES[kind]
    save(path)
    content, original, generator = path.read_bytes(), read(path), random.Random(kind)
    for _ in range(count):
        path.write_bytes(damaged(content, generator))
        try:
            found = read(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert len(found) == len(original)
            assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(found, original, strict=True))


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_damaged_archive_is_refused(kind, tmp_path):
    check_archives(kind, 60, tmp_path / "arrays.npz")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_with_any_damage_is_refused(kind, tmp_path):
    check_archives(kind, 2000, tmp_path / "arrays.npz")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the bytes of a quantized model in HDF5."""
    import tf_keras

    path = tmp_path_factory.mktemp("saved") / "m.h5"
    layers = [tf_keras.Input((6, 6, 1)), tf_keras.layers.Conv2D(4, 3), tf_keras.layers.Flatten()]
    model = tf_keras.Sequential([*layers, tf_keras.layers.Dense(3)])
    laq.save_model(laq.bake(model, laq.uniform(model, "linear", 4)), path)
    return path.read_bytes()


def check_models(count, saved, path):
    whole = saved[: saved.rindex(b"\ntf_laq sha256 ")]
    path.write_bytes(saved)
    check_content(path)
    generator = random.Random(0)
    for _ in range(count):
        path.write_bytes(damaged(saved, generator))
        try:
            check_content(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert path.read_bytes().startswith(whole)


def test_a_damaged_hdf5_model_is_refused(saved, tmp_path):
    check_models(200, saved, tmp_path / "m.h5")


@pytest.mark.slow
def test_an_hdf5_model_with_any_damage_is_refused(saved, tmp_path):
    check_models(5000, saved, tmp_path / "m.h5")


def test_an_hdf5_model_that_was_edited_is_refused(saved, tmp_path):
    import h5py

    path = tmp_path / "m.h5"
    path.write_bytes(saved)
    assert laq.plan_of(laq.load_model(path)).entries[0].bits == 4
    with h5py.File(path, "a") as file:
        file.attrs["note"] = "mine"
    with pytest.raises(InputError, match=r"m\.h5: expected the model that was saved.*edited.*Restore it"):
        laq.load_model(path)
