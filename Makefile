# The README names `make study` and `make test`; `make help` lists all commands.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST_ARGS ?=

.PHONY: help install study test test-slow test-faults lint format benchmark clean

help:
	@echo "make study        install, run the quick study, print the folder of its figures"
	@echo "make test         install, run the fast tests and report their coverage (8 minutes at most on 2 cores)"
	@echo "make test-slow    run the slow tests: whole studies, clusters, the paper's full size, killed processes"
	@echo "make test-faults  kill drivers, workers and nodes, with packs of one and of several replicates"
	@echo "make lint         check formatting, style, types and import contracts"
	@echo "make format       format the code"
	@echo "make benchmark    print tables of ratios measured on this machine"
	@echo "make clean        delete the environment and all caches"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

study: $(INSTALLED)
	$(BIN)/dmd-study run quick --out results/quick
	@echo "Figures: $(CURDIR)/results/quick/figures"

# the ten files with the smallest share of lines run, then the total
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --cov --cov-report= $(PYTEST_ARGS)
	@$(BIN)/coverage report --sort=-cover | tail -n 12

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
	rm -rf $(VENV) build dist .coverage .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
