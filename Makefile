# Everything this project does, by name: `make` prints the list.
#
# Needs Python 3.11 or newer with its venv module, make, and nothing else. The first target that
# needs the environment makes it (.venv); later ones find it ready.
#
#   make test ARGS="-k mailbox -x"                    passes ARGS on to pytest
#   make run PORT=9000                                serves on another port
#   make test PYTHON=python3.13 VENV=.venv-3.13       another interpreter, in an environment of its own
#   make test CONSTRAINTS= VENV=.venv-latest          whatever the package index has today

# Only PYTHON and PORT are taken from the caller's environment; the others mean other things there.
VENV = .venv
CONSTRAINTS = tests/constraints/newest.txt
GROUP = dev
HOST = 127.0.0.1
PORT ?= 8000
DATA = .pipeline-data
ARGS =

BIN := $(VENV)/bin
RUN := $(BIN)/python -m
STAMP := $(VENV)/.ready
FAST := not integration and not slow and not browser

# What `import supervisor` finds must be this checkout, whatever the caller's shell is set up for.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help dev fmt fmt-check lint types arch docs static test-fast test check integration oldest \
	cov wheel run bench bench-micro reference update-constraints clean distclean

help:
	@printf 'usage: make TARGET\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-20s\033[0m%s\n", $$1, $$2 } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) }' $(firstword $(MAKEFILE_LIST)) \
		| if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi

##@ Start here

run: $(STAMP) ## Serve the example: a pipeline that streams its output (HOST, PORT, DATA)
	@HOST="$(HOST)" PORT="$(PORT)" DATA="$(DATA)" exec $(BIN)/python docs/examples/pipeline/__main__.py

test: $(STAMP) ## Run the whole test suite (ARGS are passed on to pytest)
	@$(RUN) pytest --durations=5 --durations-min=1 $(ARGS)

dev: $(STAMP) ## Set up for developing: the environment and the Git hooks
	@if [ -n "$$(git config --get core.hooksPath 2>/dev/null)" ]; then \
		echo "Git hooks: left alone, because core.hooksPath is set"; \
	elif git rev-parse --git-dir >/dev/null 2>&1; then \
		$(BIN)/prek install --quiet && echo "Git hooks: installed (.pre-commit-config.yaml)"; \
	fi
	@echo "Ready. Change something, then: make check"

check: static test-fast ## All that must pass before a commit, in under a minute

##@ The parts of check

fmt: $(STAMP) ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

fmt-check: $(STAMP) ## Is all code formatted?
	@$(BIN)/ruff format --quiet --check --output-format concise . || { echo "Not formatted; 'make fmt' does it."; exit 1; }

lint: $(STAMP) ## Lint (ruff) and check the spelling
	@$(BIN)/ruff check .
	@$(BIN)/codespell

types: $(STAMP) ## Check the types (mypy --strict)
	@$(RUN) mypy

arch: $(STAMP) ## Check the direction of imports (import-linter)
	@$(BIN)/lint-imports --no-cache --no-logo

docs: $(STAMP) ## Check the links and examples of the documentation
	@$(BIN)/python .ci/reference.py --check
	@$(BIN)/python .ci/check_docs.py

static: fmt-check lint types arch docs ## All five of these

test-fast: $(STAMP) ## Run the tests that need no real server, browser or patience
	@$(RUN) pytest -m "$(FAST)" $(ARGS)

##@ More tests

integration: $(STAMP) ## Run the tests with real servers and clients
	@$(RUN) pytest -m integration $(ARGS)

oldest: ## Run the tests, the integration tests too, on the oldest supported dependencies
	@$(MAKE) --no-print-directory test GROUP=test VENV=.venv-oldest \
		CONSTRAINTS=tests/constraints/oldest.txt ARGS='-m "not newest and not browser" $(ARGS)'

cov: $(STAMP) ## Measure the coverage of the fast tests; details in .htmlcov/index.html
	@$(RUN) pytest -m "$(FAST)" --cov --cov-report=term --cov-report=html $(ARGS)

wheel: $(STAMP) ## Build the wheel, install it outside the checkout, and try it there
	@PIP_CONSTRAINT="$(abspath $(CONSTRAINTS))" .ci/wheel $(BIN)/python

##@ Benchmarks

bench: $(STAMP) ## Compare with peers over real sockets, 24 minutes (ARGS="--quick": 4; "--help")
	@$(RUN) tests.benchmarks $(ARGS)

