# Two commands do everything on a fresh machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test lint clean

help:
	@echo "make demo     install, and run the main job: a 40-trial search with its front, plots and recipe in demo/"
	@echo "make test     install, and run every check: ruff, mypy, import-linter, pytest"
	@echo "make install  only make $(VENV), with everything that both need"
	@echo "make clean    remove what the other targets made"

install: $(INSTALLED)

# A Python 3.11 or newer under another name will do: make PYTHON=python3 demo
$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) here; try: make PYTHON=python3 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# torch first and by itself: its exact version keeps pip from a newer build with GPU packages.
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
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
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
