# Short names for what people and CI run. Everything lives in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
UV_VERSION = 0.13.9
# `make test COVERAGE=1` measures while it tests; `make test PYTEST_ARGS="-k cli"` runs a part.
COVERAGE ?=
# Without the slow ones; all: `make test PYTEST_ARGS=`.
PYTEST_ARGS ?= -m 'not slow'
# Half of the time tests wait for servers that start. Each file's tests stay together, and so do what they share.
WORKERS ?= 2
PYTEST = $(BIN)/python $(if $(COVERAGE),-m coverage run) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
KBCHAT = $(BIN)/kbchat
QUESTION ?= What does a recall score below 0.5 mean?

.PHONY: demo serve test clients browser screenshots libraries check cov bench gate lock dist clean docs sync

# Ingest the project's own documentation into a space and ask it a question.
demo: $(VENV)/.ready
	$(KBCHAT) ingest kbchat-docs docs --data-dir .demo
	@printf '\n%s\n\n' '$(QUESTION)'
	@$(KBCHAT) ask kbchat-docs '$(QUESTION)' --data-dir .demo
	@printf '\nNow `make serve`, and ask in the page at http://127.0.0.1:5670/\n'

# Serve what `make demo` took in, with the page to ask in.
serve: $(VENV)/.ready
	$(KBCHAT) serve --data-dir .demo

test: $(VENV)/.ready clients
	$(PYTEST)

# The clients that others wrote, which the tests talk to the server with, and Milvus's engine; each has an environment of
# its own.
clients: $(VENV)/.ready
	$(BIN)/python tests/e2e/environments.py

# Chromium and npm for the page's tests, nginx for the proxy's, where they are missing; needs root on Debian.
browser:
	tools/browser.sh

# Write docs/images anew: what each view of the page looks like.
screenshots: $(VENV)/.ready browser
	$(BIN)/python tools/page_screenshots.py

# Write the page's libraries anew, from the npm packages that are pinned.
libraries: clients
	$(BIN)/python tools/page_libraries.py

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/sync_face.py --check
	$(BIN)/python tools/signatures.py --check
	$(BIN)/mypy

# Write the face for programs without `await`, and the list of public signatures, anew, after a change of the async one.
sync: $(VENV)/.ready
	$(BIN)/python tools/sync_face.py
	$(BIN)/python tools/signatures.py

# Build the documentation as a site, strictly: a broken link or a name that is not there is an error.
docs: $(VENV)/docs/.ready
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build --strict --quiet

$(VENV)/docs/.ready: $(VENV)/.ready tools/docs.lock
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/docs
	$(BIN)/uv pip install --quiet --python $(VENV)/docs --require-hashes -r tools/docs.lock
	touch $@

# Report what `make test COVERAGE=1` measured.
cov: $(VENV)/.ready
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under=90

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/quality.py $(DATASETS)

# Ask the questions whose answers are known, and fail where a figure is worse than the one recorded.
gate: $(VENV)/.ready
	$(KBCHAT) bench tests/fixtures/questions --gate tests/fixtures/questions.json

dist: $(VENV)/.ready
	$(BIN)/uv build --quiet --python $(BIN)/python --out-dir dist

# Needs no environment that the old lock can make.
lock: $(VENV)/.uv
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --group dev \
		--extra otel --extra milvus --extra documents --extra postgres --extra mcp --extra bench \
		--custom-compile-command "make lock" --no-emit-index-url --no-emit-find-links -o requirements.lock
	$(BIN)/uv pip compile tools/docs.in --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" --no-emit-index-url --no-emit-find-links -o tools/docs.lock

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "kbchat needs Python 3.11 or newer; say which one: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

$(VENV)/.ready: $(VENV)/.uv requirements.lock pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov dist
