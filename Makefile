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

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Under -j two pips would write into one venv.
.NOTPARALLEL:
.PHONY: help demo test check interop fuzz bench docs clean

help:
	@echo 'make demo    send a message through an embedded server and compare what arrived'
	@echo 'make test    the whole test suite'
	@echo 'make check   lint, format, types, 100 % branch coverage of the core, a run under -O'
	@echo 'make interop real servers and clients, which root on Debian can bring; fills in docs/interop.md'
	@echo 'make fuzz    what reads octets, by atheris, for SECONDS=$(SECONDS) in all'
	@echo 'make bench   the core and the drop-in, beside smtplib and aiosmtpd'
	@echo 'make docs    run the examples of README.md and docs/'
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

interop: $(DEV)
	$(PY) tests/interop/install.py
	$(PY) -bb -m pytest -rs tests/interop --tables docs/interop.md

fuzz: $(FUZZ)
	$(PY) fuzz/run.py --seconds $(SECONDS)

bench: $(BENCH)
	$(PY) bench/core.py
	$(PY) bench/dropin.py

docs: $(DEV)
	@echo 'The documentation is README.md and the Markdown in docs/. Running its examples.'
	$(PY) -bb -m pytest README.md docs

clean:
	rm -rf '$(VENV)' .venv .venv-* build dist *.egg-info .coverage .coverage.* htmlcov
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
