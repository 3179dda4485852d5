# Every command needs nothing but Python 3.11 or later; `setup` makes the rest.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin/python
STAMP := .venv/installed

.PHONY: setup demo check test-fast test test-slow bench wheel

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN) || "$(PYTHON)" -m venv .venv
	$(BIN) -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN) -m understudy demo

check: setup
	$(BIN) -m ruff format --check .
	$(BIN) -m ruff check .
	$(BIN) -m mypy

FAST := $(filter-out tests/test_fuzz.py,$(wildcard tests/test_*.py)) tests/config tests/demo tests/executors tests/objectives tests/pool tests/report tests/store tests/tasks

# Under 90 seconds, without training.
test-fast: setup
	$(BIN) -m pytest -q -m "not trains and not slow" $(FAST)

# Everything CI runs. Two processes: byte-equal resumption is promised to a process that does nothing else.
test: check
	$(BIN) -m pytest -m "not slow" tests/training
	$(BIN) -m pytest -m "not slow" --ignore=tests/training

# What takes long: all kills.
test-slow: setup
	$(BIN) -m pytest -m slow

bench: demo
	set -e; for script in benchmarks/*.py; do $(BIN) "$$script"; done

# One file in dist/ that pip installs anywhere.
wheel: setup
	$(BIN) -m pip wheel --quiet --no-deps --wheel-dir dist .
