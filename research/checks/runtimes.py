"""Do exported files load, and compute what the model computes, in the oldest runtime that each of them names?

Makes an environment for every runtime in a temporary folder (downloads up to 1.5 GB, removed at the end), exports a set
of files here, runs each of them there by a program that needs only that runtime and NumPy, and compares with the
outputs of the Keras model. A file has to load where its report says so, and nowhere else, and its outputs have to be
within 1e-5 of the largest: anything else is a mismatch, and the exit code is 1. Takes a quarter of an hour.

    python -m research.checks.runtimes
    python -m research.checks.runtimes --python python3.10
    python -m research.checks.runtimes --runtimes tflite-runtime==2.14.0,ai-edge-litert==1.0.1 --results out
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras

import tf_laq as laq
from research.checks.builders import chain
from research.checks.program import argument_parser, publish
from tf_laq import models
from tf_laq.tflite import LAYOUTS

layers = tf_keras.layers

TOLERANCE = 1e-5
IMAGES = 16

RUNTIMES = {
    "tensorflow-cpu==2.12.1": "2.12",
    "tflite-runtime==2.14.0": "2.14",
    "tensorflow-cpu==2.15.1": "2.15",
    "ai-edge-litert==1.0.1": "2.18",
    "ai-edge-litert==1.2.0": "2.19",
    "ai-edge-litert==2.0.3": "2.20",
    "ai-edge-litert==2.1.6": "2.21",
}
"""Requirement -> the TensorFlow Lite whose operators it has."""

PYTHONS = ("3.10", "3.11")
"""Those that all of these runtimes have been built for."""

INTERPRETERS = {
    "tflite-runtime": "from tflite_runtime.interpreter import Interpreter",
    "ai-edge-litert": "from ai_edge_litert.interpreter import Interpreter",
    "tensorflow-cpu": "from tensorflow import lite; Interpreter = lite.Interpreter",
}

# A runtime that crashes takes the program with it: every result is on the disk before the next file is opened.
PROGRAM = """
import pathlib, sys
import numpy as np
{interpreter}
folder = pathlib.Path(sys.argv[1])
for name in sys.argv[2:]:
    begun = folder / (name + ".begun")
    begun.touch()
    try:
        runner = Interpreter(model_path=str(folder / (name + ".tflite")))
        runner.allocate_tensors()
        outputs = []
        for image in np.load(folder / (name.split(".")[0] + ".npz"))["images"]:
            runner.reset_all_variables()
            runner.set_tensor(runner.get_input_details()[0]["index"], image[None])
            runner.invoke()
            outputs.append(runner.get_tensor(runner.get_output_details()[0]["index"])[0])
        np.save(folder / (name + ".npy"), np.array(outputs))
    except (RuntimeError, ValueError) as error:
        (folder / (name + ".error")).write_text(" ".join(str(error).split()))
"""


def pruned() -> Any:
    """Return the four-layer CNN with nine of ten weights at zero, which exported files leave out."""
    model = models.build("mnist_cnn", seed=0)
    kept = [np.where(np.abs(w) > np.quantile(np.abs(w), 0.9), w, 0) if w.ndim > 1 else w for w in model.get_weights()]
    model.set_weights(kept)
    return model


NETWORKS = {
    "cnn": lambda: models.build("mnist_cnn", seed=0),
    "pruned": pruned,
    # Its normalisations fold into a convolution, a depthwise one and a dense layer.
    "normalised": chain(
        (16, 16, 3),
        lambda: layers.Conv2D(16, 3, use_bias=False),
        layers.BatchNormalization,
        layers.ReLU,
        lambda: layers.DepthwiseConv2D(3, strides=2),
        layers.BatchNormalization,
        layers.ReLU,
        lambda: layers.Conv2D(32, 1),
        layers.BatchNormalization,
        layers.Flatten,
    ),
    # A loop, whose body reads the weights.
    "recurrent": chain((8, 12), lambda: layers.GRU(24)),
}
SETTINGS = [("linear", bits) for bits in (1, 2, 3, 4, 5, 8)] + [("log", bits) for bits in (2, 3, 4, 6, 8)]
OLDEST_ASKED_FOR = "2.7"


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file to try, and what its report says.

    Attributes:
        name: Its name in the folder, without an ending.
        title: What it is.
        runtime: The oldest runtime that its report names.
        encodings: How its tensors are stored.
        expected: The outputs of the Keras model.
    """

    name: str
    title: str
    runtime: str
    encodings: frozenset[str]
    expected: npt.NDArray[np.float32]

    def outcome(self, folder: Path) -> tuple[str, float]:
        """Return what became of it: "exact", "differs", "refused" or "crashed"; and the relative difference."""
        if (folder / f"{self.name}.npy").exists():
            difference = np.abs(np.load(folder / f"{self.name}.npy") - self.expected).max()
            relative = float(difference / np.abs(self.expected).max())
            return ("exact" if relative <= TOLERANCE else "differs"), relative
        return ("refused" if (folder / f"{self.name}.error").exists() else "crashed"), np.nan


