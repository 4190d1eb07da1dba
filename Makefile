# make sim    set up, train the simulated arm from ratings, evaluate, show the result
# make test   set up, run all tests: units WORKERS at a time, then nodes and whole runs, NODE_WORKERS at a time
PYTHON ?= python3
VENV ?= .venv
TASK ?= drawer_open
SEED ?= 0
OUT ?= runs/$(TASK)-seed$(SEED)-$(shell date +%Y%m%d-%H%M%S)
# What the policy sees and what the run begins with; LEARN= : the tracked object's pose, nothing shown
LEARN ?= --observe images --demos scripted:10
ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= 2
# Node tests run real processes: so many tests at a time (0: one after the other). Those that judge times (-m timing)
# run after the others, with nothing beside them.
NODE_WORKERS ?= 2
# On a machine without a GPU an index with CPU builds of torch saves gigabytes: make sim TORCH_INDEX=URL
TORCH_INDEX ?=

BIN := $(VENV)/bin
# A file's tests stay together: they share fixtures. Long files come first (test/conftest.py).
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
UNITS := $(PYTEST) -n $(WORKERS) test/unit
NODES := $(PYTEST) -n $(NODE_WORKERS) -m "not timing"
TIMED := $(PYTEST) -n 0 -m timing test/nodes
READY := $(VENV)/.ready
OUT := $(OUT)

.DEFAULT_GOAL := help
.PHONY: help setup preflight sim test test-unit test-nodes lint clean

help:
	@echo "make sim [TASK=drawer_open|sweep_into|pick_place] [SEED=0] [OUT=folder] [LEARN=] [ARGS='...']"
	@echo "make test | test-unit | test-nodes [WORKERS=2] [NODE_WORKERS=2] [PYTEST_ARGS='...']"
	@echo "make setup | lint | clean"

preflight:
	@$(PYTHON) erl_vlm_ros/preflight.py --venv $(VENV) --need-mb $(if $(TORCH_INDEX),2500,6000)

setup: $(READY)

# Order matters: preflight names missing system packages before anything is downloaded.
$(READY): setup.py constraints.txt erl_vlm_ros/__init__.py | preflight
	@echo "setting up $(VENV) (once; some minutes, mostly downloads)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt pip setuptools
	$(BIN)/python -m pip install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[ros,sim,real,bag,lerobot,dev]'
	@touch $@

sim: $(READY) | preflight
	$(BIN)/erl-vlm run train_sim --task $(TASK) --seed $(SEED) --out $(OUT) $(LEARN) $(ARGS)

test: $(READY) | preflight
	@failed=0; \
	$(UNITS) $(PYTEST_ARGS) || [ $$? = 5 ] || failed=1; \
	$(NODES) test/nodes test/system $(PYTEST_ARGS) || [ $$? = 5 ] || failed=1; \
	$(TIMED) $(PYTEST_ARGS) || [ $$? = 5 ] || failed=1; \
	[ $$failed = 0 ] && echo "make test: all passed" || { echo "make test: FAILED, see above"; exit 1; }

# the quick ones: what to run while writing
test-unit: $(READY) | preflight
	$(UNITS) -m "not slow" $(PYTEST_ARGS)

test-nodes: $(READY) | preflight
	$(NODES) test/nodes $(PYTEST_ARGS) || [ $$? = 5 ]
	$(TIMED) $(PYTEST_ARGS) || [ $$? = 5 ]

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build install log *.egg-info .pytest_cache .ruff_cache .hypothesis