bench-micro: $(STAMP) ## Measure what a message costs within one process (ARGS are passed on to pytest)
	@{ $(RUN) pytest tests/benchmarks -qq --no-summary -p no:randomly --benchmark-enable --benchmark-only \
		--benchmark-max-time=0.5 --benchmark-disable-gc --benchmark-columns=min,median,max,rounds \
		--benchmark-sort=min --benchmark-time-unit=us $(ARGS); echo "exit status $$?"; } | $(BENCH_TABLES)

# Without the legend, whose columns are not shown; the exit status is that of pytest.
BENCH_TABLES = awk '/^exit status / { status = $$3; next } /^Legend:/ { legend = 3 } \
	legend-- > 0 { next } { print; fflush() } END { exit status }'

##@ Housekeeping

reference: $(STAMP) ## Write the pages of docs/reference/ that are made from code
	@$(BIN)/python .ci/reference.py

update-constraints: $(STAMP) ## Move tests/constraints/ to the newest releases and the lower bounds of today
	@$(BIN)/python tests/constraints/update.py

clean: ## Remove what builds and tools leave behind
	@rm -rf build dist .coverage .coverage.* .htmlcov .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	@find actors supervisor tests docs .ci -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove the environments, too
	@rm -rf .venv .venv-*

# ------------------------------------------------------------------------------ the environment
#
# $(STAMP) holds the path of the checkout and is newer than what it was made from. An environment
# that is missing, half made, copied from elsewhere, or whose interpreter is gone, is made anew;
# one that is only older than pyproject.toml or the constraints is brought up to date.

READY := $(shell $(BIN)/python -c pass 2>/dev/null && cat $(STAMP) 2>/dev/null)
ifneq ($(READY),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@if [ "$(READY)" != "$(CURDIR)" ]; then $(create-venv); fi
	@$(install)
	@printf '%s\n' "$(CURDIR)" >$@

# The first interpreter that is new enough and able to make environments. One that was asked for
# on the command line is taken or refused, never replaced by another.
define create-venv
	wanted="$(if $(filter command line,$(origin PYTHON)),$(PYTHON))"; found=; python=; \
	for candidate in $${wanted:-$(PYTHON) python3 python3.14 python3.13 python3.12 python3.11}; do \
		version=$$("$$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null) || continue; \
		found="$$found $$candidate ($$version)"; \
		"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || continue; \
		enough="$$candidate"; \
		"$$candidate" -c 'import ensurepip, venv' 2>/dev/null || continue; \
		python="$$candidate"; break; \
	done; \
	if [ -z "$$python" ]; then \
		{ if [ -n "$$enough" ]; then \
			short=$$("$$enough" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
			echo "$$enough cannot make virtual environments: a part of Python is not installed."; \
			echo "On Debian and Ubuntu:  apt-get install python3-venv   (or python$$short-venv)"; \
		else \
			echo "wsupervisor needs Python 3.11 or newer; found:$${found:- none}$${wanted:+, asked for: $$wanted}."; \
			echo "Install one (Debian 12 or newer: apt-get install python3 python3-venv),"; \
			echo "or say where it is:  make PYTHON=/path/to/python3.12 $(or $(MAKECMDGOALS),test)"; \
		fi; } >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version) ($$(command -v "$$python"))"; \
	rm -rf "$(VENV)"; "$$python" -m venv "$(VENV)"
endef

# pip says much; what is shown is a dot for each package, and all of it when something failed.
# pip itself first: an older one does not know dependency groups.
define install
	log="$(VENV)/install.log"; \
	printf 'Installing what the project needs$(if $(filter $(CURDIR),$(READY)),, (about a minute)) '; \
	{ { $(RUN) pip install --disable-pip-version-check --upgrade pip $(if $(CONSTRAINTS),--constraint "$(CONSTRAINTS)") \
		&& $(RUN) pip install --disable-pip-version-check --editable '.[all]' --group $(GROUP) \
			$(if $(CONSTRAINTS),--constraint "$(CONSTRAINTS)",--upgrade); \
		echo "exit status $$?"; } 2>&1 \
		| tee "$$log" | awk '/^Collecting / { printf "."; fflush() }'; }; \
	if [ "$$(tail -n 1 "$$log")" = "exit status 0" ]; then echo " done"; \
	else echo " failed"; grep -v '^Requirement already\|^WARNING: Location' "$$log" | tail -n 25 >&2; exit 1; fi
endef
