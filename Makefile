# Each target does its own set-up; a second run does only what changed. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help quickstart test test-slow lint clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

$(VENV)/installed: pyproject.toml $(wildcard dlrm_pl/kernels/*.cpp dlrm_pl/kernels/int8/*.cpp dlrm_pl/kernels/int8/*.h)
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or later is needed, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet -e '.[test]'
	@touch $@

quickstart: $(VENV)/installed  ## synthesize, train, quantize and certify a small model, in about three minutes
	@set -e; run() { echo "+ python cli.py $$*"; $(BIN)/python cli.py "$$@"; }; \
	run synthesize --output datasets/quickstart; \
	run fit -c configs/experiment/quickstart.yaml

lint: $(VENV)/installed-test  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## lint, formatting, types and all tests but the slow ones
	$(BIN)/coverage erase
	$(BIN)/pytest --cov --cov-report=term

test-slow: $(VENV)/installed-test  ## the tests that take minutes
	$(BIN)/pytest -m slow

clean:  ## remove what the commands wrote, but not the virtual environment
	rm -rf datasets/quickstart artifacts/quickstart runs/quickstart
