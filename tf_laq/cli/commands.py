"""The commands: each turns text into the arguments of a library function and prints what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tf_laq import api, files, policies, quantizers
from tf_laq.cli import retraining
from tf_laq.cli.sensitivity import sensitivity
from tf_laq.errors import InputError
from tf_laq.plan import QuantizationPlan
from tf_laq.quantizers import Quantizer
from tf_laq.saving import load_model, save_model

DATA_DRIVEN = ("hawq", "ans")


def demo(
    dataset: str = "digits",
    out: str = "results",
    recipe: str = "fast",
    preset: str = "standard",
    examples: int = 500,
    attacks: str = "",
    surrogates: str = "twin",
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
) -> None:
    """Run the whole experiment: train, quantize in three ways, attack, export, report.

    Trains an adversarially robust network and an independent twin, quantizes the first to 3-bit linear (q1),
    3-bit log (q2) and by Algorithm 1 (lq), attacks all four, and writes tables, plots, report.html and
    lq.tflite. Networks that an earlier run left in the folder are used again.

    Args:
        dataset: digits, mnist or cifar10.
        out: Results folder.
        recipe: Training recipe: fast, or full.
        preset: The attacks and their strengths: standard, paper or strong.
        examples: Number of test images to attack.
        attacks: Columns of the table, separated by commas; empty for all.
        surrogates: What gray-box examples are made on: twin, or twin,adv.
        keras: Version of Keras that the networks are built with: 2 (tf_keras) or 3.
        seed: Seed of the network and the attacks; the twin has the next one.
        retrain: Train even where the folder has the network.
    """
    from tf_laq import experiment

    result = experiment.run(
        dataset,
        out=out,
        recipe=recipe,
        preset=preset,
        examples=examples,
        attacks=_list(attacks) or None,
        surrogates=_list(surrogates),
        keras=keras,
        seed=seed,
        retrain=retrain,
    )
    print(f"\n{result}")


def train(
    dataset: str = "digits",
    out: str = "model.keras",
    recipe: str = "fast",
    keras: int = 2,
    seed: int = 0,
    retrain: bool = False,
) -> None:
    """Train a network adversarially and save it.

    A file that was trained with the same data set, recipe and seed is left as it is.

    Args:
        dataset: digits, mnist or cifar10.
        out: File to write, ending in .keras; what it was trained with goes beside it, into .training.json.
        recipe: Training recipe: fast, full, or plain (no attack).
        keras: Version of Keras that the network is built with: 2 (tf_keras) or 3.
        seed: Seed of the weights, the order of the images and the random starts.
        retrain: Train even if the file is there.
    """
    from tf_laq import datasets, experiment, training

    _check_ending(out, ".keras", "out")
    settings = training.recipe(dataset, recipe)
    data = datasets.load(dataset, seed=seed)
    model, _ = experiment.trained_model(data, settings, keras, seed, Path(out), retrain=retrain)
    print(f"{out}: {model.name}, {model.count_params():,} parameters; see laq evaluate for its accuracy")


def quantize(
    model: str,
    out: str = "quantized.keras",
    method: str = policies.DEFAULT,
    quantizer: str = "",
    bits: int | None = None,
    max_bits: int | None = None,
    average_bits: float | None = None,
    max_bytes: int | None = None,
    dataset: str = "",
    examples: int = 256,
    seed: int = 0,
    norm: str = "spectral",
    overrides: str = "",
) -> None:
    """Choose a quantizer and a bit width for every kernel, and save the quantized model and the plan.

    Args:
        model: Saved Keras model.
        out: File to write, ending in .keras; the plan goes beside it, into .plan.json.
        method: guarded (the fewest bits within relative limits), paper (its Algorithm 1), budget (the least
            predicted loss within a size), uniform (the same everywhere), random (within a size); and, on images of
            a data set, hawq (error times curvature, within a size) and ans (by adversarial noise sensitivity).
        quantizer: Quantizers to choose from (<quantizers>), separated by commas; empty for all, and for paper for
            linear and log. For uniform, the one to use.
        bits: Bit width, for uniform.
        max_bits: Widest setting to try; for ans, that of the most sensitive layer.
        average_bits: Most bits a weight on average, for budget, random and hawq; either this or max_bytes.
        max_bytes: Most bytes of all codes.
        dataset: digits, mnist or cifar10, for hawq and ans.
        examples: Number of its training images to measure on.
        seed: Seed of random, hawq and ans.
        norm: Norm that is limited: spectral or inf.
        overrides: Layers set by hand, as "conv1=linear:8,dense*=float32": a name or shell pattern, then a
            quantizer with its bits, or float32.
    """
    _check_ending(out, ".keras", "out")
    by_hand = parse_overrides(overrides)
    network = load_model(model)
    methods = tuple(_list(quantizer)) or None
    size: dict[str, Any] = {"average_bits": average_bits, "max_bytes": max_bytes}
    if method == "uniform":
        if not quantizer or bits is None or max_bits is not None:
            raise InputError(
                "method uniform", expected="a quantizer and bits", received=_given(quantizer, bits, max_bits)
            )
        policy: policies.Policy = policies.Uniform(quantizers.get(quantizer, bits))
    elif bits is not None:
        raise InputError("bits", expected=f"none with {method}", received=bits, remedy="Use max_bits.")
    elif method in DATA_DRIVEN:
        policy = _data_driven(
            method, network, dataset, examples, methods=methods, max_bits=max_bits, seed=seed, size=size
        )
    else:
        if method not in policies.NAMES:
            names = ["uniform", *policies.NAMES, *DATA_DRIVEN]
            raise InputError("method", expected=f"one of {', '.join(names)}", received=repr(method))
        seeded = {"seed": seed} if method == "random" else {}
        policy = policies.named(method, methods=methods, max_bits=max_bits, **size, **seeded)
    plan = api.search(network, policy=policy, norm=norm, overrides=by_hand)  # type: ignore[arg-type]
    save_model(api.apply(network, plan, baked=True), out)
    plan_path = Path(out).with_suffix(".plan.json")
    plan.save(plan_path)
    print(f"{plan}\n\nQuantized model: {out}\nPlan: {plan_path}")


def _data_driven(
    method: str,
    network: Any,
    dataset: str,
    examples: int,
    *,
    methods: tuple[str, ...] | None,
    max_bits: int | None,
    seed: int,
    size: dict[str, Any],
) -> policies.Policy:
    """Return the policy `method`, measured on the first training images of the data set."""
    from tf_laq import datasets
    from tf_laq.attacks.battery import Battery
    from tf_laq.attacks.checks import whole

    whole("examples", examples)
    if not dataset:
        raise InputError("dataset", expected=f"a data set, which {method} measures on", received="none")
    train = datasets.load(dataset).train
    batch = train.images[:examples], train.labels[:examples]
    bits = 8 if max_bits is None else max_bits
    if method == "hawq":
        return policies.hawq(network, *batch, limit=policies.Limit(**size), methods=methods, max_bits=bits, seed=seed)
    for name, value in size.items():
        if value is not None:
            raise InputError(name, expected="none with ans", received=value, remedy="Use max_bits.")
    attack = Battery.preset(dataset).only("pgd").columns[0].attacks["white"]
    return policies.ans(network, *batch, attack=attack, initial_bits=bits, methods=methods, seed=seed)


def evaluate(
    models: str,
    dataset: str = "digits",
    out: str = "evaluation",
    surrogates: str = "",
    float_twins: str = "",
    preset: str = "standard",
    examples: int = 500,
    attacks: str = "",
    seed: int = 0,
    batch_size: int = 128,
    overwrite: bool = False,
) -> None:
    """Attack saved models and write their accuracy as tables, plots and a page, and their adversarial examples.

    An evaluation that was interrupted goes on where it was, if it is started again with the same arguments.

    Args:
        models: Saved tf_keras models and TensorFlow Lite files, separated by commas, each a path or name=path.
        dataset: digits, mnist or cifar10.
        out: Results folder.
        surrogates: Models that gray-box examples are made on, in the same form.
        float_twins: Name of a quantized model=path of the model it was made from, whose gradient then helps
            white-box attacks on the quantized one.
        preset: The attacks and their strengths: standard, paper or strong.
        examples: Number of test images, from the first on.
        attacks: Columns of the table, separated by commas; empty for all.
        seed: Seed of the random attacks.
        batch_size: Number of images attacked at a time.
        overwrite: Begin anew if the folder has an evaluation of other models, images or settings.
    """
    from tf_laq import evaluation, report
    from tf_laq.attacks.battery import Battery
    from tf_laq.attacks.checks import whole
    from tf_laq.datasets import load

    whole("examples", examples)
    battery = Battery.preset(dataset, preset)
    battery = battery.only(_list(attacks)) if attacks else battery
    networks, sources = load_models(models, "models"), load_models(surrogates, "surrogates")
    test = load(dataset).test
    folder = Path(out)
    found = evaluation.evaluate(
        networks,
        test.images[:examples],
        test.labels[:examples],
        battery=battery,
        surrogates=sources,
        float_twins=load_models(float_twins, "float_twins"),
        batch_size=batch_size,
        seed=seed,
        folder=folder / "examples",
        overwrite=overwrite,
    )
    found.write(folder)
    facts = {"Data set": f"{dataset}, {found.count} test images", "Models": models, "Seed": str(seed)}
    saved = evaluation.load_examples(folder / "examples")
    page = report.write_report(folder / "report.html", facts=facts, robustness=found, examples=saved)
    print(f"{found}\n\nResults: {folder} (open {page})")


def pictures(folder: str = "evaluation/examples", out: str = "examples.png", count: int = 8) -> None:
    """Draw saved adversarial examples: clean, adversarial, the difference times ten, and the predicted classes.

    Args:
        folder: Folder examples of the results of laq evaluate or laq demo, or one .npz file of it.
        out: File to write, ending in .png.
        count: Number of images.
    """
    from tf_laq.evaluation import load_examples
    from tf_laq.report import draw_examples

    _check_ending(out, ".png", "out")
    content = draw_examples(load_examples(folder), count=count)
    with files.replacing(out) as temporary:
        temporary.write_bytes(content)
    print(out)


def export(
    model: str,
    path: str = "model.tflite",
    plan: str = "",
    layout: str = "auto",
    compress: str = "",
    strict: bool = False,
    min_runtime: str = "",
    compare_sizes: bool = False,
    measure: bool = False,
) -> None:
    """Write a model as a TensorFlow Lite file, after checking that the file computes what the model computes.

    Args:
        model: Saved Keras model: float, or quantized by laq.
        path: File to write, ending in .tflite; the report goes beside it, into .export.json.
        plan: The plan's JSON file; a float model is quantized by it, a quantized one must fit it.
        layout: int8 (8 bits a weight, as fast as float32), packed (the fewest bytes, slower convolutions), or auto
            (packed dense layers and embeddings, int8 convolutions); in each, zeros are left out where most weights
            are zero.
        compress: gz or xz: write a compressed file beside it.
        strict: Refuse a plan with a weight that the layout can only store in float16 or float32.
        min_runtime: The oldest TensorFlow Lite runtime to load the file in, such as 2.7.
        compare_sizes: Print the sizes of the stock converter's float16 and Optimize.DEFAULT files too.
        measure: Measure latency and peak memory on this machine, beside those of the float32 file.
    """
    from tf_laq.tflite import export_tflite

    _check_ending(path, ".tflite", "path")
    chosen = QuantizationPlan.load(plan) if plan else None
    exported = export_tflite(
        load_model(model),
        path,
        chosen,
        layout=layout,  # type: ignore[arg-type]  # Any text comes from the command line; it is checked there.
        compress=compress or None,  # type: ignore[arg-type]
        strict=strict,
        min_runtime=min_runtime or None,
        compare_sizes=compare_sizes,
        measure=measure,
    )
    exported.save(Path(path).with_suffix(".export.json"))
    print(exported)


def inspect(path: str) -> None:
    """Print what a TensorFlow Lite file holds: its weights with their bits and levels, its operators, its runtime.

    Args:
        path: The file; .gz and .xz are read too.
    """
    from tf_laq import tflite

    print(tflite.inspect(path))


def report(folder: str = "results") -> None:
    """Draw the plots and the page of a finished experiment again.

    Args:
        folder: Results folder of laq demo.
    """
    from tf_laq.experiment import ExperimentResult

    print(ExperimentResult.load(Path(folder) / "experiment.json").write_report(folder))


def curve(
    models: str,
    dataset: str = "digits",
    out: str = "curve",
    attack: str = "apgd_ce",
    epsilons: str = "0.05,0.1,0.15,0.2,0.3,0.4,0.5",
    examples: int = 500,
    seed: int = 0,
    batch_size: int = 128,
) -> None:
    """Measure the accuracy of saved models against the strength of an attack, as a table and a plot.

    Args:
        models: Saved models, separated by commas, each a path or name=path.
        dataset: digits, mnist or cifar10.
        out: Results folder.
        attack: Name of an attack inside a ball, such as apgd_ce, pgd or square.
        epsilons: L-inf radii of the ball in pixel units, rising, separated by commas.
        examples: Number of test images, from the first on.
        seed: Seed of the random attacks.
        batch_size: Number of images attacked at a time.
    """
    from tf_laq import attacks, evaluation
    from tf_laq.attacks.checks import whole
    from tf_laq.datasets import load
    from tf_laq.report.plots import draw_curve

    whole("examples", examples)
    strengths = _numbers(epsilons, "epsilons")
    chosen = attacks.get(attack, epsilon=strengths[-1])
    networks, test = load_models(models, "models"), load(dataset).test
    found = evaluation.accuracy_curve(
        networks,
        test.images[:examples],
        test.labels[:examples],
        attack=chosen,
        epsilons=strengths,
        batch_size=batch_size,
        seed=seed,
    )
    folder = Path(out)
    found.save(folder / "curve.json")
    files.write_text(folder / "curve.csv", found.to_csv())
    files.write_text(folder / "curve.txt", f"{found}\n")
    with files.replacing(folder / "curve.png") as part:
        part.write_bytes(draw_curve(found))
    print(f"{found}\n\nResults: {folder}")


def reproduce(
    what: str = "all",
    dataset: str = "mnist",
    out: str = "reproduced",
    cache: str = "runs",
    models: str = "",
    plans: str = "",
    network: str = "",
    examples: int | None = None,
    strong_examples: int | None = None,
    curve_examples: int | None = None,
    seed: int = 0,
) -> None:
    """Make the paper's tables and figure again, beside its own numbers.

    A run that was killed goes on where it was, if it is started again with the same cache.

    Args:
        what: table1 to table5, figure1, all of these that the paper has for the data set, claims, or selection: more
            ways to choose the bits, by size and worst case.
        dataset: mnist, cifar10, or digits, for which the paper has nothing.
        out: Folder of the pages; remarks on them, written by hand, are taken from its folder remarks.
        cache: Folder of the evaluations, which no table makes again.
        models: Networks by their role, as "adv=path,twin=path"; the roles are orig, adv, twin and fl. Empty for those
            that come with the package.
        plans: More quantized rows, as "name=plan.json,name=plan.json".
        network: Other networks of the data set than those in place of the paper's: madry or separable for mnist.
        examples: Number of test images for the paper's quick attacks; the data set's own unless told.
        strong_examples: The same for CW-L2 and the worst case.
        curve_examples: The same for figure1.
        seed: Seed of the random attacks.
    """
    from tf_laq import paper

    networks = load_models(models, "models") if models else None
    chosen = {name: QuantizationPlan.load(path) for name, path in _paths(plans, "plans").items()}
    paper.reproduce(
        what,
        dataset,
        out=out,
        cache=cache,
        models=networks,
        plans=chosen,
        network=network,
        seed=seed,
        examples=examples,
        strong_examples=strong_examples,
        curve_examples=curve_examples,
    )


def parse_overrides(text: str) -> dict[str, Quantizer | None]:
    """Return "pattern=quantizer:bits,pattern=float32" as the argument `overrides` of `laq.search`.

    Raises:
        InputError: A part has another form, or there is no such quantizer or bit width.

    Example:
        >>> parse_overrides("conv1=linear:8,dense*=float32")
        {'conv1': Linear(bits=8), 'dense*': None}
    """
    found: dict[str, Quantizer | None] = {}
    for part in _list(text):
        pattern, _, setting = part.rpartition("=")
        name, _, bits = setting.partition(":")
        if not pattern or (setting != "float32" and not bits.isdigit()):
            expected = '"layer=quantizer:bits" or "layer=float32"'
            raise InputError("overrides", expected=expected, received=repr(part))
        found[pattern] = None if setting == "float32" else quantizers.get(name, int(bits))
    return found


def load_models(text: str, argument: str) -> Mapping[str, Any]:
    """Return "name=path,path" as models by name; without a name, a model has its file's.

    A path that ends in .tflite, .tflite.gz or .tflite.xz is a TensorFlow Lite file, any other a tf_keras model.

    Raises:
        InputError: Two models have the same name, or a file cannot be loaded.
    """
    return {name: _load(path) for name, path in _paths(text, argument).items()}


def _paths(text: str, argument: str) -> dict[str, str]:
    paths: dict[str, str] = {}
    for part in _list(text):
        name, equals, path = part.partition("=")
        name, path = (name, path) if equals else (Path(part).stem, part)
        if name in paths or not name or not path:
            expected = "paths, or name=path, each name once"
            raise InputError(argument, expected=expected, received=repr(text))
        paths[name] = path
    return paths


def _load(path: str) -> Any:
    if ".tflite" in Path(path).suffixes:
        from tf_laq import tflite

        return tflite.load(path)
    return load_model(path)


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str, argument: str) -> list[float]:
    try:
        return [float(part) for part in _list(text)] or [float("")]
    except ValueError:
        raise InputError(argument, expected="numbers, separated by commas", received=repr(text)) from None


def _given(quantizer: str, bits: int | None, max_bits: int | None) -> str:
    settings = {"quantizer": quantizer or None, "bits": bits, "max_bits": max_bits}
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None) or "neither"


def _check_ending(path: str, ending: str, argument: str) -> None:
    if Path(path).suffix != ending:
        raise InputError(argument, expected=f"a file name that ends in {ending}", received=repr(path))


COMMANDS: dict[str, Callable[..., object]] = {
    "demo": demo,
    "train": train,
    "feedback": retraining.feedback,
    "quantize": quantize,
    "finetune": retraining.finetune,
    "recalibrate": retraining.recalibrate,
    "evaluate": evaluate,
    "pictures": pictures,
    "curve": curve,
    "export": export,
    "inspect": inspect,
    "report": report,
    "reproduce": reproduce,
    "sensitivity": sensitivity,
}
