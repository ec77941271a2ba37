"""Runs the benchmarks one after the other and writes what they print, with the machine and the versions, to a page.

A benchmark is a program of this folder that prints its tables; each runs in a process of its own, after which the page
is written as far as it goes.

    python benchmarks/all.py                          all, in about ten minutes on two idle cores
    python benchmarks/all.py search training          some of them
    python benchmarks/all.py --output mine.md
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "results" / "benchmarks.md"
# A program and its arguments: with these they fit into a quarter of an hour together.
BENCHMARKS = (
    ("search",),
    ("models", "--kerases", "3", "--networks", "wrn,dense 4096"),
    ("training", "--kerases", "3", "--networks", "mnist_cnn", "mnist_separable"),
    ("training", "--kerases", "3", "--networks", "wide_resnet", "--attack_steps", "0"),
    ("attacks", "--examples", "32"),
    ("evaluation", "--examples", "400"),
    ("masked_gradients", "--examples", "32", "--bits", "4"),
    ("tflite", "--networks", "cnn", "--bits", "3,4", "--rounds", "100"),
)
PACKAGES = ("tf_laq", "numpy", "tensorflow", "keras", "tf_keras", "ai-edge-litert")


def machine() -> str:
    """Return the processor, its cores and the system in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.processor()])[0]}, {os.cpu_count()} cores, {platform.system()}"


def versions() -> str:
    """Return the versions of Python and of the packages that count."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{p} {metadata.version(p)}" for p in PACKAGES)])


def section(name: str, arguments: tuple[str, ...]) -> str:
    """Run a benchmark and return its part of the page; what it prints is shown too.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    command = [f"benchmarks/{name}.py", *arguments]
    words = " ".join(f'"{word}"' if " " in word else word for word in ["python", *command])
    print(f"== {words}", flush=True)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.perf_counter() - start
    print(done.stdout, flush=True)
    about = (HERE / f"{name}.py").read_text(encoding="utf-8").split('"""')[1].partition("\n\n    python ")[0]
    printed = f"`{words}`, {seconds:.0f} seconds:\n\n```text\n{done.stdout.strip()}\n```\n"
    return f"## {name} {' '.join(arguments)}".rstrip() + f"\n\n{about}\n\n{printed}"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = tuple(dict.fromkeys(name for name, *_ in BENCHMARKS))
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--output", type=Path, default=PAGE)
    given = parser.parse_args()
    unknown = set(given.names) - set(known)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    command = " ".join(["python benchmarks/all.py", *given.names])
    made = f"What `{command}` printed on {time.strftime('%Y-%m-%d')}: {machine()}; {versions()}."
    page = f"# Benchmarks\n\n{made} Every ratio is of two times in one run.\n"
    for name, *more in BENCHMARKS:
        if name in (given.names or known):
            page = f"{page}\n{section(name, tuple(more))}"
            given.output.write_text(page, encoding="utf-8")
    print(f"written: {given.output}")


if __name__ == "__main__":
    main()
