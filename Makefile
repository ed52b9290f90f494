# The README's commands, nothing hidden.
#
#   make train | make serve | make test | make bench | make docs | make clean
#
#   PYTHON=python3.12   the interpreter the environment is made with (3.11 or newer)
#   ARGS="--epochs 2"   passed on to `lenet-fast train`, `lenet-fast serve` or to `pytest`
#   BENCH=runs/bench    where `make bench` writes its results, report and pictures
#
# The package is installed editable, so a changed Python file counts at once; a changed kernel or
# build file makes the next `make` build again.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BENCH ?= runs/bench

PIP = $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet
BUILD_FILES := pyproject.toml setup.py $(wildcard kernels/*.pyx kernels/*/*.*)

.PHONY: train serve test bench docs clean

train: $(VENV)/installed
	$(VENV)/bin/lenet-fast train $(ARGS)

serve: $(VENV)/installed-web
	$(VENV)/bin/lenet-fast serve $(ARGS)

test: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest $(ARGS)

bench: $(VENV)/installed-bench
	mkdir -p $(BENCH)
	$(VENV)/bin/python -m pytest benchmarks/ --benchmark-only \
	    --benchmark-json=$(BENCH)/results.json $(ARGS)
	$(VENV)/bin/python -m benchmarks.report $(BENCH)/results.json --out $(BENCH)

docs: $(VENV)/installed-docs
	$(VENV)/bin/python -m sphinx -W --keep-going -n -q -b html docs docs/_build
	@echo 'Open docs/_build/index.html'

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo '$(PYTHON): expected Python 3.11 or newer; try make PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/created $(BUILD_FILES)
	@echo 'Installing lenet_fast into $(VENV); compiling its kernels can take minutes.'
	$(PIP) --editable .
	@touch $@

# By its name, the package that is installed already, so that nothing is compiled again.
$(VENV)/installed-test: $(VENV)/installed
	$(PIP) 'lenet_fast[test]'
	@touch $@

$(VENV)/installed-web: $(VENV)/installed
	$(PIP) 'lenet_fast[web]'
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(PIP) 'lenet_fast[bench]'
	@touch $@

# PyTorch, whose front end the pages describe too, is left to you: its default build is gigabytes.
$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) 'lenet_fast[docs]'
	@touch $@

# Leaves runs/ alone, and removes only an environment that this file has made.
clean:
	@test ! -f $(VENV)/created || rm -rf $(VENV)
	rm -rf build dist docs/_build docs/api/lenet_fast*.rst docs/api/modules.txt *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find lenet_fast \( -name '*.so' -o -name '*.nbi' -o -name '*.nbc' \) -delete
	find lenet_fast tests $(wildcard benchmarks) -name __pycache__ -type d -exec rm -rf {} +
