# Everything a developer needs. `make` alone lists it; each target bootstraps what it uses into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV := .venv/bin/uv
RUN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
export UV_SYSTEM_CERTS := 1
# Whatever was compiled is kept: tests start hundreds of processes, and compiling is most of what a start without it takes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test coverage check fmt bench bench-jobs bench-models bench-agents bench-workflows bench-rates chaos docs dev ci test-frameworks test-reference test-all clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV):
	@echo "Preparing .venv (once) …"
	@$(PYTHON) -c 'import sys; sys.exit("Corral needs Python 3.11 or newer; set PYTHON=…") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv --without-pip .venv
	@$(PYTHON) -m pip --quiet --disable-pip-version-check --python .venv/bin/python install uv

.venv/.synced: $(UV) pyproject.toml uv.lock
	@$(UV) sync --locked --inexact --quiet
	@touch $@

demo: .venv/.synced ## Serve the example agents, send them real requests, show what came back
	@$(RUN)/python examples/demo.py

# What these test has to be covered whole. Measuring slows tests down, so the others go without.
WHOLE := tests/sessions tests/runtime $(addprefix tests/backends/test_,sqlite_contracts.py tier_contracts.py redis_shelf.py)

test: .venv/.synced ## Run the tests; of sessions and the pipeline, every line and branch has to be covered
	@$(RUN)/pytest $(WHOLE) --cov --cov-report=
	@$(RUN)/coverage report --include='src/corral/sessions/*,src/corral/runtime/pipeline.py' --fail-under=100 --skip-covered
	@$(RUN)/pytest $(WHOLE:%=--ignore=%)

coverage: .venv/.synced ## Measure the coverage of everything (90 % of the branches at least), which takes half as long again
	@$(RUN)/pytest --cov=corral --cov-report=term:skip-covered

check: .venv/.synced ## Lint, types, layers, dependencies, dead code, spelling
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports --no-cache
	@$(RUN)/deptry src
	@$(RUN)/vulture
	@$(RUN)/typos
	@$(UV) lock --check --quiet
	@$(RUN)/pytest tests/test_architecture.py -n 0 --no-cov

fmt: .venv/.synced ## Format, and fix what can be fixed
	@$(RUN)/ruff format .
	@$(RUN)/ruff check --fix .

chaos: .venv/.synced ## Kill, stop and restart real processes for longer than `make test` does
	@CORRAL_CHAOS=long $(RUN)/pytest tests/chaos -n 0

test-frameworks: .venv/.synced ## Test the adapters and the gateway with the real LangGraph, LangChain, Strands and pydantic-ai
	@$(UV) sync --locked --inexact --quiet --group frameworks
	@$(RUN)/pytest -m frameworks

test-reference: .venv/.synced ## Compare byte for byte with the reference AgentCore runtime
	@$(UV) sync --locked --inexact --quiet --group reference
	@$(RUN)/pytest -m reference -n 0

test-all: test test-frameworks test-reference ## All of the tests

bench: .venv/.synced ## Run the benchmarks (they print ratios measured in the same run)
	@$(UV) sync --locked --inexact --quiet --group reference
	@$(RUN)/python bench/runtime.py

bench-jobs: .venv/.synced ## Compare jobs with DBOS, pgqueuer, arq, Celery and LangGraph
	@test -d .venv-peers || $(UV) venv --quiet .venv-peers
	@$(UV) pip install --quiet --python .venv-peers/bin/python -r bench/peers/requirements.txt
	@$(RUN)/python bench/jobs.py

bench-rates: .venv/.synced ## Compare limits on callers with the library `limits`
	@test -d .venv-limits || $(UV) venv --quiet .venv-limits
	@$(UV) pip install --quiet --python .venv-limits/bin/python -r bench/peers/limits.txt
	@$(RUN)/python bench/rates.py --cost
	@$(RUN)/python bench/rates.py --versus

bench-models: .venv/.synced ## Compare the gateway with LiteLLM, SMG and Portkey
	@test -d .venv-gateways || $(UV) venv --quiet .venv-gateways
	@$(UV) pip install --quiet --python .venv-gateways/bin/python -r bench/peers/gateways.txt
	@test ! -x "$$(command -v npm)" || test -d .node-gateways || npm install --silent --prefix .node-gateways @portkey-ai/gateway@1.15.2
	@$(RUN)/python bench/models.py

bench-agents: .venv/.synced ## Compare the agent's loop with pydantic-ai and Strands
	@test -d .venv-agents || $(UV) venv --quiet .venv-agents
	@$(UV) pip install --quiet --python .venv-agents/bin/python -r bench/peers/agents.txt
	@$(RUN)/python bench/agents.py

bench-workflows: .venv/.synced ## Compare workflows with the engine in moto's server
	@test -d .venv-workflows || $(UV) venv --quiet .venv-workflows
	@$(UV) pip install --quiet --python .venv-workflows/bin/python -r bench/peers/workflows.txt
	@$(RUN)/python bench/workflows.py

docs: .venv/.synced ## Check the documentation: every link leads somewhere
	@$(RUN)/pytest tests/test_docs.py

dev: .venv/.synced ## Serve examples/quickstart with reload
	@$(RUN)/corral dev examples/quickstart/agents.py

ci: ## What CI runs
	@bash .ci/run

clean: ## Remove everything that was made here
	@rm -rf .venv .corral dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
