# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: venv chromium demo test lint types check-all clean

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
	$(BIN)/python -m pytest -m "not slow"

check-all: lint types chromium
	$(BIN)/python -m pytest

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
