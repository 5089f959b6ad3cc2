# One target a habit. ARGS goes to the command behind it: make run ARGS="--once --dataset online_retail --source FOLDER"
.PHONY: help setup run test lint mutants bench docs
.DEFAULT_GOAL := help

export TORCH_INDEX PYTHON
BIN := .venv/bin

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

setup: ## create .venv and install what running needs
	@scripts/install.sh run

run: setup ## run everything: data, models, champion, service, pages (Ctrl-C ends it; ARGS=--once ends by itself)
	@$(BIN)/tradewind run $(ARGS)

test: ## run all tests on all cores (ARGS=tests/FILE for some, ARGS=-n0 in one process)
	@scripts/install.sh dev
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: ## ruff, mypy and the import contracts
	@scripts/install.sh dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

mutants: ## change the code in one place at a time and count what the tests let pass (ARGS=gate.py for some modules; resumes)
	@scripts/install.sh dev
	@nice -n 10 $(BIN)/python scripts/mutants.py $(ARGS)

bench: ## run the benchmarks (ARGS=--json for a last line that programs read)
	@scripts/install.sh dev
	@for script in benchmarks/*.py; do $(BIN)/python $$script $(ARGS) || exit 1; done

docs: ## make the screenshots of the README anew (ARGS=HOME: in a home where the platform ran before)
	@scripts/install.sh dev
	@$(BIN)/python docs/screenshots.py $(ARGS)
