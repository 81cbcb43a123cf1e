# make quickstart   install, then train a tiny model on four games, offline, on a CPU (a few minutes)
# make test         install with the tools, then everything CI does
# make check        formatting, lint, types, layers, generated pages; no tests
# make coverage     every branch of the core is taken by a test, or it fails
# make test-range   the tests at both ends of the range of transformers: by hand, before a pin moves (long)
# make docs         write the pages and the schema that are made from the sources
# make format       let ruff mend what it can
#
# PYTHON       the interpreter that the environment is made from (3.11 to 3.14)
# VENV         where the environment lies
# TORCH_INDEX  another package index for torch alone, e.g. one with wheels for your accelerator or for the CPU

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PYTEST_FLAGS ?= --slow --numprocesses auto --dist loadfile

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
TORCH = $(shell sed -n 's/^ *"\(torch[<>=][^"]*\)".*/\1/p' pyproject.toml)
INSTALL_TORCH = $(if $(TORCH_INDEX),$(PIP) install --index-url "$(TORCH_INDEX)" "$(TORCH)")

# pip alone is enough: the checker's runtime comes with it, and it need not ask the network for a newer release.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# As many processes as cores run the tests: threads of their own would only be in each other's way.
test coverage: export OMP_NUM_THREADS := 1

.DELETE_ON_ERROR:
.PHONY: quickstart test test-range check coverage docs format

quickstart: $(VENV)/installed
	$(BIN)/gift run specs/quickstart.yaml --fresh --set output.dir=../runs

test: check
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_docs.py --check

# Each end in an environment of its own. The lower one is what the newest vLLM that our TRL supports can be used with.
test-range:
	$(MAKE) $(VENV)/range-low/tested END='transformers==5.10.4'
	$(MAKE) $(VENV)/range-high/tested END='transformers>=5.23,<5.24'

$(VENV)/range-%/tested: FORCE
	$(PYTHON) -m venv --clear $(@D)
	$(if $(TORCH_INDEX),$(@D)/bin/python -m pip install -qq --index-url "$(TORCH_INDEX)" "$(TORCH)")
	$(@D)/bin/python -m pip install -qq -e '.[dev]' "$(END)"
	$(@D)/bin/python -m pytest $(PYTEST_FLAGS)

FORCE:

coverage: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(PYTEST_FLAGS) --cov --cov-fail-under=100

docs: $(VENV)/installed-dev
	$(BIN)/python scripts/generate_docs.py

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Installed again only when the requirements change: the package itself is editable.
$(VENV)/installed: pyproject.toml | $(BIN)/python
	@echo "installing gift-dsl into $(VENV) (a few minutes the first time)"
	$(INSTALL_TORCH)
	$(PIP) install -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing gift-dsl and its tools into $(VENV) (a few minutes the first time)"
	$(INSTALL_TORCH)
	$(PIP) install -e '.[dev]'
	@touch $@ $(VENV)/installed
