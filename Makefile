# Every recipe is one simple command, so that make hands a SIGTERM straight to it.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PROMETHEUS := $(VENV)/.prometheus
CHECKOV := $(VENV)/checkov/.installed

SEEDS ?= 1 2 3
JOBS ?= 2000
KILLS ?= 30
STORM ?= 50
DRAINS ?= 20
MINUTES ?= 10
CASES ?= 20000
ROUNDS ?= 5
CLIENTS ?=

.PHONY: demo up test check chaos clients fuzz soak audit bench autoscale scale wheel model containers clean

demo: $(INSTALLED) ## start everything, rank a real example, stop
	$(RUN) -m scripts.demo

up: $(INSTALLED) ## keep the system running: PORT= WORKERS= API_PROCESSES= MODEL=
	$(RUN) -m scripts.up

test: $(INSTALLED) $(PROMETHEUS) $(CHECKOV) ## all tests, on a Redis and workers of their own
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(INSTALLED) $(PROMETHEUS) $(CHECKOV) ## format, lint, types, imports, manifests, rules, dashboards, images
	$(RUN) -m scripts.check

chaos: $(INSTALLED) ## kill, freeze, cut and drain under load: SEEDS= JOBS= KILLS= STORM= DRAINS=
	$(RUN) -m tests.chaos --seeds $(SEEDS) --jobs $(JOBS) --kills $(KILLS) --storm $(STORM) --drains $(DRAINS)

clients: $(INSTALLED) ## other people's clients, unchanged, in environments of their own: CLIENTS=
	$(RUN) -m tests.clients $(CLIENTS)

fuzz: $(INSTALLED) ## generated requests for every call, each answer checked: CASES=
	$(RUN) -m tests.fuzz --cases $(CASES)

soak: $(INSTALLED) ## saturation: memory, interactive latency, turns of bulk jobs: MINUTES=
	$(RUN) -m benchmarks.soak --minutes $(MINUTES)

bench: $(INSTALLED) ## beside peers and the CPU's limit, then the queue's cost: ROUNDS=
	$(RUN) -m benchmarks.compare --rounds $(ROUNDS)

autoscale: $(INSTALLED) ## which autoscaling serves a model of a day best, and our defaults
	$(RUN) -m benchmarks.autoscale --chart docs/autoscale.svg

scale: $(INSTALLED) ## workers that share one Redis, with simulated devices: where it bends
	$(RUN) -m benchmarks.scale

audit: $(VENV)/.audit ## known vulnerabilities of every pinned package; needs PyPI's own service
	$(RUN) -m pip_audit --strict --disable-pip --no-deps --requirement constraints.txt

wheel: $(INSTALLED) ## dist/rerankq-*.whl, the light client
	$(RUN) -m build --wheel

model: $(INSTALLED) ## train the demo model anew
	$(RUN) -m scripts.train_demo_model --output models/demo

containers: $(INSTALLED) ## build both images and run them: CONTAINER_ENGINE=docker or podman
	$(RUN) -m pytest -m container tests/integration/test_containers.py

clean:
	rm -rf .venv .run dist build

$(PROMETHEUS): $(INSTALLED) scripts/install_prometheus.py
	$(RUN) -m scripts.install_prometheus
	touch $@

$(CHECKOV): $(INSTALLED) scripts/requirements/checkov.txt
	$(RUN) -m scripts.security --install
	touch $@

$(VENV)/.audit: $(INSTALLED)
	$(RUN) -m pip install --quiet --constraint constraints.txt --group audit
	touch $@

$(INSTALLED): pyproject.toml constraints.txt scripts/install.py
	$(PYTHON) scripts/install.py $(VENV)
