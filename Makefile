# Two commands do everything on a fresh machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# A further package index, with CPU builds of torch: without one, Linux gets the build for GPUs, several gigabytes.
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test chaos lint clean

help:
	@echo "make demo     install, and run the main job: a 24-trial search with its front, plots and recipe in demo/"
	@echo "make test     install, and run every check: ruff, mypy, import-linter, pytest"
	@echo "make chaos    install, and kill controllers KILLS times (200) on SQLite and PostgreSQL: nothing may be lost"
	@echo "make install  only make $(VENV), with everything that both need"
	@echo "make clean    remove what the other targets made"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer with venv is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# torch first and by itself: the further index is for it alone.
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	BIN=$(BIN) bash examples/demo.sh

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	@# Processes of one thread each: the tests' models are too small for more threads to help. Three, as those that wait for
	@# others, with a whole search or service in them, leave a third of two cores idle; Ray's workers as urgent as the rest.
	@# Files go out by name and not by their number of tests, which leaves the few long ones of whole processes for the end.
	OMP_NUM_THREADS=1 RAY_worker_niceness=0 $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

chaos: $(INSTALLED)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos

clean:
	rm -rf $(VENV) demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
