# Everything a developer does, by name. `make` alone lists it. Needs only python3 (3.11 or newer) and make.
PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

UV_VERSION = 0.13.9
BIN = $(VENV)/bin
READY = $(VENV)/.installed
PACKAGES = activities api benchmarks protocol runtimes security store temporal_client up workflows $(wildcard *.py)
NO_DATABASE = tests/fake_model tests/protocol tests/replay tests/runtimes tests/test_conventions.py tests/up
FAST = not clients and not opencode and not slow and not schemathesis

# Nothing of a person's own index settings may leak into a lock.
COMPILE = env -u UV_FIND_LINKS -u UV_INDEX -u UV_DEFAULT_INDEX $(BIN)/uv --no-config pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help setup up test test-postgres test-migrations test-opencode test-clients test-schemathesis conformance lint format migrate \
	chaos bench smoke install-opencode install-clients lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv and install the locked packages

up: $(READY) ## start everything on this machine; Ctrl-C ends it
	@$(BIN)/python -m up

test: $(READY) ## run the test suite on SQLite
	$(BIN)/pytest -m "$(FAST)" $(PYTEST_ARGS)

test-postgres: $(READY) ## what touches a database, on a PostgreSQL server of its own
	$(BIN)/pytest -m "$(FAST)" --database postgresql $(NO_DATABASE:%=--ignore=%) $(PYTEST_ARGS)

test-migrations: $(READY) ## migrations up, down and up again, on both databases
	$(BIN)/pytest -k migration $(PYTEST_ARGS)
	$(BIN)/pytest -k migration --database postgresql $(PYTEST_ARGS)

test-opencode: $(READY) ## the tests that need `make install-opencode`
	$(BIN)/pytest -m opencode $(PYTEST_ARGS)

test-clients: $(READY) ## the older SDKs, which need `make install-clients`
	$(BIN)/pytest -m clients $(PYTEST_ARGS)

test-schemathesis: $(READY) ## throw generated requests at every route of the API
	$(BIN)/pytest -m schemathesis $(PYTEST_ARGS)

conformance: $(READY) ## the official SDK's own tests against this server (ARGS="-k agents")
	$(BIN)/python -m tests.conformance $(ARGS)

lint: $(READY) ## ruff, formatting, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(PACKAGES)
	$(BIN)/lint-imports

format: $(READY) ## repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

migrate: $(READY) ## bring the database to this version
	$(BIN)/python -m store.bootstrap

chaos: $(READY) ## kill parts, prove nothing is lost (SEED=, SIZE=)
	$(BIN)/python -m benchmarks.chaos $(if $(SEED),--seed $(SEED)) $(if $(SIZE),--size $(SIZE))

bench: $(READY) ## measure (SEED=, SIZE=)
	$(BIN)/python -m benchmarks.bench $(if $(SEED),--seed $(SEED)) $(if $(SIZE),--size $(SIZE))

smoke: $(READY) ## one conversation with a running Waystation (URL=, KEY=)
	$(BIN)/python tests/smoke.py $(if $(URL),--url $(URL)) $(if $(KEY),--key $(KEY))

install-opencode: $(READY) ## install the OpenCode server that the tests use
	$(BIN)/python -m runtimes.opencode.install

install-clients: $(READY) ## install the older generations of the official SDKs
	$(BIN)/python -m tests.clients.install

lock: $(BIN)/uv ## make the locks anew (UPGRADE=--upgrade for newer versions)
	echo uv==$(UV_VERSION) | $(COMPILE) - -o requirements/uv.txt
	$(COMPILE) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) pyproject.toml -c requirements/runtime.txt --extra dev --extra embedded -o requirements/dev.txt

clean: ## remove .venv and caches; the state folder stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements/dev.txt $(BIN)/uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements/dev.txt
	@touch $@

$(BIN)/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Waystation needs Python 3.11 or newer; say which with PYTHON=")'
	@$(PYTHON) -c 'import ensurepip' || { echo "python3 lacks venv: install it (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@
