# Everything runs in .venv. The targets create it and keep it up to date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test bench cluster-test check words lock clean

run: $(VENV)/.with-training  ## the whole site: web server, worker and scheduler
	@exec $(BIN)/python manage.py runsite

test: $(VENV)/.with-dev  ## the quick suite
	$(BIN)/pytest

bench: $(VENV)/.with-web  ## load benchmarks, with ratios
	$(BIN)/python -m benchmarks.load
	$(BIN)/python -m benchmarks.load.mixed

cluster-test: $(VENV)/.with-training  ## fault tests with seven simulated hosts; as root, on Debian with redis-server, postgresql and haproxy
	$(BIN)/python -m benchmarks.chaos.cluster

check: $(VENV)/.with-dev  ## lint, types, migrations, deployment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/python manage.py makemigrations --check --dry-run
	HDR_HTTPS=1 HDR_PROXIES=1 $(BIN)/python manage.py check --deploy --fail-level WARNING

words: $(VENV)/.with-web  ## collect strings to translate, compile translations; needs GNU gettext
	$(BIN)/python manage.py makemessages --all --no-location --no-obsolete --no-wrap --ignore $(VENV) --ignore tests
	$(BIN)/python manage.py makemessages --all --no-location --no-obsolete --no-wrap --ignore $(VENV) --ignore tests --domain djangojs
	$(BIN)/python manage.py compilemessages --ignore $(VENV)

lock: $(VENV)/.with-web  ## update every pinned version from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-annotate --no-header pyproject.toml -o requirements-web.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-annotate --no-header pyproject.toml --extra training -o requirements.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-annotate --no-header pyproject.toml --extra dev -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-annotate --no-header pyproject.toml --extra traces -o requirements-traces.txt

clean:  ## remove the environment; the data directory stays
	rm -rf $(VENV)

$(VENV)/.with-web: requirements-web.txt
$(VENV)/.with-dev: requirements-dev.txt
$(VENV)/.with-training: requirements.txt
$(VENV)/.with-%: | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
