# Each target does its own set-up; a second run only redoes what has changed. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help docs quickstart sharded kserve test coverage test-slow sanitize fuzz bench-guard lint dist dist-check docker release clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

$(VENV)/installed: pyproject.toml native_build.py .ci/constraints.txt $(wildcard dlrm_pl/data/decoding/cpp/* dlrm_pl/data/lookup/cpp/* dlrm_pl/data/preprocessing/engine/cpp/* dlrm_pl/kernels/cpp/* dlrm_pl/kernels/hashing/cpp/* dlrm_pl/kernels/int8/cpp/* dlrm_pl/kernels/int8/cpp/*/* dlrm_pl/kernels/training/cpp/* dlrm_pl/kernels/training/cpp/*/* dlrm_pl/saving/cpp/*)
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or later is needed, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c .ci/constraints.txt -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet -c .ci/constraints.txt -e '.[test]'
	@touch $@

# Without their dependencies: the file says why.
$(VENV)/installed-sharded: requirements/torchrec.txt requirements/fitting.py dlrm_pl/distributed/engine.py dlrm_pl/extras.py | $(VENV)/installed
	$(BIN)/python requirements/fitting.py > $(VENV)/torchrec.txt
	$(BIN)/pip install --quiet --no-deps -r $(VENV)/torchrec.txt
	@touch $@

sharded: $(VENV)/installed-sharded  ## install TorchRec and FBGEMM, which shard tables between processes

$(VENV)/kserve/installed: requirements/kserve.txt | $(VENV)/installed
	$(PYTHON) -m venv $(VENV)/kserve
	$(VENV)/kserve/bin/pip install --quiet -r requirements/kserve.txt
	@touch $@

kserve: $(VENV)/kserve/installed  ## install KServe's client in an environment of its own, for one of the slow tests

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install --quiet -c .ci/constraints.txt -e '.[docs]'
	@touch $@

# Without the variable, the theme announces its authors' next site generator at each build.
docs: $(VENV)/installed-docs  ## build the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

quickstart: $(VENV)/installed  ## synthesize, train, quantize and certify a small model, in about three minutes
	@set -e; run() { echo "+ python cli.py $$*"; $(BIN)/python cli.py "$$@"; }; \
	run synthesize --output datasets/quickstart; \
	run fit -c configs/experiment/quickstart.yaml --overwrite

lint: $(VENV)/installed-test  ## check lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

SANITIZED := env CXX='$(CXX)' BIN=$(BIN) tests/fuzz/sanitized.sh
FUZZ := $(SANITIZED) $(BIN)/python -P -m tests.fuzz

# xdist gives whole files to processes. There is one process more than cores, since some tests wait for other processes.
PROCESSES := $(shell $(PYTHON) -c 'import os; print(min(4, 1 + len(os.sched_getaffinity(0))))')
TESTS := $(BIN)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

# mypy runs beside the tests: it is a single process, which takes most of a minute without its cache.
test: $(VENV)/installed-test $(VENV)/installed-sharded  ## check lint, formatting and types, and run all tests but the slow ones
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy > $(VENV)/mypy.log 2>&1 & types=$$!; \
	$(TESTS); tests=$$?; \
	wait $$types; typed=$$?; cat $(VENV)/mypy.log; [ $$tests = 0 ] || exit $$tests; exit $$typed

coverage: $(VENV)/installed-test $(VENV)/installed-sharded  ## run the same tests, which take twice as long and must cover 95 % of the lines
	$(BIN)/coverage erase
	$(TESTS) --cov --cov-report=term

test-slow: $(VENV)/installed-test $(VENV)/installed-sharded $(VENV)/kserve/installed  ## run the tests that take minutes, and property tests with many examples
	$(BIN)/pytest -m 'slow or hypothesis' --hypothesis-profile=many

sanitize: $(VENV)/installed-test  ## run the tests of native code under AddressSanitizer and UndefinedBehaviorSanitizer
	$(SANITIZED) $(BIN)/pytest -p no:cacheprovider tests/kernels tests/runtime tests/data/preprocessing/test_run.py \
		tests/data/preprocessing/test_chunks.py tests/data/preprocessing/test_engine.py \
		tests/data/preprocessing/test_engine_columns.py tests/data/preprocessing/test_sizes.py tests/data/decoding tests/data/lookup \
		tests/saving

SECONDS ?= 600
fuzz: $(VENV)/installed-test  ## call native code at random under both sanitizers, for SECONDS=600 from a new SEED
	$(FUZZ) --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

$(VENV)/dist/installed: requirements/dist.txt
	$(PYTHON) -m venv $(VENV)/dist
	$(VENV)/dist/bin/pip install --quiet -r requirements/dist.txt
	@touch $@

dist: $(VENV)/dist/installed  ## build the packages of this commit twice, and the list of what they install, in dist/
	$(VENV)/dist/bin/python -m deploy.release.dist

# PYTHONS and WITHOUT_TORCH name Pythons to try instead of PYTHON, the latter without installing torch.
dist-check:  ## install what `make dist` built in fresh environments, and train and predict there
	$(PYTHON) -m deploy.release.check $(PYTHONS:%=--python %) $(WITHOUT_TORCH:%=--without-torch %)

IMAGE ?= dlrm-pl-serve
docker:  ## build the image that serves artifacts and start it once; needs Docker
	@docker version > /dev/null 2>&1 || { echo 'error: no Docker answers here (`docker version` fails). Install or' \
		'start it, or build deploy/Dockerfile with another program, such as podman.' >&2; exit 1; }
	docker build -f deploy/Dockerfile --build-arg PIP_EXTRA_INDEX_URL -t $(IMAGE):$$($(PYTHON) -m deploy.release.version) .
	docker run --rm $(IMAGE):$$($(PYTHON) -m deploy.release.version) --help > /dev/null

release:  ## give the next release its VERSION=1.2.3, in a commit that is not tagged or published yet
	@$(PYTHON) -m deploy.release.cut '$(VERSION)'

BASE ?=
bench-guard: $(VENV)/installed  ## fail if an int8 kernel is 5 % slower than on main (or on BASE=COMMIT)
	PYTHONPATH=. $(BIN)/python benchmarks/kernel_guard.py $(if $(BASE),--base $(BASE))

clean:  ## remove what the commands wrote, but not the virtual environment
	rm -rf datasets/quickstart artifacts/quickstart runs/quickstart site
