# `make demo` and `make test` do all the set-up they need; everything goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
SOURCES := $(shell find tf_laq -type f ! -name '*.pyc') setup.cfg pyproject.toml
DEMO ?=
export TF_CPP_MIN_LOG_LEVEL ?= 3
export CUDA_VISIBLE_DEVICES ?= -1

.PHONY: setup demo test coverage lint bench lock clean

setup: $(INSTALLED)

# The exact versions of requirements.lock, on Python 3.10 to 3.13.
.venv/locked: requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --requirement requirements.lock
	touch $@

# The package as a user installs it: a built wheel, not the source tree.
$(INSTALLED): .venv/locked $(SOURCES)
	rm -rf build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall .
	rm -rf build
	touch $@

demo: setup
	$(BIN)/laq demo $(DEMO)

test: setup
	$(BIN)/pytest --pyargs tests tf_laq --doctest-modules --numprocesses=auto --dist=worksteal --durations=10

# The same tests, slower, and the share of lines they reach.
coverage: setup
	$(BIN)/pytest --pyargs tests tf_laq --doctest-modules --numprocesses=auto --dist=worksteal --cov --cov-report=term --cov-fail-under=90

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

# Writes requirements.lock anew from the ranges of setup.cfg; needs uv. The constraint: ai-edge-litert wants
# backports-strenum on every Python, and from 1.3 on it exists for 3.10 only.
lock:
	echo 'backports-strenum <1.3' | uv pip compile --quiet --universal --python-version 3.10 --constraint - \
	    --extra test --extra lint --custom-compile-command 'make lock' setup.cfg --output-file requirements.lock

clean:
	rm -rf .venv build out
