# The two commands of the README: `make study` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST_ARGS ?=

.PHONY: help install study test test-slow test-faults lint format benchmark clean

help:
	@echo "make study      install, run the quick study, say where its pictures are"
	@echo "make test       install, run the fast tests (8 minutes at most on 2 cores)"
	@echo "make test-slow  the second tier: whole studies, clusters, the paper's full size, what is killed"
	@echo "make test-faults  drivers, workers and nodes killed, in packs of one and of several"
	@echo "make lint       formatting, linting, types, import contracts"
	@echo "make benchmark  tables of ratios, on this machine"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

study: $(INSTALLED)
	$(BIN)/dmd-study run quick --out results/quick
	@echo "The pictures: $(CURDIR)/results/quick/figures"

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(PYTEST_ARGS)

test-slow: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,integrations,postgres]"
	$(BIN)/pytest -m "slow and not benchmark and not long" --timeout 1500 $(PYTEST_ARGS)

test-faults: $(INSTALLED)
	$(BIN)/pytest -m slow --timeout 1500 tests/faults $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(INSTALLED)
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
