# One task runner, for people and for CI. Every target works alone, first thing after cloning.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
INSTALLED := $(VENV)/.installed

export PYTHONPATH := $(CURDIR)
export LIFTGRAPH_HOME ?= $(CURDIR)/.liftgraph
export DAGSTER_HOME ?= $(LIFTGRAPH_HOME)/dagster
export LIFTGRAPH_EVENTS ?= $(DAGSTER_HOME)/events
export DAGSTER_EVENT_BATCH_SIZE ?= 1000
# Polars gives freed memory back after a while, not at once: page faults were a third of the time.
export _RJEM_MALLOC_CONF ?= dirty_decay_ms:20000,muzzy_decay_ms:20000

.DEFAULT_GOAL := help
.PHONY: help install extras demo dev serve test test-fast lint format types plan run tune reap lock graph contracts bench clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Install everything into .venv

$(INSTALLED): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the path: install Python 3.11, or say 'make PYTHON=/path/to/python3.11'"; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "$(VENV) is not Python 3.11: remove it, and say 'make PYTHON=/path/to/python3.11'"; exit 1; }
	@$(BIN)/uv --version 2>/dev/null | grep -q ' $(UV_VERSION)' || { echo "installing uv"; $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@echo "installing $$(grep -cE '^[a-z0-9]' requirements.lock) packages from requirements.lock"
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	@echo "compiling bytecode"; $(BIN)/python -m compileall -q -j 0 $(VENV)/lib/python3.11/site-packages >/dev/null 2>&1 || true
	@touch $@

extras: install ## Add the optional packages: PostgreSQL, Spark
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements-extras.lock

demo: install ## The whole graph on the real year, ending with ranked offers from the running service
	@$(BIN)/python -m benchmarks.demo

dev: install ## The Dagster UI on http://127.0.0.1:3333
	@$(BIN)/python -m liftgraph reap
	@$(BIN)/python -m dagster dev --host 127.0.0.1 --port 3333 --workspace workspace.yaml

serve: install ## The offer service on http://127.0.0.1:3000 (runs the demo first if there is no model yet)
	@$(BIN)/python -m liftgraph has-bento || $(BIN)/python -m benchmarks.demo
	@$(BIN)/python -m bentos.server

test: install ## All tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: install ## Tests that start no process
	@$(BIN)/python -m pytest -m "not slow"

lint: install ## Ruff and the type checker
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: install ## Format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

plan: install ## What would be re-materialised and why; runs nothing
	@$(BIN)/python -m liftgraph plan

run: install ## Materialise what is stale
	@$(BIN)/python -m liftgraph run

tune: install ## The full search of 60 trials per model family, a new training, and what follows
	@$(BIN)/python -m liftgraph tune

reap: install ## Fail runs whose process is gone
	@$(BIN)/python -m liftgraph reap

graph: install ## Rewrite the reviewed snapshot of the graph
	@$(BIN)/python -m liftgraph graph --write tests/graph_snapshot.json

contracts: install ## Export every contract as ODCS YAML to docs/contracts
	@$(BIN)/python -m liftgraph contracts docs/contracts

bench: install ## The benchmarks of the graph; JSON in reports/
	@$(BIN)/python -m benchmarks.orchestration --json reports/orchestration.json
	@$(BIN)/python -m benchmarks.pit_join --json reports/pit_join.json

lock: install ## Resolve the dependencies anew
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --group dev pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --group dev --all-extras pyproject.toml -o requirements-extras.lock

# What was decided, released and seen cannot be made again.
KEPT := landing secrets decisions household_events incidents audit releases.db releases.db-wal releases.db-shm

clean: ## Remove what can be made again: lake, models, reports; not drops, keys, releases or logs
	@test ! -d "$(LIFTGRAPH_HOME)" || find "$(LIFTGRAPH_HOME)" -mindepth 1 -maxdepth 1 $(foreach name,$(KEPT),! -name $(name)) -exec rm -rf {} +
	rm -rf reports dbt/target dbt/logs
