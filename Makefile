# make demo and make test do all set-up; they need Python 3.11 to 3.13 with venv, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two OpenMP threads that spin on a busy machine are slower than one that does not.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo test test-all lint format bench claims clean
help:
	@echo "make demo      predict copying of digits, train, cure, check: demo/report.html (a minute)"
	@echo "make test      the test suite without slow tests"
	@echo "make test-all  slow tests too (other seeds, real data, kills and resumes)"
	@echo "make lint      ruff and mypy"
	@echo "make bench     speed and memory as ratios against named alternatives"
	@echo "make claims    what has been reproduced, with which numbers"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else 'unrote needs Python 3.11 to 3.13; %s is Python %d.%d. Name another one: make PYTHON=python3.12' % ((sys.executable,) + v))"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/unrote demo --out demo --overwrite

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix src tests bench
	$(BIN)/ruff format src tests bench

bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python bench/run.py

claims: $(READY)
	$(BIN)/unrote claims

clean:
	rm -rf $(VENV) build dist demo src/*.egg-info
