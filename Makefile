# Each target does its own set-up; a second run does only what changed. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help quickstart test test-slow asan lint clean
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
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --cov --cov-report=term

test-slow: $(VENV)/installed-test  ## the tests that take minutes
	$(BIN)/pytest -m slow

# A copy of the package whose kernels stop at the first byte read or written outside of an array.
asan: $(VENV)/installed-test  ## the tests of the int8 kernels under AddressSanitizer
	rm -rf build/asan && mkdir -p build/asan && cp -r dlrm_pl build/asan/
	$(CXX) -O1 -g -std=c++17 -fsanitize=address -fno-omit-frame-pointer -ffp-contract=off -fno-math-errno \
		-fno-trapping-math -fPIC -shared -w -o build/asan/dlrm_pl/kernels/_int8$$($(BIN)/python -c \
		'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))') dlrm_pl/kernels/int8/*.cpp -ldl
	PYTHONPATH=build/asan ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) \
		-print-file-name=libstdc++.so)" $(BIN)/pytest tests/kernels/test_int8.py tests/runtime -p no:cacheprovider

clean:  ## remove what the commands wrote, but not the virtual environment
	rm -rf datasets/quickstart artifacts/quickstart runs/quickstart
