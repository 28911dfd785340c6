# Everything runs in .venv, which these targets make and keep up to date by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test bench cluster-test check words lock clean

run: $(VENV)/.with-training  ## the whole site: web server, worker and scheduler
	@exec $(BIN)/python manage.py runsite

test: $(VENV)/.with-dev  ## the quick suite
	$(BIN)/pytest

bench: $(VENV)/.with-web  ## benchmarks, with ratios
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.mixed

cluster-test: $(VENV)/.with-training  ## seven hosts and their cables; as root, on Debian with redis-server, postgresql and haproxy
	$(BIN)/python -m benchmarks.cluster

check: $(VENV)/.with-dev  ## lint, types, migrations, deployment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/python manage.py makemigrations --check --dry-run
	HDR_HTTPS=1 HDR_PROXIES=1 $(BIN)/python manage.py check --deploy --fail-level WARNING

words: $(VENV)/.with-web  ## gather what is to be translated, compile what is; needs GNU gettext
	$(BIN)/python manage.py makemessages --all --no-location --no-obsolete --no-wrap --ignore $(VENV) --ignore tests
	$(BIN)/python manage.py makemessages --all --no-location --no-obsolete --no-wrap --ignore $(VENV) --ignore tests --domain djangojs
	$(BIN)/python manage.py compilemessages --ignore $(VENV)

lock: $(VENV)/.with-web  ## resolve every pin anew from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-annotate --no-header pyproject.toml -o requirements-web.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-annotate --no-header pyproject.toml --extra training -o requirements.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-annotate --no-header pyproject.toml --extra dev -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-annotate --no-header pyproject.toml --extra traces -o requirements-traces.txt

clean:  ## removes the environment; the data directory stays
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
