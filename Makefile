# Everything one does with this repository; `make` alone lists it.
PYTHON ?= /usr/bin/python3
VENV ?= .venv
KEEP ?=
RUNTIME ?=
MINUTES ?= 10
SECONDS ?=
PEERS ?= 5000
JSON ?= bench.json
FLANNELD ?=
NODES ?= 5000
DESTDIR ?=
FLAGS ?=

FRONT := cni/front-$(shell uname -m)
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
CODE := overlay agent cni e2e tests conftest.py hatch_build.py
# Where the environment forbids bytecode, every run would rewrite all test modules anew: 3 s.
PYTEST := env PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q

.DEFAULT_GOAL := help
.PHONY: help setup packages fmt lint type test test-unit test-contract test-e2e e2e check demo demo-down soak bench bench-cni bench-etcd front build install

help: ## this list
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: packages $(STAMP) ## Debian packages (as root), the virtual environment, the compiled front
	@$(MAKE) -s front

packages:
	@tools/install-packages

$(STAMP): pyproject.toml constraints.txt | packages
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "setup: installing pinned packages into $(VENV)"
	@$(BIN)/pip install -q -c constraints.txt hatchling
	@$(BIN)/pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

fmt: $(STAMP) ## format and sort imports
	$(BIN)/ruff check -q --fix $(CODE)
	$(BIN)/ruff format $(CODE)

lint: $(STAMP) type ## ruff, mypy, layers and doors
	$(BIN)/ruff check $(CODE)
	$(BIN)/lint-imports --no-cache

type: $(STAMP) ## mypy --strict
	$(BIN)/mypy

test: setup ## all of it: lint, then the three rings
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-contract
	@$(MAKE) --no-print-directory test-e2e

test-unit: $(STAMP) ## pure rooms and fakes; no root
	$(PYTEST) -n 2 --dist worksteal tests --ignore=tests/contract

test-contract: $(STAMP) ## real kernel and etcd, in namespaces; root
	$(PYTEST) -n 4 --dist worksteal tests/contract

test-e2e: $(STAMP) front ## whole nodes, and the demo; root
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder e2e

e2e: setup ## the cases with flannel; FLANNELD=/path/to/flanneld runs them against the program, not a replay
	$(PYTEST) e2e/test_flannel.py e2e/test_flannel_beside.py $(if $(FLANNELD),--flanneld $(abspath $(FLANNELD)))

check: lint test-unit ## what to run before every commit; no root

demo: setup ## three nodes talk, live; KEEP=1 leaves them running, RUNTIME=containerd runs real containers
	$(if $(filter-out containerd,$(RUNTIME)),$(error RUNTIME is $(RUNTIME), it may be containerd or nothing))
	@$(BIN)/python -m e2e.demo$(RUNTIME:%=_%) $(if $(KEEP),--keep)

demo-down: $(STAMP) ## take down kept or crashed labs
	@$(BIN)/python -m e2e.down

soak: setup ## random faults of etcd, agents, kernels for MINUTES=10 (or SECONDS=60), 3 nodes, then 20 (or NODES=n); RESULT
	$(BIN)/python -m e2e.soak $(if $(SECONDS),--seconds $(SECONDS),--minutes $(MINUTES)) $(if $(filter command,$(origin NODES)),--nodes $(NODES))

bench: setup ## the kernel side with PEERS=5000: cold, one by one, idle, traffic; FLANNELD=path beside; JSON=file
	@tools/install-packages iperf3
	$(BIN)/python -m e2e.bench --peers $(PEERS) $(if $(FLANNELD),--flanneld $(abspath $(FLANNELD))) --json $(JSON)

front: $(FRONT) ## compile the CNI executable; says so where there is no compiler

$(FRONT): cni/front.c tools/build-front
	@tools/build-front $@

bench-cni: setup ## the CNI plugin, exec to exit, against bridge + host-local; ends with RESULT
	$(BIN)/python -m e2e.bench_cni

bench-etcd: setup ## what NODES=5000 ask of one real etcd, by etcd's own counters; ends with RESULT
	$(BIN)/python -m e2e.bench_etcd --nodes $(NODES)

build: $(STAMP) ## wheel and sdist into dist/
	$(BIN)/python -m hatchling build

install: ## onto this node: a venv in /opt/overlay, then `overlayctl install $(FLAGS)`; DESTDIR=image only lays it down
	$(PYTHON) -m venv $(DESTDIR)/opt/overlay
	$(DESTDIR)/opt/overlay/bin/pip install -q -c constraints.txt hatchling
	$(DESTDIR)/opt/overlay/bin/pip install -q -c constraints.txt --no-build-isolation --no-deps --force-reinstall .
	$(DESTDIR)/opt/overlay/bin/pip install -q -c constraints.txt .
	$(if $(DESTDIR),grep -lIs '^#!$(abspath $(DESTDIR))/' $(DESTDIR)/opt/overlay/bin/* | xargs -r sed -i '1s|^#!$(abspath $(DESTDIR))/|#!/|')
	$(DESTDIR)/opt/overlay/bin/python -I -m agent.ctl.main install $(if $(DESTDIR),--root $(DESTDIR)) $(FLAGS)
