# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-slow lint docs fuzz clean

install: $(VENV)/.installed

demo: install
	$(BIN)/collab run scenarios/quickstart.yaml
	$(BIN)/collab report latest

# A process for each core, and one thread of torch in each: threads that wait for each other's cores take ten times as long.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test: $(VENV)/.installed-test
	$(TEST)

test-slow: $(VENV)/.installed-test
	$(TEST) -m slow

# A minute of bad input, from the seeds in tests/fuzzing; the full run: benchmarks/fuzz.py --bodies 1000000
fuzz: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz.py --seconds 60

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every reference must lead somewhere (-n), and every warning is an error (-W).
docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -q -n -W --keep-going -b html -d build/docs-cache docs build/docs
	$(BIN)/python docs/check_links.py build/docs
	@echo "the site: build/docs/index.html"

# The report's moving parts, from web/ into analysis/templates/player.js, which is committed: only who changes them needs
# node. `npm ci` takes exactly the versions of package-lock.json.
web:
	cd web && npm ci --no-fund --no-audit && npm run check && npm run build

$(VENV)/.installed: pyproject.toml
	@echo "Installing into $(VENV) (torch is large: a minute or more) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
