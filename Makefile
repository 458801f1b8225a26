# make demo      the program of three agents and its metrics, on this machine alone
# make test      installs what it needs, then everything that CI runs: lint, types, tests with real
#                services, coverage, the package that is published, docs
# make versions  what faces LangChain, on every Python that is here and on the oldest LangChain
# make site      the docs as a site, in build/site
# make pictures  the dashboards in the docs, from a demo that runs for a quarter of an hour
# make soak      two minutes of processes that are killed, on databases that come and go
# make hostile   the whole of what is tried against metrics, which CI does in short: a quarter of an hour
# make bench     what a call costs, beside a hand-written handler; what plugins cost, beside their peers
# make peers     what other LangChain handlers make of the conformance cases
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# How many tests run at a time; each worker has services of its own.
WORKERS ?= 3

# What is imported is compiled once, and not by every worker and every program that tests start.
unexport PYTHONDONTWRITEBYTECODE

PLUGINS := $(wildcard plugins/*-*)

# What is run on other versions.
FACES_LANGCHAIN := tests/unit/test_agent.py tests/unit/test_handler.py tests/unit/test_streaming.py \
  tests/unit/test_odd_events.py tests/property/test_callbacks.py \
  $(patsubst %,tests/integration/test_%.py,budgets endings extra_labels fallbacks_and_caches \
    interrupts providers service_tiers shared_handler topologies ways_to_end)
PYTHONS = $(foreach v,3.10 3.11 3.12 3.13,$(shell python$(v) -c 'print("$(v)")' 2>/dev/null))

.PHONY: demo test lint types unit integration packaging oldest versions packages panels docs \
  docs-current site pictures soak hostile bench peers constraints clean

# A recipe that fails half way leaves nothing that the next run takes for done.
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/agentmetrics demo

# What keeps one core busy, two at a time; unit and integration do that by themselves.
test: packages
	$(MAKE) --jobs 2 --output-sync=line lint oldest types packaging panels docs-current site
	$(MAKE) unit integration

$(VENV)/bin/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt uv

# $(call install,VENV,CONSTRAINTS): faster than pip, and compiles on every core
install = $(BIN)/uv pip install --quiet --python $(1)/bin/python --compile-bytecode --constraint $(2)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/uv
	@echo "Installing into $(VENV); once, and half a minute or so"
	$(call install,$(VENV),constraints.txt) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(PLUGINS:%=%/pyproject.toml) | $(VENV)/bin/uv
	@echo "Installing into $(VENV); once, and half a minute or so"
	$(call install,$(VENV),constraints.txt) --editable '.[demo]' \
	  --group test --group test-plugins --group lint --group bench --group packaging --group site \
	  $(patsubst %,--editable %,$(PLUGINS))
	@touch $@ $(VENV)/.demo

packages:
	@.ci/packages "$(PYTHON)"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

# Of 13 000 tests with real servers and real kills, one may fail of the machine: it is run again, and
# the summary names it and says why.
PYTEST := -m pytest --numprocesses $(WORKERS) --dist worksteal --reruns 1 --rerun-show-tracebacks -rfER

# coverage starts before pytest loads its plugins, one of which is ours: in the workers, too, because
# of [tool.coverage.run] patch. It doubles the time that a test takes, so the others are without it.
unit: $(VENV)/.dev
	rm -f .coverage .coverage.*
	$(BIN)/coverage run $(PYTEST) tests/unit tests/property plugins
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=89

integration: $(VENV)/.dev panels
	$(BIN)/python $(PYTEST) tests $(patsubst %,--ignore tests/%,unit property packaging)

# What draws dashboards, from npm, into build/panels; a test that waited for it would time out.
panels: $(VENV)/.dev
	@$(BIN)/python -m tests.panels

packaging: $(VENV)/.dev
	$(BIN)/python -m pytest tests/packaging

# $(call venv-of,PYTHON,VENV,CONSTRAINTS)
define venv-of
	@echo "Installing into $(2); once, and half a minute or so"
	$(1) -m venv --without-pip $(2)
	$(call install,$(2),$(3)) --editable '.[demo]' --group test-langchain
	@touch $(2)/.dev
endef

# All but LangChain's packages and the SDKs under them are as in constraints.txt.
.venv-oldest/.dev: pyproject.toml constraints.txt constraints-oldest.txt | $(VENV)/bin/uv
	mkdir -p $(@D)
	sed -n 's/^\([a-z-]*==\).*/^\1/p' constraints-oldest.txt | grep -v -f - constraints.txt \
	  | cat - constraints-oldest.txt > $(@D)/constraints.txt
	$(call venv-of,$(PYTHON),$(@D),$(@D)/constraints.txt)

# The SDKs of that time leave the connection of some cancelled calls open, where the wire waits, and
# they and LangChain's packages keep to themselves some of what later ones pass on: oldest.txt.
oldest: .venv-oldest/.dev
	.venv-oldest/bin/python -m pytest $(FACES_LANGCHAIN) @tests/integration/oldest.txt
	.venv-oldest/bin/python -m pytest tests/conformance/test_conformance.py -k "openai or anthropic" \
	  @tests/conformance/oldest.txt

.venv-3.%/.dev: pyproject.toml constraints.txt | $(VENV)/bin/uv
	$(call venv-of,python3.$*,$(@D),constraints.txt)

.PRECIOUS: .venv-3.%/.dev
on-3.%: .venv-3.%/.dev
	.venv-3.$*/bin/python -m pytest $(FACES_LANGCHAIN)

versions: $(PYTHONS:%=on-%) oldest

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py
	$(BIN)/python -m tests.conformance
	$(BIN)/python -m tests.ends

# docs/conformance.md and docs/ends.md are compared by tests, which have run all that is in them;
# docs/reliability.md by tests that run it in short.
docs-current: $(VENV)/.dev
	$(BIN)/python docs/generate.py --check

# Broken links and anchors, and pages that the menu leaves out, fail it.
site: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Draws docs/images/boards from the demo, which runs for a quarter of an hour. Needs pngquant.
pictures: panels
	$(BIN)/python -m tests.panels.pictures

hostile: packages $(VENV)/.dev
	$(BIN)/python -m tests.hostile --numprocesses=$(WORKERS) --dist=worksteal

# SOAK="--seed 7 --seconds 600 --json" for another one
soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak $(SOAK)

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.plugins

# The conformance cases through other handlers, which are installed for this alone.
peers:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip --quiet install --constraint constraints.txt "pip>=25.1"
	.venv-peers/bin/python -m pip --quiet install --constraint constraints.txt \
	  --editable '.[demo]' --group test --requirement benchmarks/peers/requirements.txt
	.venv-peers/bin/python -m benchmarks.peers

# Why these are constraints and no lock file: docs/decisions/0009-constraints-not-a-lock-file.md
constraints: $(VENV)/.dev
	$(BIN)/uv pip compile --universal --no-python-downloads --no-emit-index-url --no-header \
	  --no-annotate --python-version 3.10 --extra demo --group test --group test-plugins --group lint \
	  --group bench --group packaging --group site --upgrade pyproject.toml -o constraints.txt

clean:
	rm -rf $(VENV) .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage \
	  .coverage.*