def export_all(folder: Path) -> Iterator[Exported]:
    """Write every network, setting and layout into a folder, and the images to run them on."""
    for network, build in NETWORKS.items():
        tf_keras.utils.set_random_seed(0)
        model = build()
        random = np.random.default_rng(0)
        model.set_weights(
            [w if w.ndim > 1 else random.uniform(0.5, 1.5, w.shape).astype(w.dtype) for w in model.get_weights()]
        )
        images = random.random((IMAGES, *model.input_shape[1:]), dtype=np.float32)
        np.savez(folder / f"{network}.npz", images=images)
        for quantizer, bits in SETTINGS:
            plan = laq.uniform(model, quantizer, bits, progress=False)
            expected = laq.bake(model, plan)(images, training=False).numpy()
            for layout, oldest in [*((layout, None) for layout in LAYOUTS), ("packed", OLDEST_ASKED_FOR)]:
                if oldest is not None and network == "recurrent":
                    continue
                name = f"{network}.{quantizer}{bits}.{layout}{oldest or ''}"
                report = laq.export_tflite(
                    model, folder / f"{name}.tflite", plan, layout=layout, images=images, min_runtime=oldest
                )
                stored = frozenset(part for t in report.tensors for part in t.encoding.split(", "))
                title = f"{network} {quantizer} {bits} {layout}" + (f" for {oldest}" if oldest else "")
                yield Exported(name, title, report.runtime, stored, expected)


def environment(requirement: str, python: str, folder: Path) -> Path:
    """Install a runtime into a new environment and return the environment's Python."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    own = folder / "bin" / "python"
    # All of them were built before NumPy 2, or take the older one as well.
    subprocess.run([own, "-m", "pip", "install", "--quiet", requirement, "numpy<2"], check=True)
    return own


def run_all(requirement: str, python: Path, exported: list[Exported], folder: Path) -> None:
    """Run every file in a runtime; a file that crashes it is left without a result."""
    program = PROGRAM.format(interpreter=INTERPRETERS[requirement.partition("==")[0]])
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    for ending in ("begun", "npy", "error"):
        for path in folder.glob(f"*.{ending}"):
            path.unlink()
    while left := [e.name for e in exported if not (folder / f"{e.name}.begun").exists()]:
        command = [str(python), "-c", program, str(folder), *left]
        done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False)
        if not (folder / f"{left[0]}.begun").exists():
            raise RuntimeError(f"{requirement} does not start: {done.stderr[-2000:]}")


def find_python(given: str | None) -> str:
    """Return a Python that the old runtimes exist for: the one given, this one, or one on PATH."""
    if given is not None:
        return given
    if f"{sys.version_info.major}.{sys.version_info.minor}" in PYTHONS:
        return sys.executable
    python = next(filter(None, (shutil.which(f"python{version}") for version in PYTHONS)), None)
    if python is None:
        sys.exit(f"No Python {' or '.join(PYTHONS)} found: name one with --python.")
    return python


def _numbers(version: str) -> list[int]:
    """Return a version as numbers that compare; "2.18.0" and "2.18" are equal."""
    numbers = [int(part) for part in version.split(".")]
    return numbers + [0] * (3 - len(numbers))


def row(requirement: str, exported: list[Exported], folder: Path) -> tuple[list[Any], list[str]]:
    """Return a runtime's row of the table, and its mismatches."""
    offered = RUNTIMES[requirement]
    mismatches, promised, exact, refused, worst = [], 0, 0, 0, 0.0
    seen: set[str] = set()
    for file in exported:
        outcome, relative = file.outcome(folder)
        wanted = "exact" if _numbers(file.runtime) <= _numbers(offered) else "refused"
        promised += wanted == "exact"
        exact += outcome == "exact"
        refused += outcome == "refused"
        if outcome == "exact":
            seen |= file.encodings
            worst = max(worst, relative)
        if outcome != wanted:
            error = folder / f"{file.name}.error"
            why = f" ({error.read_text()[:200]})" if error.exists() else ""
            mismatches.append(
                f"{requirement}: {file.title}, which names {file.runtime}: expected {wanted}, was {outcome}, "
                f"relative difference {relative:.1e}{why}"
            )
    counts = [len(exported), promised, exact, refused, len(mismatches)]
    return [requirement, offered, *counts, f"{worst:.1e}", ", ".join(sorted(seen))], mismatches


TEXT = """
Every file was exported with the versions below and run in each of these runtimes, in an environment of its own. The
files: {files}. "Promised" files are those whose report names this runtime or an older one as the oldest that loads
them; they have to load and to be exact, which means within 1e-5 of the largest output of the Keras model. All others
have to be refused. What is neither counts as a mismatch. Made by `python -m research.checks.runtimes`.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check and write its page."""
    parser = argument_parser(__doc__)
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="requirements, of those known")
    parser.add_argument("--python", help=f"a Python {' or '.join(PYTHONS)} for the environments")
    options = parser.parse_args(argv)
    python = find_python(options.python)
    rows, mismatches = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        exported = list(export_all(folder))
        for requirement in options.runtimes.split(","):
            place = Path(temporary) / "environment"
            print(f"{requirement} ...", flush=True)
            run_all(requirement, environment(requirement, python, place), exported, folder)
            found, wrong = row(requirement, exported, folder)
            rows.append(found)
            mismatches += wrong
            shutil.rmtree(place)
    headers = [
        "runtime", "TensorFlow Lite", "files", "promised", "exact", "refused", "mismatches", "largest difference",
        "encodings seen",
    ]  # fmt: skip
    print(*mismatches, sep="\n")
    files = f"{len(exported)} from {len(NETWORKS)} networks ({', '.join(NETWORKS)}), {len(SETTINGS)} settings and "
    files += f"layouts {', '.join(LAYOUTS)}, and packed with min_runtime={OLDEST_ASKED_FOR!r}"
    text = TEXT.format(files=files) + "".join(f"\n- {mismatch}" for mismatch in mismatches)
    publish("tflite_runtimes", "Exported files in old runtimes", text, headers, rows, options.results)
    return int(bool(mismatches))


if __name__ == "__main__":
    sys.exit(main())
