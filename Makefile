# Everything a person does with a checkout. Safe and quick to repeat: what is done leaves a stamp.

PYTHON ?= python3
TORCH ?= torch==2.13.0
LABEL_STUDIO ?= label-studio==1.23.2
TEST_PROCESSES ?= 2

VENV := .venv
BIN := $(VENV)/bin
LS_VENV := .venv-label-studio
INSTALLED := $(VENV)/.installed
LS_INSTALLED := $(LS_VENV)/.installed-$(subst ==,-,$(LABEL_STUDIO))
PIP := -m pip --disable-pip-version-check --no-input
SOURCES := backend plugin tests docker

.DEFAULT_GOAL := help
.PHONY: help install up demo test soak lint format bench bench-embedded bench-zeroshot bench-learning browser postgres redis clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

install: $(INSTALLED) $(LS_INSTALLED)  ## Create .venv (Maskwright) and .venv-label-studio (Label Studio)

# torch first and pinned: whatever the index offers as newest must not come in as a dependency.
$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install -q "$(TORCH)"
	$(BIN)/python $(PIP) install -q "$(TORCH)" -e ".[dev,demo]"
	@$(BIN)/python -c 'import torch; assert torch.ones(2).sum() == 2'
	@touch $@

# Label Studio pins packages that do not agree with ours, so it never shares an environment with us.
$(LS_INSTALLED):
	test -x $(LS_VENV)/bin/python || $(PYTHON) -m venv $(LS_VENV)
	$(LS_VENV)/bin/python $(PIP) install -q "$(LABEL_STUDIO)"
	@rm -f $(LS_VENV)/.installed*
	@touch $@

up: install  ## Label Studio + Maskwright + sample pictures; prints the address and the login; Ctrl-C stops all
	$(BIN)/maskwright up

demo: install  ## The same round without a browser; leaves pictures in demo-output/
	$(BIN)/maskwright demo --out demo-output

test: install browser postgres redis  ## All tests; the real Label Studio, browser, PostgreSQL and Redis included
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --no-loadscope-reorder

soak: install postgres redis  ## Longer torture: servers killed at many random moments of a storm of events
	$(BIN)/python -m pytest tests/soak --override-ini addopts= -q

# The browser test needs Debian's chromium; without it that test is skipped, and says so.
browser:
	@if ! command -v chromium >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
				>/dev/null 2>&1 || true; \
		fi; \
		command -v chromium >/dev/null || echo "*** chromium is missing and could not be installed: THE BROWSER TEST WILL BE SKIPPED ***"; \
	fi

# The same for Debian's PostgreSQL: its programs, no running server; tests start their own.
postgres:
	@if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; } \
				>/dev/null 2>&1 || true; \
		fi; \
		ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
			echo "*** postgresql is missing and could not be installed: ITS TESTS WILL BE SKIPPED ***"; \
	fi

# And for Debian's Redis. The package of its tools holds the very program, and unlike redis-server no service.
redis:
	@if ! { command -v redis-server || command -v redis-check-rdb; } >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-tools; } \
				>/dev/null 2>&1 || true; \
		fi; \
		{ command -v redis-server || command -v redis-check-rdb; } >/dev/null || \
			echo "*** redis is missing and could not be installed: ITS TESTS WILL BE SKIPPED ***"; \
	fi

lint: install  ## ruff, mypy, hadolint, and the compose file against its published schema
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/hadolint docker/Dockerfile*
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml

format: install  ## Let ruff lay the code out
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: install  ## Ours beside the peers, as ratios
	@set -e; for script in $(filter-out %/bench_learning.py,$(wildcard tests/bench/bench_*.py)); do echo "== $$script"; $(BIN)/python $$script; done

bench-embedded: install  ## The learnt segmenter beside the classical one, GrabCut, flood fill and the box
	$(BIN)/python tests/bench/bench_embedded.py

bench-zeroshot: install  ## Street scenes without training: with and without each stage, beside two baselines
	$(BIN)/python tests/bench/bench_zeroshot.py

bench-learning: install  ## Labour saved: projects played from zero, in random and in the default order (hours; goes on)
	$(BIN)/python tests/bench/bench_learning.py

clean:  ## Remove caches and build products; environments and data stay
	rm -rf build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
