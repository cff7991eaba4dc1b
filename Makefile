# make demo: open the page on the embedded checkpoint.  make test: lint, then every test.
# make check: lint, and the tests that take a minute in all: reading labels and predictions, boxes,
# grammar, every measure and report, settings, plans, commands, architecture, README. Left out are
# those that answer with the embedded model or render pictures (model), take over 5 s (slow), drive
# a browser or need a GPU.
# Each builds .venv first, and again only when requirements.txt or pyproject.toml have changed.
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv)
INSTALL := $(if $(UV),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install) --quiet
# What the browser tests drive, and the fonts the rendered packages are set in.
DEBIAN := chromium fonts-liberation fonts-dejavu fonts-noto-core fonts-noto-cjk fonts-roboto fonts-open-sans

# Some images forbid Python to keep what it has compiled; then every start takes 2.5 times as long.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo check test lint debian

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10

demo: .venv/run.stamp
	$(BIN)/python app.py

check: lint
	$(PYTEST) -m "not model and not slow and not browser and not gpu"

test: lint debian
	$(PYTEST)

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

debian:
	@dpkg -s $(DEBIAN) >/dev/null 2>&1 || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(DEBIAN) >/dev/null; } || \
	echo "Not installed: $(DEBIAN). The tests that need them are skipped."

.venv/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "nutrition-vl needs Python 3.11 or newer and $(PYTHON) is older: say make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(BIN)/python $(if $(UV),,-m pip) --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(INSTALL) -r requirements.txt
	@touch $@

.venv/dev.stamp: .venv/run.stamp pyproject.toml
	@$(BIN)/python -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print(*extras["dev"], *extras["batch"], sep="\n")' > .venv/dev.txt
	$(INSTALL) -r .venv/dev.txt
	@touch $@
