# make env | repro | check | fast | test | format | lock | clean
#
# check: format, lint, types, layers; seconds.   fast: check, and the tests that are not slow, on all cores.
# test: everything, as the server runs it.        format: mends format, imports and what lint can mend.
#
# Needs Python 3.11 or newer, make and git. All else goes into .venv, in the versions and with the hashes of
# requirements.txt. PYTHON=/path/to/python chooses the interpreter. Packages are compiled at once: where Python may not
# write its bytecode, each of some fifty stages would compile all that it imports, for five to ten seconds.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A version manager may put a uv or a python on PATH that only says "not installed": try, do not look.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo $(BIN)/uv)
FITS := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

.PHONY: env repro check fast test format lock clean

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
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

# The first run at a commit is kept as the experiment `baseline`, which later ones are compared with. DVC commits what
# the named stage made: without a name all stages, those of systems that are not listed too.
repro: env
	dvc repro
	@dvc exp list --name-only | grep -wx baseline >/dev/null || dvc exp save --quiet --name baseline report
	@cat reports/summary/summary.txt

repro check fast test format: export PATH := $(CURDIR)/$(BIN):$(PATH)

check: env
	ruff check --quiet
	ruff format --check --quiet
	mypy
	lint-imports --no-logo

# One thread a process: tests beside each other, each on all cores, would wait for one another.
fast: check
	OMP_NUM_THREADS=1 pytest --quiet --numprocesses auto --dist worksteal -m "not slow"

test: check
	OMP_NUM_THREADS=1 pytest --numprocesses auto --dist loadgroup --cov --cov-fail-under=90

format: env
	ruff check --quiet --fix
	ruff format --quiet

# Keeps the versions that are locked already; delete requirements.txt first to renew all of them.
lock:
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		pyproject.toml -o requirements.txt

# Leaves what `dvc repro` made.
clean:
	rm -rf $(VENV) build *.egg-info .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache
