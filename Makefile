PYTHON ?= python3
VENV ?= .venv
SECONDS ?= 60

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

# Stamps inside the venv: they go when it goes, and an edit of pyproject.toml outdates them.
PLAIN := $(VENV)/.installed-plain
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
FUZZ := $(VENV)/.installed-fuzz
WALK := $(VENV)/.installed-walk

# From nothing each time: what Sphinx keeps, it does not warn of again.
SITE := $(PY) -m sphinx -q -W -n --keep-going -E -a -d docs/_build/doctrees docs docs/_build/html

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Under -j two pips would write into one venv.
.NOTPARALLEL:
.PHONY: help demo test check dist interop fuzz bench docs walk clean

help:
	@echo 'make demo    send a message through an embedded server and compare what arrived'
	@echo 'make test    the whole test suite'
	@echo 'make check   lint, format, types, 100 % branch coverage of the core, a run under -O, the documentation, make dist'
	@echo 'make dist    build wheel and sdist into dist/, and check what is in them'
	@echo 'make interop real servers to talk to, which root on Debian can bring; fills in docs/interop.md'
	@echo 'make fuzz    what reads octets, by atheris, for SECONDS=$(SECONDS) in all'
	@echo 'make bench   what it costs, beside other libraries: a quick pass; with FULL=1 all, and docs/ anew'
	@echo 'make docs    build the documentation in docs/_build/html and run its examples'
	@echo 'make walk    look at every page of it in Chromium, light and dark, wide and narrow'
	@echo 'make clean   remove the venvs, build leftovers and caches'
	@echo
	@echo 'PYTHON=$(PYTHON) makes the venv, VENV=$(VENV) is its folder; either can be set.'

demo: $(PLAIN)
	$(PY) -m smtp_transports demo

test: $(DEV)
	$(PY) -m pytest -n auto tests
	$(PY) -bb -m pytest README.md docs

# One process, so that -bb holds. pytest is no use under -O, which strips the tests' own asserts: the demo stands in.
check: $(DEV)
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -bb -m coverage run -m pytest tests/core tests/kit
	$(PY) -m coverage report
	$(PY) -O -bb -m smtp_transports demo
	$(SITE)
	$(MAKE) --no-print-directory dist

# pyright looks at the packages of the first python on PATH.
dist: export PATH := $(abspath $(VENV)/bin):$(PATH)
dist: $(DEV)
	rm -rf dist
	$(PY) -m build --no-isolation --quiet
	$(PY) -m twine check --strict dist/*
	check-wheel-contents dist/*.whl
	pyright --ignoreexternal --verifytypes smtp_proto
	pyright --ignoreexternal --verifytypes smtp_transports

interop: $(DEV)
	$(PY) tests/interop/install.py
	$(PY) -m pytest -n auto -rs tests/interop --tables docs/interop.md

fuzz: $(FUZZ)
	$(PY) fuzz/run.py --seconds $(SECONDS)

bench: $(BENCH)
	$(PY) -m bench $(if $(FULL),--full)

docs: $(DEV)
	$(SITE)
	$(PY) -bb -m pytest README.md docs

walk: $(WALK)
	$(SITE)
	$(PY) docs/walk.py

clean:
	rm -rf '$(VENV)' .venv .venv-* build dist docs/_build *.egg-info .coverage .coverage.* htmlcov
	rm -rf .interop .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv '$(VENV)'

$(PLAIN): pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) -e .
	@touch $@

# The extras include the plain install, so a demo after a test has nothing to install.
$(DEV): pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) -e '.[dev]'
	@touch $(PLAIN) $@

$(BENCH): pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) -e '.[bench]'
	@touch $(PLAIN) $@

$(FUZZ): pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) -e '.[fuzz]'
	@touch $(PLAIN) $@

$(WALK): pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) -e '.[walk]'
	@touch $(PLAIN) $@
