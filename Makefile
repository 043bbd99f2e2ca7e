# The two commands: `make demo` and `make test`. Everything else serves the developers.
# On Windows see README.md: the same steps without make.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# make demo AUDIO=song.ogg BPM=128 KEY="A minor" START=32 END=40
DEMO_ARGS := $(if $(AUDIO),--audio "$(AUDIO)") $(if $(BPM),--bpm "$(BPM)") $(if $(KEY),--key "$(KEY)") \
             $(if $(START),--start "$(START)") $(if $(END),--end "$(END)")

.PHONY: demo test test-bench bench bench-engine lint types contracts docs pictures check-docs clean help

help:
	@echo "make demo        play a DAW against the real daemon and look at the takes"
	@echo "make test        run all tests (the slow ones too)"
	@echo "make bench       measure, and write docs/benchmarks.md"
	@echo "make bench-engine  the ACE-Step engine against the stock pipeline, and write docs/benchmarks-engine.md"
	@echo "make lint types contracts check-docs   what CI checks besides the tests"

demo: $(VENV)/installed
	$(BIN)/stembridge demo $(DEMO_ARGS)

test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not bench" -n auto --maxprocesses 4 --dist worksteal $(ARGS)

test-bench: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m bench tests/bench $(ARGS)

bench: $(VENV)/installed-dev
	$(BIN)/python -m tests.bench $(ARGS)

bench-engine: $(VENV)/installed-dev
	$(BIN)/python -m tests.bench.acestep $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if command -v luacheck >/dev/null; then luacheck --quiet reaper_scripts ardour_scripts; else echo "luacheck is not installed: Lua is not linted"; fi

types: $(VENV)/installed-dev
	$(BIN)/mypy

contracts: $(VENV)/installed-dev
	$(BIN)/lint-imports

docs: $(VENV)/installed
	$(BIN)/python -m protocol.osc_reference > docs/osc.md
	$(BIN)/python -m protocol.controllers
	$(BIN)/python -m bridge.reaper.reapack index

pictures: $(VENV)/installed-dev
	$(BIN)/python -m tests.support.reaper_pictures
	$(BIN)/python -m tests.support.page_pictures

check-docs: $(VENV)/installed
	$(BIN)/python -m protocol.osc_reference | diff -u docs/osc.md - || (echo "docs/osc.md is stale: run 'make docs'"; exit 1)
	$(BIN)/python -m protocol.controllers --check
	$(BIN)/python -m bridge.reaper.reapack check

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Stembridge needs Python 3.11 or newer.")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build *.egg-info demo-output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
