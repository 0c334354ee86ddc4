# make env | repro | test | lock | clean
#
# Needs Python 3.11 or newer, make and git. All else goes into .venv, in the versions and with the hashes of
# requirements.txt. PYTHON=/path/to/python chooses the interpreter.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A version manager may put a uv or a python on PATH that only says "not installed": try, do not look.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo $(BIN)/uv)
FITS := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

.PHONY: env repro test lock clean

env: $(READY)

$(READY): requirements.txt pyproject.toml
	@$(BIN)/python $(FITS) 2>/dev/null || for python in $(PYTHON) python3.11 python3.12 python3.13 python3 none; do \
		if [ "$$python" = none ]; then \
			echo "error: no Python 3.11 or newer with its venv module found; PYTHON=/path/to/python names one." >&2; \
			exit 1; \
		fi; \
		if "$$python" $(FITS) 2>/dev/null && "$$python" -m venv --clear $(VENV); then break; fi; \
	done
	@$(UV) --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

repro: env
	PATH="$(CURDIR)/$(BIN):$$PATH" dvc repro
	@cat reports/summary.txt

test: export PATH := $(CURDIR)/$(BIN):$(PATH)
test: env
	ruff check
	ruff format --check
	mypy
	python -m pipeline.tools.dvc_deps --check
	pytest --cov --cov-fail-under=90

# Keeps the versions that are locked already; delete requirements.txt first to renew all of them.
lock:
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		pyproject.toml -o requirements.txt

# Leaves what `dvc repro` made.
clean:
	rm -rf $(VENV) build *.egg-info .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache
