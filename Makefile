# One target per task. ARGS goes to the command of the target: make run ARGS="--once --dataset online_retail --source FOLDER"
.PHONY: help setup run test lint mutants bench docs
.DEFAULT_GOAL := help

export TORCH_INDEX PYTHON
BIN := .venv/bin

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

setup: ## create .venv and install the packages for running
	@scripts/install.sh run

run: setup ## run everything: data, models, champion, service, web pages (Ctrl-C stops it; ARGS=--once exits by itself)
	@$(BIN)/tradewind run $(ARGS)

test: ## run all tests on all cores (ARGS=tests/FILE for one file, ARGS=-n0 for one process)
	@scripts/install.sh dev
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: ## ruff, mypy and the import contracts
	@scripts/install.sh dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

mutants: ## mutation tests: change the code in one place at a time and count changes that no test finds (ARGS=gate.py for some modules; resumes)
	@scripts/install.sh dev
	@nice -n 10 $(BIN)/python scripts/mutants.py $(ARGS)

bench: ## run the benchmarks (ARGS=--json for a last line for programs)
	@scripts/install.sh dev
	@for script in benchmarks/*.py; do $(BIN)/python $$script $(ARGS) || exit 1; done

docs: ## make the screenshots of the README again (ARGS=HOME: in a home where the platform ran before)
	@scripts/install.sh dev
	@$(BIN)/python docs/screenshots.py $(ARGS)
