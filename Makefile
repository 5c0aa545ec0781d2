# dev    the environment in .venv, made anew when the requirements change
# serve  a cluster on this machine: make serve MODEL=DIR PORT=8123 ARGS="--max-model-len 4096"
# test   all tests, a file at a time by each of WORKERS processes;
#        make test ARGS="tests/engine -k pool" runs some of them
# check  ruff and strict mypy
# bench  the benchmarks

PYTHON ?= python3
PORT ?= 8000
WORKERS ?= 2
MODEL ?=
ARGS ?=
READY := .venv/.ready

BENCHMARKS ?= startup cpu_engine router

.PHONY: dev serve test check bench

dev: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check -e '.[dev,clients]' -c constraints.txt
	mkdir -p .types && ln -sfn .. .types/legato
	touch $@

# exec: Ctrl-C and kill reach the program itself, and its exit code is make's.
serve: $(READY)
	@exec .venv/bin/legato serve $(MODEL) --port $(PORT) $(ARGS)

test: $(READY)
	@exec .venv/bin/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: $(READY)
	@set -e; for name in $(BENCHMARKS); do PYTHONPATH=.types .venv/bin/python -m legato.tests.benchmarks.$$name $(ARGS); done
