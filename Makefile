# The README names `make study` and `make test`; `make help` lists all commands.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST_ARGS ?=
# not --quiet, which hides warnings from --strict; unless the variable is set, the theme prints a notice about its end
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
# of the machine with the GPU, which need not have the environment; a torch without CUDA sees no GPU
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
GPU_PACKS := build/figure3-42.npz
# `make test COVERAGE=` leaves coverage out: on Python 3.11 its tracer makes the fast tests take 1.2 to 1.4 times as long
COVERAGE ?= yes

.PHONY: help install study test test-slow test-faults lint format docs benchmark gpu gpu-dry clean

help:
	@echo "make study        install, run the quick study, print the folder of its figures"
	@echo "make test         install, run the fast tests (8 minutes at most on 2 cores)"
	@echo "make test-slow    run the slow tests: whole studies, clusters, the paper's full size, killed processes"
	@echo "make test-faults  kill drivers, workers and nodes, with packs of one and of several replicates"
	@echo "make lint         check formatting, style, types and import contracts, build the manual strictly"
	@echo "make format       format the code"
	@echo "make docs         build the manual, print the path of its first page"
	@echo "make benchmark    print tables of ratios measured on this machine"
	@echo "make gpu          measure on a GPU, in 8 minutes at most, with torch and numpy only; again: go on where it stopped"
	@echo "make gpu-dry      try \`make gpu\` at tiny sizes on the CPU"
	@echo "make clean        delete the environment and all caches"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

study: $(INSTALLED)
	$(BIN)/dmd-study run quick --out results/quick
	@echo "Figures: $(CURDIR)/results/quick/figures"

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(if $(COVERAGE),--cov --cov-report=) $(PYTEST_ARGS)
ifneq ($(COVERAGE),)
	@echo "Coverage of the fast tests: the ten files with the smallest share of lines run, and the total"
	@$(BIN)/coverage report --sort=-cover | tail -n 12
endif

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
	$(MKDOCS)

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED)
	$(MKDOCS)
	@echo "Manual: $(CURDIR)/build/manual/index.html"

benchmark: $(INSTALLED)
	$(BIN)/python -m tests.benchmarks

gpu: $(GPU_PACKS)
	$(GPU_PYTHON) -m tests.benchmarks.gpu --packs $(GPU_PACKS)

gpu-dry: $(INSTALLED)
	rm -rf build/gpu-dry
	$(BIN)/dmd-study export-packs quick --set axes.m=[5] --set axes.s=[2] --set training.epochs=20 --out build/gpu-dry/packs.npz
	$(BIN)/python -m tests.benchmarks.gpu --dry --packs build/gpu-dry/packs.npz --out build/gpu-dry

# needs no environment if it is there: it is written on one machine and taken to another
$(GPU_PACKS):
	$(MAKE) install
	$(BIN)/dmd-study export-packs figure3-42 --out $@

# not build/gpu, which took a GPU to make
clean:
	rm -rf $(VENV) build/manual build/gpu-dry dist .coverage .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
