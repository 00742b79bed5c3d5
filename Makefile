# The commands of the project; `make` alone lists them. They need Python 3.11 to 3.13 and a package
# index, which is whatever pip is configured with. Everything goes into this folder.

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := demo
# Processes that run the tests side by side; each may hold 3 GB.
WORKERS ?= 2
# A file's tests share what they make, so one process runs them. The files keep their order, in which
# those that take minutes come first: at the end no process is left alone with a long one.
DIST := --dist loadfile --no-loadscope-reorder

# The first Python that will do. Asked for only when an environment is made.
define FIND_PYTHON
for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
  then echo "$$candidate"; break; fi; \
done
endef

.PHONY: help venv demo test-fast test test-all test-accelerators test-device pi lint bench figures clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(INSTALLED)  ## Make the virtual environment .venv and install edge with its tools (once)

$(INSTALLED): pyproject.toml
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
	  echo "make: no Python 3.11 to 3.13 found; install one, or name it: make venv PYTHON=/path/to/python" >&2; \
	  exit 1; \
	fi; \
	echo "== virtual environment $(VENV), with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)
	@echo "== installing edge and its tools into $(VENV): some minutes the first time"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(DEMO)/digits  ## Build, score and run a digit classifier, from scikit-learn's own pictures
	@echo "== training, converting, scoring: $(DEMO)/bundle"
	$(BIN)/edge build $(DEMO)/digits --output $(DEMO)/bundle --size 96 --overwrite
	@echo "== what is this picture?"
	$(BIN)/edge predict $(DEMO)/bundle "$$(find $(DEMO)/digits -name '*.png' | sort | head -n 1)"
	@echo "== how fast is it here?"
	$(BIN)/edge benchmark $(DEMO)/bundle
	@echo "== next: . $(BIN)/activate, then: edge predict $(DEMO)/bundle IMAGE"

# `edge dataset` puts the folder in its place when it is complete, so an existing one is whole.
$(DEMO)/digits: | $(INSTALLED)
	@echo "== handwritten digits as folders of pictures: $@"
	@mkdir -p $(DEMO)
	$(BIN)/edge dataset digits $@

test-fast: $(INSTALLED)  ## Run the unit tests that start no TensorFlow
	@echo "== fast tests"
	PYTHONPATH=$(CURDIR)/tests/without_tensorflow $(BIN)/python -m pytest \
	  tests/unit --numprocesses $(WORKERS) --dist worksteal \
	  -m "not tensorflow and not slow and not long and not accelerator and not device"

test: $(INSTALLED)  ## Run the tests, but for the long ones
	@echo "== tests"
	$(BIN)/python -m pytest --numprocesses $(WORKERS) $(DIST)

test-all: $(INSTALLED)  ## Run all tests: kills, full disks and thousands of bad inputs too
	@echo "== tests, the long ones too"
	$(BIN)/python -m pytest --numprocesses $(WORKERS) $(DIST) \
	  -m "not accelerator and not device"

test-accelerators: $(INSTALLED)  ## Run the tests of GPU and NPU engines, each in an environment of its own
	@echo "== accelerators: installs engines, some minutes the first time"
	$(BIN)/python -m pytest tests/accelerators -m "accelerator or not accelerator"

test-device: $(INSTALLED)  ## Run the tests that deploy to an emulated 64-bit Arm machine
	@echo "== an emulated Arm machine with Debian: builds its disk the first time, some minutes"
	$(BIN)/python -m pytest tests/device -m device

pi: $(INSTALLED)  ## Run an emulated Raspberry Pi (64-bit Arm Debian) to deploy to, until Ctrl-C
	$(BIN)/python -m tests.device.run $(DEMO)/pi.ssh_config

lint: $(INSTALLED)  ## Check style, types and the direction of imports
	@echo "== style, types, imports"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=tests/performance $(BIN)/mypy --explicit-package-bases tests/performance/*.py
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## Measure speed and memory: all of tests/performance (OPTIONS=--smoke only tries them)
	@failed=; for script in tests/performance/*.py; do \
	  [ -e "$$script" ] || { echo "== no script in tests/performance"; break; }; \
	  echo "== $$script"; \
	  $(BIN)/python "$$script" $(OPTIONS); code=$$?; \
	  [ $$code -ne 130 ] || exit 130; \
	  [ $$code -eq 0 ] || failed="$$failed $$script ($$code)"; \
	done; \
	[ -z "$$failed" ] || { \
	  echo "== not met (1), or not to be measured here (2):$$failed"; exit 1; }

figures: $(INSTALLED)  ## Measure what the table of README shows, and write it there
	$(BIN)/python -m tests.figures

clean:  ## Remove the environment, the demo, and what the tools left
	@echo "== removing $(VENV), $(DEMO), build products and tool caches"
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find edge converters benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
