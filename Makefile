# make demo   sets up once, then breeds a better prompt on the embedded model
# make test   sets up once, then runs the tests
PYTHON ?= python3
BIN = .venv/bin
# One thread: the embedded model is up to twenty times faster so on shared cores.
export OMP_NUM_THREADS ?= 1
# Test files side by side.
WORKERS ?= 2

.PHONY: setup demo test lint format bench embedded-model clean

setup: .venv/.ok

.venv/.ok: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: setup
	$(BIN)/promptmill breed arithmetic --model embedded

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python benchmarks/harness.py
	$(BIN)/python benchmarks/local.py
	$(BIN)/python benchmarks/search.py --parts b c
	$(BIN)/python benchmarks/bake.py

# Trains the embedded models anew from their seeds, about two hours on one core, and measures them. The weights are in the
# repository already.
embedded-model: setup
	$(BIN)/python -m embedded
	$(BIN)/python -m embedded.golden
	$(BIN)/python benchmarks/embedded.py --write

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
