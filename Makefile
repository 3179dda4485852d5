# Every command needs nothing but Python 3.11 or later; `setup` makes the rest.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin/python
STAMP := .venv/installed

.PHONY: setup demo check test bench

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

# Two processes: byte-equal resumption is promised to a process that does nothing else (docs/design.md).
test: check
	$(BIN) -m pytest tests/training
	$(BIN) -m pytest --ignore=tests/training

bench: demo
	set -e; for script in benchmarks/*.py; do $(BIN) "$$script"; done
