# The README's commands.
#
#   make train | make serve | make test | make bench | make docs | make clean
#
#   PYTHON=python3.12   the interpreter for the environment (3.11 or newer)
#   ARGS="--epochs 2"   passed on to `lenet-fast train`, `lenet-fast serve` or to `pytest`
#   BENCH=runs/bench    folder for the results, report and figures of `make bench`
#
# The package is installed editable, so changes to Python files take effect at once; after a change to
# a kernel or build file, the next `make` builds again.

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

# By name, so that pip uses the installed package and compiles nothing.
$(VENV)/installed-test: $(VENV)/installed
	$(PIP) 'lenet_fast[test]'
	@touch $@

$(VENV)/installed-web: $(VENV)/installed
	$(PIP) 'lenet_fast[web]'
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(PIP) 'lenet_fast[bench]'
	@touch $@

# The pages about PyTorch need it; install it yourself, because its default build takes gigabytes.
$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) 'lenet_fast[docs]'
	@touch $@

# Keeps runs/, and removes only an environment that this file has created.
clean:
	@test ! -f $(VENV)/created || rm -rf $(VENV)
	rm -rf build dist docs/_build docs/api/lenet_fast*.rst docs/api/modules.txt *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find lenet_fast \( -name '*.so' -o -name '*.nbi' -o -name '*.nbc' \) -delete
	find lenet_fast tests $(wildcard benchmarks) -name __pycache__ -type d -exec rm -rf {} +
