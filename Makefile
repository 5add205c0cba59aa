# clip2yolo: `make` lists what there is; `make label train evaluate` shows what it does.

CONFIG ?= configs/packing_line.yaml
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SAMPLE := datasets/packing_line/sample.json

.DEFAULT_GOAL := help
.PHONY: help setup label data train evaluate export run upload status test test-slow lowest lint format bench pocket-teacher lock clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'
	@echo
	@echo "  CONFIG=configs/….yaml chooses the run (now: $(CONFIG))"

setup: $(READY) ## Make the virtual environment (again, when dependencies changed)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "clip2yolo needs Python 3.10 or later; name one with PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The built-in sample is drawn on first use; runs on other images do not need it.
$(SAMPLE): $(READY)
	$(BIN)/clip2yolo demo --draw-only .

ifeq ($(CONFIG),configs/packing_line.yaml)
DATA := $(SAMPLE)
endif

data: $(READY) $(DATA) ## Draw the built-in sample, where CONFIG is its config

label: $(READY) $(DATA) ## Label the images and export the dataset
	$(BIN)/clip2yolo label --config $(CONFIG)

train: $(READY) ## Train the student on the dataset
	$(BIN)/clip2yolo train --config $(CONFIG)

evaluate: $(READY) ## Compare student and teacher, write the report
	$(BIN)/clip2yolo evaluate --config $(CONFIG)

export: $(READY) ## Write the student for other runtimes, and prove that it answers alike
	$(BIN)/clip2yolo export --config $(CONFIG)

run: $(READY) $(DATA) ## All of these (exports where CONFIG lists some), where something changed
	$(BIN)/clip2yolo run --config $(CONFIG)

upload: $(READY) ## Send the labeled dataset to the config's Roboflow project
	$(BIN)/clip2yolo upload --config $(CONFIG)

status: $(READY) ## Show what is done and what comes next
	$(BIN)/clip2yolo status --config $(CONFIG)

# A process more than there are cores, since a fifth of the time they wait: for a browser, a server, a
# process that is killed. Each on one thread: more would only wait for one another. Where a test has
# more all the same, they sleep while they wait: the core that they would spin on is a test's. Files
# are handed out as tests/conftest.py has them, the longest first.
WORKERS := $$($(PYTHON) -c 'from pipeline.machine import cores; print(cores() + 1)')
PYTEST := -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
THREADS := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

test: $(READY) ## Run the tests
	$(THREADS) $(BIN)/python $(PYTEST) -m "not slow"

test-slow: $(READY) ## Run the tests that take minutes
	$(THREADS) $(BIN)/python $(PYTEST) -m slow

lowest: ## Test and run the sample with the lowest version of every dependency that is declared
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet uv
	$(VENV)-lowest/bin/uv pip compile pyproject.toml --extra dev --resolution lowest-direct \
		--python $(VENV)-lowest/bin/python --quiet -o $(VENV)-lowest/lowest.txt
	$(VENV)-lowest/bin/uv pip install --quiet --python $(VENV)-lowest/bin/python \
		-r $(VENV)-lowest/lowest.txt
	PYTHONPATH=. $(THREADS) $(VENV)-lowest/bin/python $(PYTEST) -m "not slow"
	PYTHONPATH=. $(VENV)-lowest/bin/python -m pipeline.cli demo $(VENV)-lowest/demo
	rm -rf $(VENV)-lowest

lint: $(READY) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Bring the code into style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Run the benchmarks, print their tables
	$(BIN)/python -m benchmarks

pocket-teacher: $(READY) ## Train the pocket teacher again (about half an hour on 2 cores)
	PYTHONPATH=datasets $(BIN)/python -m pocket_world.train --out pipeline/assets/pocket

lock: ## Bring constraints.txt in line with pyproject.toml; what is pinned stays pinned
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 \
		--no-annotate --custom-compile-command 'make lock' --quiet -o constraints.txt
	rm -rf $(VENV)-lock

clean: ## Remove the environment, the runs and the drawn sample (not the embedding cache)
	rm -rf $(VENV) runs datasets/packing_line
