# Bare `make` lists what it can do. PHOTOS and WORKDIR reach the recipe through the environment, so
# that any character may be in them.

.PHONY: help setup run serve lint test coverage test-slow
.PHONY: bench bench-serving bench-smoke bench-setup lock bench-lock

# Each process would spend ten seconds anew on compiling what it imports.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo 'make TARGET, where TARGET is one of'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv, or find it up to date
	@python3 requirements/install.py

run: setup ## photos to a pushed model: drawn dogs, or PHOTOS=folder; WORKDIR=folder holds the run
	@.venv/bin/dog-emotion run $${PHOTOS:+--photos "$$PHOTOS"} $${WORKDIR:+--workdir "$$WORKDIR"}

serve: setup ## what is stable, or the newest pushed model, on http://localhost:8501/
	@.venv/bin/dog-emotion serve

lint: setup ## lint and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

test: lint ## lint, types and the quick tests, on two cores
	.venv/bin/pytest -n 2 --dist loadfile

coverage: lint ## as test, and how much of the code the tests run: takes a third longer
	.venv/bin/coverage run -m pytest
	.venv/bin/coverage report

test-slow: setup ## the tests that take minutes each
	.venv/bin/pytest -m slow

bench: bench-setup ## measure against the peers, for hours: PHOTOS=folder; goes on after a kill
	@.venv/bin/python -m benchmarks.bench --photos "$${PHOTOS:?name the photos: make bench PHOTOS=folder}"

bench-serving: setup ## measure the embedded server with the newest pushed model, in minutes
	@.venv/bin/python -m benchmarks.serving_bench

bench-smoke: bench-setup ## try out bench on a few drawn photos, in minutes
	@.venv/bin/python -m benchmarks.bench --smoke

bench-setup: setup
	@.venv/bin/python -m benchmarks.install

# Pins that a lock has are kept; to raise them all, delete the locks first. The two additions hold
# the versions of the locks that they are installed with.
RESOLVE = .venv/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock'
RESOLVE_ALL = $(RESOLVE) requirements/requirements.in --no-emit-package dog-emotion
RESOLVE_ADDITION = $(RESOLVE) --constraint requirements/old-glibc.txt
DEBIAN_12 = --python-platform x86_64-manylinux_2_28

lock: .venv/bin/uv ## resolve pyproject.toml anew into the two locks and the two additions
	$(RESOLVE_ALL) --universal --output-file requirements/new-glibc.txt
	$(RESOLVE_ALL) $(DEBIAN_12) \
		--override requirements/old-glibc.overrides.txt --output-file requirements/old-glibc.txt
	$(RESOLVE_ADDITION) --group dev --universal --output-file requirements/dev.txt
	$(RESOLVE_ADDITION) requirements/gpu.in $(DEBIAN_12) --output-file requirements/gpu.txt

.venv/bin/uv:
	@python3 requirements/install.py

# uv does not look at the folder that PIP_FIND_LINKS names by itself.
bench-lock: .venv/bin/uv ## resolve the peers' requirements.in anew into their lock
	.venv/bin/uv pip compile --quiet benchmarks/requirements.in --python-version 3.11 \
		--python-platform x86_64-manylinux_2_28 --generate-hashes --no-annotate \
		$(if $(PIP_FIND_LINKS),--find-links "$$PIP_FIND_LINKS",--torch-backend cpu) \
		--custom-compile-command 'make bench-lock' --output-file benchmarks/requirements.txt
