# `make demo` and `make test` do all the set-up they need; everything goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
export TF_LAQ_MODELS ?= $(CURDIR)/saved_models
SOURCES := $(shell find tf_laq -type f ! -name '*.pyc') setup.cfg pyproject.toml
DEMO ?=
export TF_CPP_MIN_LOG_LEVEL ?= 3
export CUDA_VISIBLE_DEVICES ?= -1

.PHONY: setup demo test test-all coverage lint bench docs wheel smoke audit newest lock clean

setup: $(INSTALLED)

# The exact versions of requirements.lock, on Python 3.10 to 3.13. Compiled at once, on all cores: TensorFlow takes
# twenty seconds to import otherwise, in every process where Python may not write what it compiled.
.venv/locked: requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --requirement requirements.lock
	$(BIN)/python -m compileall -q -j 0 .venv/lib
	touch $@

# The package as a user installs it: a built wheel, not the source tree.
$(INSTALLED): .venv/locked $(SOURCES)
	rm -rf build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall .
	rm -rf build
	touch $@

demo: setup
	$(BIN)/laq demo $(DEMO)

PYTEST := $(BIN)/pytest --pyargs tests research tf_laq --doctest-modules --numprocesses=auto --dist=worksteal

test: setup
	$(PYTEST) -m "not slow" --durations=10

test-all: setup .venv/publishing
	$(PYTEST) --durations=10

# All tests, and the share of lines they reach.
coverage: setup .venv/publishing
	$(PYTEST) --cov --cov-report=term --cov-fail-under=90

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What documents and publishes; its lock agrees with the other one, so that both fit into one environment.
.venv/publishing: .venv/locked docs/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement docs/requirements.lock
	touch $@

docs: .venv/publishing
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What is known of weak points in the locked versions. It asks PyPI, and is told what it knows of today.
audit:
	$(PYTHON) -m venv .venv/auditing
	.venv/auditing/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv/auditing/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict

wheel: .venv/publishing
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

# The wheel in fresh environments: alone, and with each extra. Takes minutes and gigabytes for each.
smoke: wheel
	for extra in none data keras2 report train all; do \
	    rm -rf .venv/smoke && $(PYTHON) -m venv .venv/smoke \
	    && .venv/smoke/bin/pip install --quiet --disable-pip-version-check "$$(ls dist/*.whl)[$$extra]" \
	    && du -sm .venv/smoke/lib && .venv/smoke/bin/python tests/smoke.py $$extra || exit 1; \
	done

# The fast tests on the newest of all that setup.cfg allows, in a fresh environment. TESTS chooses a part.
TESTS ?= tests research tf_laq
newest: wheel
	rm -rf .venv/$@ && $(PYTHON) -m venv .venv/$@
	.venv/$@/bin/pip install --quiet --disable-pip-version-check "$$(ls dist/*.whl)[all,test]"
	.venv/$@/bin/pytest --pyargs $(TESTS) --doctest-modules --numprocesses=auto --dist=worksteal -m "not slow"

# Writes docs/results/benchmarks.md; for an idle machine.
bench: setup
	$(BIN)/python benchmarks/all.py

# Writes both locks anew from the ranges of setup.cfg and docs/requirements.in; needs uv. The constraint: ai-edge-litert
# wants backports-strenum on every Python, and from 1.3 on it exists for 3.10 only.
lock:
	echo 'backports-strenum <1.3' | uv pip compile --quiet --universal --python-version 3.10 --constraint - \
	    --extra all --extra test --extra lint --custom-compile-command 'make lock' setup.cfg --output-file requirements.lock
	uv pip compile --quiet --universal --python-version 3.10 --constraint requirements.lock \
	    --custom-compile-command 'make lock' docs/requirements.in --output-file docs/requirements.lock

clean:
	rm -rf .venv build dist out site
