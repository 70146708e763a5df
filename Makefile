# Everything a reader or contributor does. Each target sets up .venv itself when it is missing or stale.
#
#   make book [PROFILE=demo|smoke|record]   make test   make stress   make notebooks   make lint   make bench   make clean
#
# Settings (as `make NAME=value` or from the environment):
#   PYTHON       the interpreter .venv is made with, 3.11 to 3.13
#   TORCH        cpu (default) or cuda; counts on Linux only
#   TORCH_INDEX  where torch's CPU build is looked for when pip's own sources do not have it

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help book test stress notebooks lint bench clean

PROFILE ?= demo
TORCH ?= cpu
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
usable := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c '$(usable)' 2>/dev/null; then echo $$p; break; fi; done)
endif

BIN := .venv/bin
# One stamp for each kind of torch: another TORCH finds no stamp and installs again.
STAMP := .venv/.installed-$(TORCH)
torch := $(shell sed -n 's/^torch==//p' constraints.txt)
PIP := $(BIN)/python -m pip --disable-pip-version-check

help:  ## what there is to do
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

book: $(STAMP)  ## compute and render the book; PROFILE=demo (default), smoke or record
	@$(BIN)/gexlib book --profile $(PROFILE)

test: $(STAMP)  ## units, notebooks against their stored outputs, the built book in a browser
	@home=$$(mktemp -d); trap 'rm -rf "$$home"' EXIT; \
	GEXLIB_HOME="$$home" GEXLIB_TEST_HOME="$$home" GEXLIB_RECORD=0 $(BIN)/python -m pytest -n 2 --dist loadscope \
		--nbval --nbval-sanitize-with tests/nbval.cfg --nbval-cell-timeout 300 tests notebooks/0[1-79]*.ipynb

stress: $(STAMP)  ## long and heavy tests; the summary goes to tests/STRESS.md
	@STRESS_REPORT=tests/STRESS.md $(BIN)/python -m pytest -m stress tests

notebooks: $(STAMP)  ## run the notebooks at smoke size and store the outputs that nbval compares
	@home=$$(mktemp -d); trap 'rm -rf "$$home"' EXIT; \
	GEXLIB_HOME="$$home" $(BIN)/gexlib notebooks

lint: $(STAMP)  ## ruff (lint and format) and codespell
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell

bench: $(STAMP)  ## speed and memory beside what a user would write instead
	@$(BIN)/python benchmarks/run.py
	@$(BIN)/python benchmarks/training.py
	@$(BIN)/python benchmarks/classical.py
	@$(BIN)/python benchmarks/store.py --cells 10000 --seconds 20

clean:  ## remove built pages, executed notebooks and caches (.venv stays)
	rm -rf _build build book/executed .pytest_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints -o -name '*.egg-info' \) -print0 \
		| xargs -0 rm -rf

# torch comes first, by itself: its CPU build from wherever pip already looks, else from PyTorch's index, else (macOS, or
# neither has it) from PyPI with the rest. The index is never given to pip for anything but torch.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 with venv found; set PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -c '$(usable)' || { echo "make: PYTHON=$(PYTHON) is not Python 3.11 to 3.13 with venv and ensurepip" >&2; exit 2; }
	@case "$(TORCH)" in cpu|cuda) ;; *) echo "make: TORCH=$(TORCH) is neither cpu nor cuda" >&2; exit 2;; esac
	@echo "Setting up .venv with $$($(PYTHON) --version), torch $(torch) ($(TORCH)): a few minutes the first time, about 3 GB."
	@rm -f .venv/.installed-*
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if test "$$(uname -s)" != Linux; then :; \
	elif test "$(TORCH)" = cpu; then \
		$(PIP) install --quiet --no-deps --retries 1 "torch==$(torch)+cpu" 2>/dev/null \
		|| $(PIP) install --quiet --no-deps --retries 1 --timeout 15 --index-url "$(TORCH_INDEX)" "torch==$(torch)" 2>/dev/null \
		|| echo "torch: no CPU build at hand or at $(TORCH_INDEX); taking PyPI's, which brings CUDA packages (gigabytes)."; \
	elif $(PIP) show torch 2>/dev/null | grep '^Version:.*+cpu' > /dev/null; then \
		$(PIP) uninstall --quiet --yes torch; \
	fi
	@$(PIP) install --quiet --constraint constraints.txt --editable ".[book,test,cluster,dev]"
	@touch $@
