# One entry for people and for CI. Each target sets up what it needs; a second run finds the stamps and costs nothing.
# `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Empty, or a folder with a Synthea export and note texts for `make demo`.
DATA ?=
# Non-empty: `make demo` leaves the stack up.
KEEP ?=
# Names of benchmarks for `make bench`; empty: all.
B ?=
# Extra arguments for pytest, e.g. `make test T="tests/unit -k queues"`.
T ?=

.PHONY: help demo test e2e soak up down status check check-security bench diagrams clean setup requirements

help:  ## list the commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## */  make \1\t/' | expand -t 24

setup: $(STAMP)  ## the virtual environment with the `omsync` command in it

$(VENV)/bin/python:
	@python=$$(tools/find-python); "$$python" -m venv $(VENV)

$(STAMP): $(VENV)/bin/python requirements/uv.txt requirements/dev.txt pyproject.toml
	@echo "setting up $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP)  ## the whole system at work on the embedded stack, with a report
	@DATA="$(DATA)" KEEP="$(KEEP)" $(BIN)/omsync demo

up: $(STAMP)  ## start the embedded stack and deploy into it
	@$(BIN)/omsync local up

down: $(STAMP)  ## stop the embedded stack
	@$(BIN)/omsync local down

status: $(STAMP)  ## what of the embedded stack is running
	@$(BIN)/omsync local status

check: $(STAMP)  ## lint, types, layers, template
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@PYTHONPATH=layers/omsync:. $(BIN)/lint-imports --no-logo > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }
	@$(BIN)/cfn-lint
	@SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(BIN)/sam validate --lint > $(VENV)/sam-validate.log 2>&1 || { cat $(VENV)/sam-validate.log; exit 1; }
	@echo "check: clean"

test: check  ## check, then all tests, in two processes
	@$(BIN)/python -m pytest -n 2 $(T)

e2e: $(STAMP)  ## every story on the embedded stack, the long ones too (about half an hour)
	@$(BIN)/python -m pytest -m "not soak" tests/e2e $(T)

soak: $(STAMP)  ## outages of ten minutes, about an hour
	@$(BIN)/python -m pytest -m soak $(T)

check-security: $(STAMP)  ## checkov over the templates, in an environment of its own
	@tools/check-security

bench: $(STAMP)  ## the benchmarks, one after the other, and a table of their figures (B="oms seed": only these)
	@$(BIN)/python benchmarks/run_all.py $(B)

diagrams:  ## render docs/diagrams/*.dot (needs Graphviz)
	@tools/render-diagrams

clean: ## stop the stack, then remove what was built and the local data
	@if [[ -x $(BIN)/omsync ]]; then $(BIN)/omsync local down || true; fi
	@rm -rf .local .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis $(VENV)

requirements: $(STAMP)  ## pin and hash what the *.in files ask for
	@tools/compile-requirements
