# make test and make demo need Python 3.11 (or 3.12, 3.13), pip, make and git; everything else goes into .venv.
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2
# One thread of BLAS and torch for each worker: nets this small lose with more.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help test slow demo evidence lint types docs clean

help:
	@echo "make test   install into .venv and run the tests"
	@echo "make demo   install into .venv and run pulsebayes demo"
	@echo "make slow   the long tests"
	@echo "make evidence  measure the numbers of all model cards again, or with EVIDENCE_N=1000 on fewer simulations"
	@echo "make lint   ruff on everything"
	@echo "make types  mypy on the package"
	@echo "make docs   write the generated pages of docs/"
	@echo "make clean  remove what make made"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed" >&2; exit 1; }
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/test.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test,train,io,app,cluster,reference]"
	@touch $@ $(VENV)/core.stamp

$(VENV)/dev.stamp: $(VENV)/test.stamp
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test,train,io,app,cluster,reference,dev]"
	@touch $@

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --dist worksteal

slow: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q -m slow

demo: $(VENV)/core.stamp
	$(BIN)/pulsebayes demo

# Goes on where it was stopped: sets and findings stay in evidence/.
EVIDENCE_N ?= 0
evidence: $(VENV)/core.stamp
	$(BIN)/python -m benchmarks.evidence --out evidence -n $(EVIDENCE_N) --check

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy does not follow editable installs: it reads a plain copy.
types: $(VENV)/dev.stamp
	rm -rf build $(VENV)/types
	$(BIN)/pip install --quiet --no-deps --target $(VENV)/types .
	rm -rf build
	MYPYPATH=$(VENV)/types $(BIN)/mypy --config-file pyproject.toml -p pulsebayes

docs: $(VENV)/core.stamp
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/generate_api.py

clean:
	rm -rf $(VENV) build dist pulsebayes.egg-info .pytest_cache .mypy_cache .ruff_cache pulsebayes-demo
