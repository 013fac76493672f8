# One task file; CI runs these very targets.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed

.PHONY: demo test check bench mutants install format clean

$(STAMP): requirements.lock pyproject.toml sdk/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Weft needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e ./sdk -e .
	touch $(STAMP)

install: $(STAMP)

demo: $(STAMP)  ## set everything up, run the main job on real parts, show what happened
	$(BIN)/weft demo

test: $(STAMP)  ## every test but the mutants, several at a time: most of them wait for servers
	$(BIN)/python -m pytest -q -n 6 --dist worksteal

check: $(STAMP)  ## format, lint, types, documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/docs

mutants: $(STAMP)  ## one planted bug per promise: fails if one survives
	$(BIN)/python -m tests.mutants

bench: $(STAMP)  ## each path beside the bare bus doing the same
	$(BIN)/python -m bench

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:  ## needs uv
	uv pip compile pyproject.toml sdk/pyproject.toml --all-extras --group dev --group build --universal \
	  --python-version 3.11 --generate-hashes --no-emit-package weft --no-header --no-annotate \
	  -o requirements.lock -q

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
