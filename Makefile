# One command each. `make demo` and `make test` work from a fresh clone with Python 3.11+ and pip.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo ui browser test test-fast lint types bench pocket pictures clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

# Three stamps: running needs less than the workbench, and that less than developing. Each is renewed when its inputs
# change.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "wordbrush needs Python 3.11 or newer; say PYTHON=python3.11 make ...")'
	@echo "installing wordbrush into $(VENV) (torch is large; the first time takes a while)" >&2
	@$(PIP) -e ".[lora]"
	@touch $@

$(VENV)/.workbench: $(VENV)/.installed
	@$(PIP) -e ".[lora,web]"
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	@$(PIP) -e ".[batch,lora,eval,web,mcp,dev]"
	@touch $@

demo: $(VENV)/.installed  ## edit the shipped sample picture with the pocket model; prints the path of the panel
	@$(PY) -m wordbrush demo --out demo-output --force

ui: $(VENV)/.workbench  ## run the workbench, a page in the browser
	@$(PY) -m wordbrush ui

# The tests drive the system's browser and fetch none of their own. Without one they are skipped, never silently.
browser:  ## install Chromium for the browser tests, where it is absent, as root on Debian
	@command -v chromium >/dev/null || { command -v apt-get >/dev/null && test "$$(id -u)" = 0 \
	  && echo "installing Chromium for the tests of the workbench" >&2 && apt-get -qq update \
	  && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core >/dev/null; } \
	  || echo "*** NO CHROMIUM: THE BROWSER TESTS WILL BE SKIPPED. As root, apt-get install chromium. ***" >&2

# As many processes as WORKERS, each with a core and up to 2 GB of its own; the tests of one file stay together. Threads
# that wait for one another sleep: where cores are short, they would spin for minutes.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(PY) -m pytest -n $(WORKERS) --dist loadfile

test: $(VENV)/.developer browser  ## run every test
	@$(PYTEST)

test-fast: $(VENV)/.developer  ## run the tests that are not marked slow
	@$(PYTEST) -m "not slow"

lint: $(VENV)/.developer  ## ruff, and who may import whom
	@$(PY) -m ruff check .
	@PYTHONPATH=src $(VENV)/bin/lint-imports --no-logo

types: $(VENV)/.developer  ## mypy --strict over src, tests, training and benchmarks
	@$(PY) -m mypy

bench: $(VENV)/.developer  ## speed against diffusers, in one run on the same networks, at most 90 minutes
	@$(PY) -m benchmarks.speed --json speed.json

pocket: $(VENV)/.developer  ## train the pocket model from scratch (hours; needs npm for the artwork)
	@$(PY) -m training.pocket all

pictures: $(VENV)/.installed  ## regenerate the pictures in the README and docs, and the table of flags
	@$(PY) -m docs.make_pictures

clean:  ## remove everything generated, the environment included
	rm -rf $(VENV) demo-output build dist .mypy_cache .ruff_cache .import_linter_cache .grimp_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
