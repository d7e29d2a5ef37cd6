# The verbs of this project; `make help` lists them. Everything they write stays inside this folder.
.DEFAULT_GOAL := help
.PHONY: help setup run test lab notebooks posts check bench bench-quick reproduce lock clean
SHELL := /bin/sh

root := $(CURDIR)
python := .venv/bin/python

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

.venv/.ready: requirements/test.txt tools/setup.sh
	@tools/setup.sh .venv requirements/test.txt

run: setup  ## execute every notebook and write the pages under build/ (under six minutes)
	@$(python) -m tools.notebooks run

test: setup  ## prove everything: library, notebooks, README (under ten minutes)
	@$(python) -m pytest -q -n 2 --dist loadscope

check: setup  ## the quick checks of an author: layout, lint, pairs and house style
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@$(python) -m tools.notebooks check

notebooks: setup  ## write .py and executed .ipynb from the .md (all=1: even where no code changed)
	@$(python) -m tools.notebooks sync $(if $(all),--all)

posts: setup  ## write the notebooks as al-folio posts under build/site (repository=URL ref=TAG)
	@.venv/bin/al-folio notebooks/*.ipynb notebooks/ko/*.ipynb --out build/site \
		$(if $(repository),--repository $(repository)) $(if $(ref),--ref $(ref))

bench: .venv-bench/.ready  ## race seven other libraries, with an environment of their own (half an hour)
	@.venv-bench/bin/python -m benchmarks --resume

.venv-bench/.ready: benchmarks/requirements.txt
	@python3 -m venv --clear .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check -r $<
	@cp $< $@

bench-quick: setup  ## this library alone, under a minute
	@$(python) -m benchmarks --quick

reproduce: setup  ## the paper's figures and tables (entry=fig1|fig3|mnist|..., mnist=DIR, jobs=N; hours)
	@$(python) -m reproduce $(or $(entry),all) $(if $(mnist),--mnist "$(mnist)") \
		$(if $(jobs),--jobs $(jobs)) $(if $(scheduler),--scheduler $(scheduler))

lab: .venv-lab/.ready  ## open JupyterLab on the notebooks
	@mkdir -p "$(TMPDIR)"
	@.venv-lab/bin/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks \
		--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate $(lab)

.venv-lab/.ready: requirements/lab.txt tools/setup.sh
	@tools/setup.sh .venv-lab requirements/lab.txt

lock:  ## renew requirements/ from pyproject.toml (needs uv and the network)
	@tools/lock.sh

clean:  ## remove the environments and everything built
	rm -rf build .venv .venv-lab .venv-bench
