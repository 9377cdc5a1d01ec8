# What a developer does. The commands for users are in the README.
BIN := .venv/bin

.PHONY: help install test lint docs run

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install:  ## Make .venv with the package, its test tools and Sphinx
	python3 -m pip install -qq --target .venv/uv uv
	.venv/uv/bin/uv venv -q --allow-existing .venv
	.venv/uv/bin/uv pip install --python .venv -e '.[dev,docs]' -c constraints.txt

test:  ## Run the tests
	$(BIN)/python -m pytest -n logical

lint:  ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs:  ## Build the site into build/docs, strictly
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs

run:  ## Paint eight objects into the rendered sample
	$(BIN)/augsynth generate --n 8 --out runs/first
