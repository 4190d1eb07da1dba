# make sim    set up, train the simulated arm from ratings, evaluate, show the result
# make test   set up, run all tests
PYTHON ?= python3
VENV ?= .venv
TASK ?= drawer_open
SEED ?= 0
OUT ?= runs/$(TASK)-seed$(SEED)-$(shell date +%Y%m%d-%H%M%S)
ARGS ?=
PYTEST_ARGS ?=
# On a machine without a GPU an index with CPU builds of torch saves gigabytes: make sim TORCH_INDEX=URL
TORCH_INDEX ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT := $(OUT)

.DEFAULT_GOAL := help
.PHONY: help setup preflight sim test lint clean

help:
	@echo "make sim [TASK=drawer_open|sweep_into|pick_place] [SEED=0] [OUT=folder] [ARGS='...']"
	@echo "make test [PYTEST_ARGS='...']"
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
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[ros,sim,real,bag,dev]'
	@touch $@

sim: $(READY) | preflight
	$(BIN)/erl-vlm run train_sim --task $(TASK) --seed $(SEED) --out $(OUT) $(ARGS)

test: $(READY) | preflight
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build install log *.egg-info .pytest_cache .ruff_cache .hypothesis
