# Two commands do everything on a fresh machine with Python and access to PyPI: `make demo` and `make test`.
# PYTHON names the interpreter that makes the environment (3.11, 3.12 or 3.13).

PYTHON ?= python3
VENV ?= .venv
WORKSPACE ?= seqapps-workspace
BIN = $(VENV)/bin
READY = $(VENV)/.seqapps-ready
# The lines of uv in the lock: its version and its hashes, which go on as long as a line ends with a backslash.
OF_UV = awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }'

.DEFAULT_GOAL := help
.PHONY: help environment demo examples test torture torture-sample check ruff mypy imports dockerfile bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

environment: $(READY) ## .venv from requirements.lock (every other target makes it when it is missing)

$(READY): requirements.lock setup.cfg setup.py pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || { $(OF_UV) requirements.lock > $(VENV)/uv.lock \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock; }
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(READY) ## all stages, on real text that every Python carries
	$(BIN)/seqapps run configs/language_model/python_docs.toml --workspace $(WORKSPACE)

examples: $(READY) ## the scripts of examples/, into a new temporary folder (or FOLDER=..), with the seconds of each
	@folder="$(FOLDER)"; test -n "$$folder" || folder=$$(mktemp -d); table=; \
	for file in examples/*.py; do \
		echo "== $$file"; began=$$(date +%s); \
		SEQAPPS_EXAMPLES="$$folder" $(BIN)/python "$$file" || exit 1; \
		table="$$table$$(printf '%5d s  %s' "$$(($$(date +%s) - began))" "$$file")\n"; \
	done; printf "\n$$table\nWhat they made lies in %s\n" "$$folder"

test: $(READY) ## all tests
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder

torture: $(READY) ## long campaigns (kills, fuzz, every mode), from where they stopped; at most 90 minutes
	$(BIN)/python tests/torture/run.py

torture-sample: $(READY) ## a part of them that every commit chooses anew; at most 20 minutes
	$(BIN)/python tests/torture/run.py --sample --minutes 14

check: ruff mypy imports dockerfile test ## ruff, mypy --strict, import-linter, hadolint, pytest

ruff: $(READY) ## style
	$(BIN)/ruff check .

mypy: $(READY) ## types of the three packages
	$(BIN)/mypy

imports: $(READY) ## an import only goes down
	$(BIN)/lint-imports

dockerfile: $(READY) ## lint the Dockerfile with hadolint
	$(BIN)/hadolint Dockerfile

bench: $(READY) ## the short form of every file of benchmarks/
	@for file in benchmarks/[!_]*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

lock: $(READY) ## requirements.lock from setup.cfg, with hashes; versions stay, but with UPGRADE=1
	$(BIN)/uv pip compile --quiet setup.cfg --extra dev --universal --python-version 3.11 --no-annotate \
		--generate-hashes $(if $(UPGRADE),--upgrade) --custom-compile-command "make lock" --output-file requirements.lock

clean: ## remove caches (not the environment, not the workspace)
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
