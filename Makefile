# The first call of a target makes .venv; later calls install nothing until setup.cfg, pyproject.toml or the pinned versions
# change.
#
#   PYTHON    the interpreter of .venv                  make test PYTHON=python3.12
#   PIP_ARGS  more arguments for pip, say CPU wheels    make test PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#             or a torch of your own                    make test PIP_ARGS="torch==2.11.0 torchvision==0.26.0"
#   CONSTRAINTS  pinned versions; none: the newest      make test CONSTRAINTS=
#   NPROC     test processes, the cores up to 4         make test NPROC=1
#   MATRIX    the versions of test-matrix, else all     make test-matrix MATRIX="3.11 3.12-floor 3.13-newest"
#   GPU_ARGS  arguments of gpu-check and gpu-ladder     make gpu-check GPU_ARGS="--compile --out check.json"
#   OLDER_PYTHON  of test-kernels, python3.12 if it is there    make test-kernels OLDER_PYTHON=python3.12
#   DATA      the folder of data sets for gpu-pack      make gpu-pack DATA=data
#   TRITON    gpu-pack's interpreter with Triton 3.6    make gpu-pack DATA=data TRITON=python3.12

PYTHON ?= python3
PIP_ARGS ?=
# Without torch.txt where PIP_ARGS names a torch, which the file would contradict.
CONSTRAINTS ?= tests/versions/newest.txt $(if $(filter torch% 'torch%,$(PIP_ARGS)),,tests/versions/torch.txt)
NPROC ?= $(shell n=$$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n : 4)))
MATRIX ?=
GPU_ARGS ?=
DATA ?=

BIN := .venv/bin
STAMP := .venv/.stamp
OLDER := .venv-triton-3.6
OLDER_PYTHON ?= $(shell python3.12 -c '' 2>/dev/null && echo python3.12 || echo $(PYTHON))
TRITON ?= $(OLDER)/bin/python
ALONE = OMP_NUM_THREADS=1 PYTHONPATH=.:adapters $(OLDER)/bin/python -m pytest -q -p no:cacheprovider
WITHOUT_HOSTS = tests/kernels/test_cpu.py tests/kernels/test_gpu_check.py tests/test_gpu_ladder.py \
    $(addprefix tests/crafting/test_,recorded_steps.py model_copy.py winner_gradient.py cuda_graphs.py pretend_gpu.py) \
    tests/training/test_pretend_gpu.py
TYPED := $(wildcard mrt adapters tests examples)
# A file's tests go to one process, so that what they share is made once.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(NPROC) --dist loadfile

export PIP_NO_INPUT := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ARGS MATRIX

# $(call timed,name,command): runs the command, says how long it took, keeps its exit status
timed = @start=$$(date +%s); { $(2); }; status=$$?; echo "== $(1): $$(($$(date +%s) - start)) s"; exit $$status

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-kernels test-matrix gpu-check gpu-pack gpu-ladder data-named lint types bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## seven ways of training on the embedded digits, judged by AutoAttack: a table and a page, in minutes
	OMP_NUM_THREADS=1 $(BIN)/mrt demo --out runs/demo

test: $(STAMP) ## lint, types and tests: what every change must pass
	$(call timed,lint and types,$(BIN)/ruff check . && $(BIN)/mypy --strict $(TYPED))
	$(call timed,tests,$(PYTEST) --durations=15)

test-slow: $(STAMP) ## the tests marked slow, then the mutants that the tests must catch
	$(call timed,slow tests,$(PYTEST) -m slow --durations=15)
	$(call timed,mutants,$(BIN)/python -m tests.mutants)

test-kernels: $(OLDER)/.stamp ## kernels, fast attacks and training with a GPU machine's torch 2.11, Triton 3.6 and newest numpy
	$(call timed,interpreter,TRITON_INTERPRET=1 $(ALONE) tests/kernels/in_interpreter.py -W "ignore:Conversion of an array")
	$(call timed,compiler,$(ALONE) tests/kernels/ahead_of_time.py)
	$(call timed,without the hosts,$(ALONE) $(WITHOUT_HOSTS))

gpu-check: ## on a GPU: kernels, CUDA graphs, bfloat16 and a short training run, with the Python and packages at hand
	PYTHONPATH=.:adapters $(PYTHON) -m benchmarks.gpu_check $(GPU_ARGS)

gpu-pack: data-named $(STAMP) $(if $(filter $(OLDER)/%,$(TRITON)),$(OLDER)/.stamp) ## what a GPU machine needs besides the tree, into .gpu/
	PYTHONPATH=.:adapters $(BIN)/python -m benchmarks.gpu_pack --data "$(DATA)" --triton "$(TRITON)"

data-named:
	@test -d "$(DATA)" || { echo "name the folder of MNIST/raw/*.gz and cifar10-jpeg.tar.xz: make gpu-pack DATA=FOLDER (got '$(DATA)')"; exit 1; }

gpu-ladder: ## on a GPU: checks, figures and trainings, rung by rung, with what gpu-pack packed
	PYTHONPATH=.:adapters $(PYTHON) -m benchmarks.gpu_ladder $(GPU_ARGS)

test-matrix: ## the wheel with every Python 3.10 to 3.13 at hand, and the oldest and newest packages (several GB, one at a time)
	@$(PYTHON) tests/matrix_smoke.py

lint: $(STAMP) ## ruff
	$(BIN)/ruff check .

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy --strict $(TYPED)

bench: $(STAMP) ## what an attack step costs, on this machine
	$(BIN)/python -m benchmarks.attack_overhead

clean: ## remove .venv, caches and build output
	rm -rf .venv $(OLDER) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted installation is taken up again.
$(STAMP): setup.cfg pyproject.toml $(wildcard tests/versions/*.txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "$(PYTHON) is missing or older than Python 3.10; name another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "== installing into .venv: once, up to several GB (PIP_ARGS chooses CPU wheels, see Makefile)"
	@rm -f $@; test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install $(addprefix -c ,$(CONSTRAINTS)) $(PIP_ARGS) -e '.[test]'
	@# Alone: it asks for visdom, which pip cannot build on every Python, and needs nothing else that is not there.
	$(BIN)/python -m pip install --no-deps $(addprefix -c ,$(CONSTRAINTS)) $(PIP_ARGS) adv-lib
	@touch $@

# What a GPU machine holds: torch 2.11 with its Triton 3.6, the numpy of Python 3.12, and neither Foolbox nor ART. Nothing
# is pinned beside these: it stands for machines that others have set up.
$(OLDER)/.stamp:
	$(OLDER_PYTHON) -m venv --clear $(OLDER)
	$(OLDER)/bin/python -m pip install $(PIP_ARGS) 'torch==2.11.*' 'torchvision==0.26.*' 'triton==3.6.*' numpy \
	    scikit-learn jinja2 rich pytest hypothesis
	@touch $@
