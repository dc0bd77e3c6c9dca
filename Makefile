# Every target is a line or two that a person could type. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CLIENTS := .venv-clients

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: install
install: $(INSTALLED) ## create .venv and install exactly what requirements.lock says

$(INSTALLED): requirements.lock setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("director_wsgi needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: run
run: install ## start the director and a small federation on loopback, over TLS
	$(BIN)/director-wsgi demo

.PHONY: demo
demo: run ## the same

.PHONY: reproduce
reproduce: install ## a hung origin, and what it does to the failing design and to the director; writes saturation.svg
	$(BIN)/director-wsgi demo saturation

.PHONY: reproduce-leak
reproduce-leak: install ## what reloads leave behind with a holder that leaks, and with the director's; writes reload-leak.svg
	$(BIN)/director-wsgi demo reload-leak

.PHONY: check
check: install ## format, lint, spelling, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.PHONY: format
format: install ## format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: test
test: install clients ## unit, servers, process, and e2e as far as its programs are installed
	$(BIN)/pytest -m "not slow"

.PHONY: slow
slow: install ## the tests that take long: workers killed and reloaded under load, leases that move
	$(BIN)/pytest -m slow

.PHONY: soak
soak: install ## ten minutes of load with a third of the servers misbehaving
	$(BIN)/python -m tests.process.soak

.PHONY: clients
clients: $(CLIENTS)/.installed ## create .venv-clients: third-party clients for the end-to-end tests

$(CLIENTS)/.installed: tests/e2e/clients.lock
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/e2e/clients.lock
	@touch $@

.PHONY: bench
bench: install ## first figures, as ratios; JSON in benchmarks/results
	$(BIN)/python -m benchmarks

.PHONY: profile
profile: install ## where a worker's time goes under three loads; flame graphs in benchmarks/results
	$(BIN)/python -m benchmarks.profiles

.PHONY: lock
lock: install ## compile requirements.lock from setup.cfg
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --extra dev --no-emit-index-url --custom-compile-command 'make lock' -o requirements.lock setup.cfg
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' -o tests/e2e/clients.lock tests/e2e/clients.in

.PHONY: clean
clean: ## remove the virtual environments and caches
	rm -rf $(VENV) $(CLIENTS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build *.egg-info
