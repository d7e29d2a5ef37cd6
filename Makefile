# The verbs of this project; `make help` lists them. Everything they write stays inside this folder.
.DEFAULT_GOAL := help
.PHONY: help setup run test fast lab notebooks posts api check bench bench-quick reproduce arithmetics lock clean
SHELL := /bin/sh

root := $(CURDIR)
python := .venv/bin/python
# any Python starts the set-up, which looks for the newest that fits
pythons := python3 python3.14 python3.13 python3.12 python3.11 python3.10 python
any_python = $(shell for name in $(pythons); do command -v $$name && break; done)
starter = $(or $(PYTHON),$(any_python),$(error Install Python 3.10 or newer, then run make again))
setup = $(starter) tools/setup.py $(if $(PYTHON),--python $(PYTHON))

# Caches, settings and temporary files of every tool live under build/, never in the home directory.
export TMPDIR := $(root)/build/tmp
export XDG_CACHE_HOME := $(root)/build/cache
export MPLCONFIGDIR := $(root)/build/matplotlib
export IPYTHONDIR := $(root)/build/ipython
export JUPYTER_CONFIG_DIR := $(root)/build/jupyter/config
export JUPYTER_DATA_DIR := $(root)/build/jupyter/data
export JUPYTER_RUNTIME_DIR := $(root)/build/jupyter/runtime
export npm_config_cache := $(root)/build/cache/npm
# Small stacks of layers want one thread: BLAS threads on a busy machine cost far more than they give.
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PYTHONNOUSERSITE := 1
# A user's own search path or backend would change what runs and what figures look like.
unexport PYTHONPATH PYTHONHOME MPLBACKEND JUPYTER_PATH JUPYTER_CONFIG_PATH PIP_TARGET PIP_USER

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*  ## ' Makefile | sed -E 's/^([a-z-]+):.*  ## (.*)/make \1\t\2/' | expand -t 18

setup: .venv/.ready  ## make .venv from the hash-pinned requirements (reused while they stay the same)
	@mkdir -p "$(TMPDIR)"

.venv/.ready: requirements/test.txt tools/setup.py
	@$(setup)

run: setup  ## execute every notebook and write its page under build/ (minutes; seconds=N a cell)
	@$(python) -m tools.notebooks run $(if $(seconds),--seconds $(seconds))

test: setup  ## prove everything: library, notebooks, README (a quarter of an hour; seconds=N a cell)
	@$(python) -m pytest -q -n 2 --dist loadscope $(if $(seconds),--nbval-cell-timeout $(seconds))

fast: setup  ## the tests that take under a second each, without the notebooks (three minutes)
	@$(python) -m pytest -q -n 2 -m "not slow" tests nflib_min blog live reproduce

check: setup  ## the quick checks of an author: layout, lint, pairs and house style
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@$(python) -m tools.notebooks check

notebooks: setup  ## write .py and executed .ipynb from the .md (all=1: even where no code changed)
	@$(python) -m tools.notebooks sync $(if $(all),--all) $(if $(seconds),--seconds $(seconds))

posts: setup  ## write the notebooks as al-folio posts under build/site (repository=URL ref=TAG)
	@$(python) -m tools.posts $(addprefix --repository ,$(repository)) $(addprefix --ref ,$(ref))

api: setup  ## write the library's reference pages under build/api
	@$(python) -m tools.api

bench: .venv-bench/.ready  ## race seven other libraries, with an environment of their own (half an hour)
	@.venv-bench/bin/python -m benchmarks --resume

.venv-bench/.ready: benchmarks/requirements.txt
	@python3 -m venv --clear .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check -r $<
	@cp $< $@

bench-quick: setup  ## this library alone, under a minute
	@$(python) -m benchmarks --quick

reproduce: setup  ## the paper's figures and tables, hours (entry=fig1|..., mnist=DIR, jobs=N, save=1)
	@$(python) -m reproduce $(or $(entry),all) $(if $(mnist),--mnist "$(mnist)") \
		$(if $(jobs),--jobs $(jobs)) $(if $(scheduler),--scheduler $(scheduler)) $(if $(save),--save)

lab: .venv-lab/.ready  ## open JupyterLab on the notebooks
	@mkdir -p "$(TMPDIR)"
	@.venv-lab/bin/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks \
		--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate $(lab)

.venv-lab/.ready: requirements/lab.txt tools/setup.py
	@$(setup) lab

arithmetics: setup  ## execute notebooks as other processors and Pythons would (notebooks="03 04"; hours)
	@$(python) -m tools.arithmetics $(notebooks)

lock:  ## renew requirements/ from pyproject.toml (needs uv and the network)
	@tools/lock.sh

clean:  ## remove the environments and everything built
	rm -rf build .venv .venv-lab .venv-bench
