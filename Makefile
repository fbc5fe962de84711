# `make help` lists what a newcomer needs. Everything here works from a clean clone on a machine with Rust and make.
SHELL := /bin/bash

# Tests run the programs themselves, including the stand-in for CometAPI. All are built together, so that dependencies
# are compiled once, with one set of features, for demo, lints and tests.
BUILD := cargo build --locked --bins --example comet-sim --example dev-ask

# `make chaos` and `make fuzz` run for this many seconds; `make simulate` plays this many seeds.
LENGTH_S ?= 180
SEEDS ?= 10000

.PHONY: help demo test test-quick verify versions image-test test-page test-boards dependencies chaos simulate fuzz bench lint build schemas services linker

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

demo: linker ## watch jobs become images, with a worker killed on the way; needs no API key
	@dev/demo

# docs/contributing.md says what each depth holds, and why.
test-quick: export PROPTEST_RNG_SEED ?= 1
test: export PROPTEST_RNG_SEED ?= 1

test-quick: linker ## the tests that need no services, in under a minute
	cargo test --locked --lib --test it -- --skip deep::

# Tests of services wait most of the time, so more of them run at once than there are processors.
test: build ## everything that a change must pass, against real services; starts (and installs) what is missing
	cargo test --locked --lib --bins --test it --example comet-sim -- --skip deep::
	dev/with-services --s3 cargo test --locked --test services -- --skip deep:: --test-threads 12
	cargo test --locked --doc

verify: build ## everything that a release must pass, the deep and the slow; a line for each part, an hour and a half in all
	@dev/verify

versions: build ## the tests of services and a run of chaos on RabbitMQ 3.10 and 4.0, Redis 7 and 8, Valkey 8; needs root, half an hour
	@dev/versions

image-test: ## build the images and try deploy/compose.yaml with them; needs a Docker Engine, or root to start one
	@dev/image-test

test-page: build ## the page of the admin port in a real Chromium; installs it where it is missing, and needs the registry of npm
	@dev/test-page

test-boards: build ## the alerts by promtool, and the dashboard on a Prometheus that has scraped a worker; installs it where it is missing
	@dev/test-boards

dependencies: linker ## licences, sources and advisories of all dependencies, by cargo-deny
	@dev/dependencies

chaos: build ## three workers killed, frozen and cut off for LENGTH_S=180 seconds, then every promise counted; COMET_SEED=… repeats a draw
	@[[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || command -v rabbitmq-server >/dev/null || dev/install rabbitmq-server
	@command -v redis-server >/dev/null || dev/install redis-server
	@export COMET_SEED=$${COMET_SEED:-$$(dev/draw)}; echo "COMET_SEED=$$COMET_SEED"; \
	COMET_CHAOS_S=$(LENGTH_S) cargo test --locked --test services chaos::chaos_breaks_no_promise -- --exact --nocapture

# Each seed has a draw of its own, so the first seed is drawn as well.
simulate: linker ## SEEDS=10000 draws of what can go wrong, on doubles and a paused clock; COMET_SEED=… says where they begin
	@export COMET_SEED=$${COMET_SEED:-$$(dev/draw)}; echo "COMET_SEED=$$COMET_SEED"; \
	COMET_SIM_SEEDS=$(SEEDS) cargo test --locked --test it simulate::plays:: -- --nocapture

fuzz: linker ## spoilt replies, jobs and URLs for LENGTH_S=180 seconds; `make test` tries some hundred of each
	@cargo test --locked --quiet --lib --no-run
	@end=$$((SECONDS + $(LENGTH_S))); while ((SECONDS < end)); do \
	  PROPTEST_CASES=$${PROPTEST_CASES:-5000} cargo test --locked --quiet --lib -- property_tests guard sniff || exit 1; \
	done

# The peers come from the registries of npm and Python, into target/bench. The report names a peer that can't be
# installed as missing.
bench: linker ## what it costs to run, beside the floor, FastStream, Celery and Node, into docs/benchmarks.md; 20 minutes, or WHAT=throughput
	cargo build --release --locked --bins --examples
	dev/with-services cargo run --release --locked --quiet --example comet-bench -- --write docs/benchmarks.md $(WHAT)

schemas: build ## write schemas/ as the program prints them
	@for what in job event; do \
		schema=$$(target/debug/comet-worker schema $$what) && printf '%s\n' "$$schema" >schemas/$$what.schema.json || exit 1; \
	done

lint: linker ## formatting, lints, documentation
	cargo fmt --all --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

build: linker ## compile the worker and the stand-in for CometAPI
	$(BUILD)

services: build ## a shell in which AMQP_URL and REDIS_URL lead to running services
	@dev/with-services bash

# Rust without a C compiler can't link.
linker:
	@command -v cc >/dev/null || dev/install gcc libc6-dev
