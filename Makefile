# make smoke: from nothing to a trained (toy) policy on the CPU; make test: every test;
# make test-fast: the tests of seconds.
# Both set up .venv from the lock files by themselves, and only when a lock file has changed.
SHELL := /bin/bash

# The first Python that we support; another: make smoke PYTHON=/path/to/python3
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && \
	echo $$p && break; done)

# uv trusts only the certificates it brings along unless told otherwise; behind a proxy with
# its own certificate authority the download would fail where pip's and git's work.
ifndef SSL_CERT_FILE
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export SSL_CERT_FILE := /etc/ssl/certs/ca-certificates.crt
endif
endif

VENV := .venv/bin
UV_INSTALL := $(VENV)/uv pip install --python $(VENV)/python --compile-bytecode \
	--require-hashes
UV_COMPILE := $(VENV)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header $(UPGRADE)

# Of the extras, those in the image: trackers bring their own clients, which it has no network for
EXTRAS := --extra export --extra serve --extra s3 --extra gs --extra az --extra hub

# Two more than there are cores, as many tests wait for a disk, a signal or a time-out; at most
# eight: each process of the tests takes about 2 GB of memory.
TEST_PROCESSES ?= $(shell n=$$(nproc); echo $$((n < 6 ? n + 2 : 8)))
SPREAD := -n $(TEST_PROCESSES) --dist loadgroup --no-loadscope-reorder
PYTEST := $(VENV)/python -m pytest $(SPREAD)
# $(call limited,STAGE,TIME,COMMAND): one that is stopped by its time limit says which it was
limited = @timeout --kill-after=30s $(2) $(3) || { code=$$?; case $$code in 124|137) \
	echo "$(1) was stopped: it took longer than its limit of $(2)" >&2;; esac; exit $$code; }

.PHONY: smoke test test-fast coverage chaos check lock clean

# A fresh folder each time, so that the job runs from the start; the job itself would resume.
smoke: .venv/runtime.stamp
	rm -rf out/smoke
	$(VENV)/python entrypoint.py --input tests/data/aloha_sim_v30 --output out/smoke \
		--run_name act_smoke --task_name sim_smoke --num_epochs 1 --batch_size 2 \
		--max_episodes 2 --backbone_weights none --device cpu \
		--hidden_dim 128 --dim_feedforward 256 --chunk_size 20
	@echo && echo "The policy is in out/smoke/checkpoints/act_smoke:" && ls -sh out/smoke/checkpoints/act_smoke
	@echo "What was done, and with what: out/smoke/manifest.json; how to use the policy: out/smoke/checkpoints/*/policy.json"

# Tests are spread over the cores, each process with one thread.
test: .venv/test.stamp
	$(call limited,make test,60m,$(PYTEST))

# Without those marked slow, which start whole jobs or take more than two seconds
test-fast: .venv/test.stamp
	$(call limited,make test-fast,10m,$(PYTEST) -m "not slow")

# Which lines all tests together reach, in every process that they start; a third slower
coverage: export TEST_COVERAGE := $(CURDIR)/out/coverage/data
coverage: .venv/test.stamp
	rm -rf out/coverage && mkdir -p out/coverage
	$(call limited,make coverage,60m,$(VENV)/coverage run -m pytest $(SPREAD))
	$(VENV)/coverage combine --quiet
	$(VENV)/coverage report

# Kills, full disks, failing calls and mutated input, about an hour; CHAOS="--kills 10 --minutes 5" for less
chaos: .venv/test.stamp
	$(VENV)/python -m tests.chaos $(CHAOS)

check: .venv/test.stamp
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/mypy
	$(VENV)/lint-imports
	$(MAKE) test

# Keeps what is locked where pyproject.toml still allows it; to move on: make lock UPGRADE=--upgrade
# Where uv's own lock stays the same it keeps its time, and with it the environment.
lock: .venv/uv.stamp
	$(UV_COMPILE) $(EXTRAS) pyproject.toml -o requirements.lock
	$(UV_COMPILE) $(EXTRAS) --extra sim pyproject.toml -c requirements.lock -o requirements-sim.lock
	$(UV_COMPILE) $(EXTRAS) --extra sim pyproject.toml --group test -c requirements-sim.lock -o requirements-test.lock
	cp -p requirements-uv.lock .venv/uv.lock
	$(UV_COMPILE) - -o requirements-uv.lock <<< uv
	! cmp --silent requirements-uv.lock .venv/uv.lock || touch -r .venv/uv.lock requirements-uv.lock

clean:
	rm -rf .venv out/smoke .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# pip only fetches uv: uv installs torch and its CUDA libraries in seconds, pip in many minutes.
.venv/uv.stamp: requirements-uv.lock
	@[ -n "$(PYTHON)" ] || { echo "no Python 3.11 to 3.13 found:" \
		"apt-get install python3 python3-venv, or make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make a" \
		"virtual environment: apt-get install" \
		"$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(VENV)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.venv/runtime.stamp: requirements.lock .venv/uv.stamp
	$(UV_INSTALL) -r $<
	@touch $@

.venv/test.stamp: requirements-test.lock .venv/runtime.stamp
	$(UV_INSTALL) -r $<
	@touch $@
